"""Plain measures and the tables beside ours: planted values are found."""

import numpy as np
import pandas as pd
import pytest

from dclm_nb.core.store import RunStore
from dclm_nb.studies.svd import baseline_tables as tables
from dclm_nb.studies.svd.curation_funnel import ONE
from dclm_nb.studies.svd.plain_measures import (
    FLOWS, PICTURES, THRESHOLDS, alike, changed_captions, contrast_and_sharpness, frame_difference, plain_runs,
    text_looks,
)
from dclm_nb.video.motion import FlowConfig
from dclm_nb.video.text_area import TextConfig
from dclm_nb.video.world import parse_caption

TIMES = np.arange(51) / 25                                      # two seconds


def clip(levels) -> np.ndarray:
    "Even frames of these grey levels."
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 32, 32, 3)).copy()


@pytest.fixture(scope="module")
def plain(tiny, tmp_path_factory):
    return plain_runs(tiny, workers=0, store=RunStore(tmp_path_factory.mktemp("plain")))


def test_the_difference_is_in_levels_a_second():
    rising = clip(np.round(20 * TIMES))
    assert frame_difference(rising, TIMES, FlowConfig(shutter=0)) == pytest.approx(20, rel=0.02)
    assert frame_difference(rising, TIMES) == pytest.approx(20, rel=0.15)       # a shutter sees the same pace
    assert frame_difference(clip([7] * 51), TIMES) == 0
    assert np.isnan(frame_difference(clip([7]), TIMES[:1]))


def test_an_open_shutter_and_small_pictures_take_noise_away():
    noise = np.random.default_rng(0).integers(60, 200, (51, 64, 64, 1)).astype(np.uint8).repeat(3, axis=3)
    as_is = frame_difference(noise, TIMES, PICTURES["full size, single frames"])
    small = frame_difference(noise, TIMES, PICTURES["32 pixels, single frames"])
    both = frame_difference(noise, TIMES, PICTURES["32 pixels, mean of half a second"])
    assert as_is > 1.8 * small > 1.8 * 1.8 * both > 0


def test_contrast_and_sharpness_of_stripes():
    stripes = clip([100] * 5)
    stripes[:, :, 1::2] = 120
    assert contrast_and_sharpness(stripes) == dict(contrast=10, sharpness=20)
    bands = clip([100] * 5)
    bands[:, 1::2] = 120                                        # steps from row to row are not seen
    assert contrast_and_sharpness(bands) == dict(contrast=10, sharpness=0)


def test_high_boxes_are_boxes_and_no_lines():
    box = lambda height: [[0, 0], [31, 0], [31, height], [0, height]]
    looks = text_looks(clip([90] * 9), lambda frame: np.array([box(3), box(20)], np.float32))
    assert len(looks) == 3 and looks[0] == dict(strokes=0, boxes=21 / 32, lines=4 / 32)


@pytest.mark.parametrize("caption", ["a red circle moves left", "a blue triangle stands still", "a green square",
                                     "a green square, the camera pans left"])
def test_changed_captions_differ_in_one_word(caption):
    colours, shapes = ("red", "green", "blue"), ("circle", "square", "triangle")
    found, true = changed_captions(caption, colours, shapes), parse_caption(caption)
    assert found["true"] == [caption] and len(found["colour"]) == len(found["shape"]) == 2
    for one in map(parse_caption, found["colour"]):
        assert one.colour != true.colour and (one.shape, one.move) == (true.shape, true.move)
    for one in map(parse_caption, found["shape"]):
        assert one.shape != true.shape and (one.colour, one.move) == (true.colour, true.move)


class Reader:
    "Knows whether a caption says red."
    def look(self, frames): return np.ones((len(frames), 1), np.float32)

    def read(self, captions): return np.array([[float("red" in said)] for said in captions], np.float32)


def test_each_caption_has_its_own_score():
    asked = changed_captions("a red circle moves up", ("red", "blue"), ("circle", "square", "ring"))
    assert alike(clip([5] * 9), asked, Reader()) == {"true": [1], "colour": [0], "shape": [1, 1]}


def test_plain_measures_are_those_of_the_clips(plain, tiny):
    clips, own = plain.table(0), next(iter(PICTURES))
    assert plain_runs(None) is None and set(plain.foundations) == {"plain_0"}
    assert clips["id"].tolist() == tiny.table(0)["id"].tolist()
    # the first pictures are those of the score as it was run; low boxes in frames with strokes are the area of text
    assert np.allclose([flows[own] for flows in clips["flow"]], clips["motion"], atol=1e-4)
    least = TextConfig().strokes
    area = [max(look["lines"] * (look["strokes"] >= least) for look in looks) for looks in clips["looks"]]
    assert np.allclose(area, clips["text_area"], atol=1e-4)
    assert plain.counts(0, THRESHOLDS[0]) == tiny.counts(0, ONE)
    assert plain.counts(0, THRESHOLDS[-1]).found.total() >= plain.counts(0, THRESHOLDS[0]).found.total()


def test_every_table_has_its_rows(plain):
    stills = tables.still_measures_table(plain)
    assert len(stills) == len(FLOWS) + len(PICTURES) and float(stills["below the first row"].iloc[0]) == 0
    cuts = tables.thresholds_table(plain)
    assert len(cuts) == len(THRESHOLDS) + 1 and set(cuts) >= {"precision", "recall crossfade"}
    text = tables.text_measures_table(plain)
    assert len(text) == 5 and list(text) == ["AUC", "precision", "recall", "removed"]
    words = tables.one_word_table(plain)
    assert words.index.tolist() == ["the colour alone", "the shape alone"] and (words["by chance"] == "0.33").all()
    assert tables.rater_table(plain).index[0] == "the rater"
    lost = tables.lost_pictures_table(plain.curation)
    assert lost.drop("all")["good pictures"].sum() == lost.loc["all", "good pictures"]


def test_nothing_is_said_at_replay():
    for table in (tables.still_measures_table, tables.thresholds_table, tables.text_measures_table,
                  tables.one_word_table, tables.rater_table, tables.lost_pictures_table):
        assert table(None) == tables.NOTHING


def test_a_captioner_that_errs_is_wrong_about_the_true_caption():
    asked = changed_captions("a red ring moves up", ("red", "blue"), ("ring", "circle"))
    for said, area in (("a red ring", 1), ("a red circle", 0), ("a red shape", 0.5)):
        assert tables._area_of_changed([tables._differs(asked, said, "shape")], "shape") == area


def test_the_true_caption_is_preferred_where_no_other_scores_more():
    clips = [{"true": [0.5], "shape": [0.4, 0.6]}, {"true": [0.5], "shape": [0.4, 0.3]}]
    assert tables._preferred(clips, "shape") == 0.5


def test_text_is_what_most_of_three_frames_say():
    look = lambda strokes, lines, boxes: dict(strokes=strokes, lines=lines, boxes=boxes)
    empty, line, large = look(0.0, 0.0, 0.0), look(0.5, 0.2, 0.2), look(0.0, 0.0, 0.9)
    clips = pd.DataFrame({"looks": [[empty, line, empty], [empty, empty, large]], "text": [True, False]})
    lines = tables._found([clips], lambda one: one["lines"], 0.07)
    boxes = tables._found([clips], lambda one: one["boxes"], 0.07)
    assert lines == dict(AUC="1.000", precision="1.000", recall="1.000", removed="0.500")
    assert boxes == dict(AUC="0.000", precision="0.500", recall="1.000", removed="1.000")


def test_a_fit_is_made_on_other_worlds():
    rng = np.random.default_rng(0)
    worlds = [rng.normal(size=(100, 2)) for _ in range(2)]
    inside = [(some**2).sum(axis=1) < 1 for some in worlds]
    turned = [inside[0], ~inside[1]]                            # in the second world the other way round
    assert tables.area_of(tables._fitted(worlds, inside)[1], inside[1]) > 0.95
    assert tables.area_of(tables._fitted(worlds, turned)[1], turned[1]) < 0.05


def test_good_pictures_that_are_lost_are_counted_by_their_text():
    class Runs:
        seeds = (0,)

        def table(self, seed):
            "Eight clips; the two that look worst go, and neither is poor."
            return pd.DataFrame(dict(id=list("abcdefgh"), aesthetics=np.arange(8.0), poor=False,
                                     text_kind=["rows"] + [""] * 7, flawed=[True] + [False] * 7))

    lost = tables.lost_pictures_table(Runs())
    assert lost["removed by aesthetics"].to_dict() == {"no text": 1, "rows": 1, "all": 2}
    assert lost["removed without any flaw"].to_dict() == {"no text": 1, "rows": 0, "all": 1}
