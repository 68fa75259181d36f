"""From films to tables: what is counted is what is true."""

import numpy as np
import pandas as pd
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.claims import read_claims
from dclm_nb.papers.verdicts import judge_exhibit
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.studies.svd import curation_figures as figures
from dclm_nb.studies.svd import curation_tables as tables
from dclm_nb.studies.svd.curation_funnel import (
    CASCADE, DETECTORS, NAIVE, ONE, chapters, count_cuts, planned_clips, precision_of, recall_of, true_joins,
    with_truth,
)
from dclm_nb.studies.svd.profiles import CURATION, film_seed, profile
from dclm_nb.video.filters import LARGE_SET
from dclm_nb.video.world import FilmTruth, Join, SceneTruth


def scene(first: int, last: int, **labels) -> SceneTruth:
    told = dict(colour="red", shape="circle", move="left", caption="a red circle moves left", told="", textured=False,
                still=False, text="", text_area=0.0, poor="", wrong=False, flicker=False, elevation=0.0, amount=0.4)
    return SceneTruth(first, last, first / 25, (last + 1) / 25, **told | labels)


FILM = FilmTruth("f", 25.0, 200, (Join("cut", 50, 50), Join("crossfade", 100, 119)),
                 (scene(0, 49, still=True), scene(50, 99), scene(120, 199, text="rows", poor="grain")))


def clip(first: int, after: int, told: str = "") -> dict:
    return dict(id=f"f/{first}", film="f", first=first, after=after, start=first / 25, end=after / 25, told=told)


def test_a_clip_has_the_flaws_of_the_scene_of_which_it_shows_most():
    found = with_truth([clip(0, 50), clip(50, 100), clip(125, 200), clip(20, 95)], {"f": FILM})
    assert found["scene"].tolist() == [0, 1, 2, 1] and found["still"].tolist() == [True, False, False, False]
    assert found["text"].tolist() == [False, False, True, False] and found["poor_kind"].tolist()[2] == "grain"
    assert found["crosses"].tolist() == [False, False, False, True]
    assert found["flawed"].tolist() == [True, False, True, True]


def test_mixed_frames_make_a_clip_cross_and_two_frames_do_not():
    found = with_truth([clip(50, 102), clip(50, 110), clip(118, 200), clip(112, 200)], {"f": FILM})
    assert found["crosses"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("told, wrong", [("", False), ("a red circle moves up", False), ("a red circle", False),
                                         ("a blue circle moves left", True), ("a red square", True)])
def test_a_caption_is_wrong_by_colour_or_shape_alone(told, wrong):
    assert with_truth([clip(50, 100, told)], {"f": FILM})["wrong"].tolist() == [wrong]


def test_a_second_answer_in_one_join_is_a_false_one():
    m = count_cuts({"f": [(50, 50), (104, 104), (112, 112), (150, 150)]}, {"f": FILM})
    assert recall_of(m, "cut", "crossfade") == 1 and precision_of(m) == 0.5 and np.isnan(recall_of(m, "fade"))
    assert np.isnan(precision_of(count_cuts({"f": []}, {"f": FILM})))


def test_seeds_that_are_reported_are_far_from_those_of_the_notebooks():
    assert film_seed(0) >= 9000 and film_seed(1) == film_seed(0) + 1
    with pytest.raises(UserError, match="laptop"): profile("huge")
    assert CURATION["laptop"].strict and not CURATION["smoke"].strict


def test_true_joins_give_clips_that_do_not_cross(tiny):
    truth = tiny.folder(0).truth()
    for path in tiny.folder(0).paths():
        clips = planned_clips(path, true_joins(truth[path.stem]), 0.2)
        assert 0 < len(clips) <= len(truth[path.stem].scenes)
        assert sum(c["frames"] for c in clips) <= truth[path.stem].frames
        listed = [round((j.first + j.last) // 2) for j in truth[path.stem].joins if j.listed]
        assert [at for at, _ in chapters(path)] == pytest.approx(listed, abs=1)


def test_the_pipelines_own_filters_are_ours(tiny):
    clips = tiny.table(0)
    assert (clips["kept"] == ~tables.filtered(clips, LARGE_SET).removed).all()
    assert {rule.measure for rule in tables.measured_rules(LARGE_SET, clips)} == set(tables.AIMS)


def test_what_is_told_is_what_was_said_during_the_clip(tiny):
    truth = tiny.folder(0).truth()
    for _, row in tiny.table(0).iterrows():
        assert not row["told"] or row["told"] in {s.told for s in truth[row["film"]].scenes}


def test_every_set_of_table_1_adds_up_and_is_part_of_another(tiny):
    sets = tables.sets_of(tiny, 0)
    assert list(sets) == ["LVD", "LVD-F", "LVD-10M", "LVD-10M-F", "WebVid", "InternVid"]
    ids = {name: set(part["id"]) for name, part in sets.items() if "id" in part}
    assert ids["LVD-F"] <= ids["LVD"] and ids["LVD-10M-F"] <= ids["LVD-10M"] < ids["LVD"]
    assert (tables.total_check(tables.table_one_frame(tiny))["ratio"] == "1.000").all()
    assert sets["WebVid"]["film"].nunique() == 1 and len(sets["WebVid"]) == 1


def test_a_small_part_is_drawn_without_looking_at_the_clips():
    clips = pd.DataFrame({"id": [f"c{k}" for k in range(100)], "motion": range(100)})
    part = tables.small_part(clips, 0, 4)
    blind = tables.small_part(clips.assign(motion=0), 0, 4)
    assert len(part) == 25 and part["id"].equals(blind["id"])
    assert set(part["id"]) != set(tables.small_part(clips, 1, 4)["id"])


def test_what_claims_read_is_there(tiny):
    made = {"figure-2": tables.figure_two_frame, "figure-12": tables.figure_twelve_frame,
            "extra-filters": tables.filters_frame}
    frames = {name: make(tiny) for name, make in made.items()}
    for claim in read_claims("svd"):
        if claim.id not in ("claim-1", "claim-2") and not claim.is_prediction: continue
        for test in claim.tests:
            if test.exhibit not in frames: continue             # of another study
            rows = {*test.rows, *(row for pair in test.pairs for row in pair)}
            found = frames[test.exhibit]
            assert rows <= set(found["row"]) and set(test.columns) <= set(found["column"]), claim.id
    judged = judge_exhibit(get_exhibit("figure-2", "svd"), frames["figure-2"], "smoke")
    assert {v.outcome for v in judged if v.source == "rerun"} == {"not comparable"}      # smoke may claim nothing


def test_detectors_answer_for_every_film(tiny):
    spans = tiny.spans(0)
    assert set(spans) == set(tiny.folder(0).truth()) and all(set(found) == set(DETECTORS) for found in spans.values())
    joins = sum(len(t.joins) for t in tiny.folder(0).truth().values())
    assert all(sum(tiny.counts(0, name).joins.values()) == joins for name in DETECTORS)
    assert recall_of(tiny.counts(0, CASCADE), "cut") > 0.5
    outside = next(iter(tiny.spans(0, "watermarked").values()))
    assert set(outside) == {CASCADE}


def test_captioners_without_a_word_for_it_are_not_right(tiny):
    frame = tables.figure_fourteen_frame(tiny).set_index(["row", "column"])["value"]
    assert frame["frame", "right_move"] == 0 and frame["clip", "right_move"] > 0.3
    assert frame["frame", "right_colour"] > 0.5


def test_tables_of_text_have_every_flaw(tiny):
    assert list(tables.flaws_table(tiny).index) == ["still", "text", "poor", "wrong", "flicker", "crosses", "flawed"]
    assert set(tables.scorers_table(tiny)["scorer"]) == {"similarity", "aesthetics"}
    kept = tables.kept_table(tiny)
    assert kept.loc["LVD-F, paper", "kept"] == "0.263" and kept.loc["LVD-10M-F, paper", "if independent"] == "0.211"


def test_false_alarms_are_those_that_are_counted(tiny):
    counted = tables.false_alarms_table(tiny)
    total = sum(tiny.counts(seed, NAIVE).false for seed in tiny.seeds)
    assert counted.loc["all", "false alarms"] == total == counted.drop("all")["false alarms"].sum()
    merged = tables.merging_table(tiny)
    assert merged.index[:2].tolist() == [CASCADE, NAIVE] and len(merged) == 1 + len(tables.SILENCES)


def test_a_silence_leaves_the_first_of_a_row_of_alarms():
    spans = [(10, 10), (14, 14), (18, 18), (60, 60)]
    assert tables._after_silence(spans, 0) == spans
    assert tables._after_silence(spans, 5) == [(10, 10), (60, 60)]


def test_no_rule_is_more_precise_than_its_share_allows(tiny):
    most = tables.ceiling_table(tiny)
    assert (most["precision"].astype(float) <= most["precision at most"].astype(float) + 1e-9).all()
    sound = sum(int((~tiny.table(seed)["flawed"]).sum()) for seed in tiny.seeds)
    assert tables.moves_table(tiny)["sound clips"].sum() == sound


def test_films_with_nothing_left_lower_the_mean_over_all_films(tiny):
    left = tables.films_left_table(tiny).map(lambda told: float(told.split()[0]))
    assert (left["clips for each film of the world"] <= left["clips for each of these films"]).all()


def test_examples_are_what_they_are_said_to_be(tiny):
    missed, down = figures.missed_crossfade(tiny), figures.turned_down(tiny)
    if missed:
        seed, film, join = missed
        assert join in tiny.folder(seed).truth()[film].joins and join.kind == "crossfade"
        found = tiny.spans(seed)[film]
        assert not any(a <= join.last and b >= join.first for a, b in found[ONE])
        assert any(a <= join.last + 6 and b >= join.first - 6 for a, b in found[CASCADE])
    if down:
        seed, film, span = down
        assert list(span) in [list(s) for s in tiny.spans(seed)[film][NAIVE]]
        assert all(span[0] > j.last or span[1] < j.first for j in tiny.folder(seed).truth()[film].joins)


@pytest.mark.parametrize("draw", [figures.clips_and_motion, figures.detector_figure, figures.static_figure,
                                  figures.caption_figure, figures.text_figure, figures.score_figure])
def test_figures_are_drawn_and_nothing_without_runs(tiny, draw):
    assert draw(None) is None
    figure = draw(tiny)
    assert figure is None or figure.axes


def test_frames_of_a_clip_are_its_frames(tiny):
    row = tiny.table(0).iloc[0]
    strip = figures.strip_of(tiny, 0, row, 3)
    path = tiny.folder(0).films / f"{row['film']}.mp4"
    assert np.array_equal(strip[0], figures.frames_of(path, [row["first"]])[0])
    assert np.array_equal(strip[-1], figures.frames_of(path, [row["after"] - 1])[0])


def test_nothing_is_said_at_replay():
    for make in (tables.table_one_frame, tables.figure_two_frame, tables.filters_frame): assert make(None).empty
    assert tables.kinds_table(None) == tables.NOTHING
