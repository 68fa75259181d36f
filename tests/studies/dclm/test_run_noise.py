"""The repeats among the released runs: what counts as one, against the authors' own database; and the ruler that
follows."""
import csv
import math

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.studies.dclm.ruler import gap_table, repeat_table, replayed_gaps, ruler_figure, ruler_table
from dclm_nb.lm.aggregate import core_score
from dclm_nb.lm.tasks import CORE
from dclm_nb.studies.dclm.replay import (
    released_rows, released_runs, released_scores, released_size, score_cell, training_flops,
)
from dclm_nb.studies.dclm.run_noise import (
    COLUMNS, other_runs, repeat_frame, repeat_groups, repeat_values, ruler, ruler_for, run_scale, what_differs,
)

SETTINGS = ["params", "tokens", "warmup", "lr", "wd", "final_lr", "batch_size"]


def test_what_counts_agrees_in_every_setting_and_has_a_ruled_scale():
    groups = repeat_groups()
    counted = groups[groups.counted]
    assert (counted.scale != "").all() and counted.run.is_unique and groups.run.is_unique
    for name, part in counted.groupby("group"):
        settings = released_runs().loc[part.run, SETTINGS]
        assert len(part) > 1 and settings.notna().all(axis=None) and (settings.nunique() == 1).all(), name
    assert groups.groupby("group").counted.nunique().eq(1).all()


def test_a_run_on_more_tokens_and_weights_scored_twice_are_no_repeats():
    groups = repeat_groups()
    rejected = {name: list(part.run) for name, part in groups[~groups.counted].groupby("group")}
    assert (
        set(rejected) == {"RefinedWeb, 7B-1x", "C4, 1B"}
        and groups[~groups.counted].groupby("group").note.first().str.len().gt(20).all()
    )
    assert set(released_runs().loc[rejected["RefinedWeb, 7B-1x"], "tokens"]) == {300_000_000_000, 137_788_211_200}
    for name, runs in [*rejected.items(), *((n, list(p.run)) for n, p in groups[groups.counted].groupby("group"))]:
        first, second = map(released_scores, runs[:2])
        alike = np.mean([abs(first[task] - second[task]) < 1e-8 for task in set(first) & set(second)])
        assert (alike > 0.6) == (name == "C4, 1B") and (name == "C4, 1B" or alike < 0.15), (name, alike)


def test_the_groups_are_those_of_the_authors_database(shared):
    """One data set key per group; the dates are those of the evaluations."""
    with open(shared / "papers/dclm/exp_data/assets/DCLM_model_database.csv", newline="", encoding="utf-8") as file:
        database = list(csv.DictReader(file))
    by_scores = {}
    for row in database:
        if row["jeopardy"]:
            by_scores.setdefault(
                tuple(
                    round(float(row[task]), 7) if row[task] else None
                    for task in ("jeopardy", "hellaswag", "lambada_openai", "squad")
                ),
                [],
            ).append(row)
    for name, part in repeat_groups().groupby("group"):
        found = [
            by_scores[
                tuple(
                    round(released_scores(run)[task], 7)
                    for task in ("jeopardy", "hellaswag", "lambada_openai", "squad")
                )
            ]
            for run in part.run
        ]
        assert len({row["dataset_uuid"] for rows in found for row in rows}) == 1, name
        for rows, day in zip(found, part.evaluated):
            assert day in {row["creation_date"][:10].replace("_", "-") for row in rows}, name


def test_no_pair_of_the_database_with_one_recipe_was_left_out(shared):
    """Every two runs of one data set, scale and full set of settings, as far as their names say, are in a group, or
    differ in a method that the name tells."""
    method = (
        "avg=",
        "rho1",
        "norm=",
        "geglu",
        "noqk",
        "resumed",
        "restarted",
        "depth-scale",
        "oh_ft",
        "mqa",
        "nomult4",
        "_heavy_2",
        "placeholder",
    )
    with open(shared / "papers/dclm/exp_data/assets/DCLM_model_database.csv", newline="", encoding="utf-8") as file:
        database = list(csv.DictReader(file))
    plain = [
        row
        for row in database
        if "-warm=" in row["Model JSON"]
        and all(row[task] for task in CORE)
        and not any(word in row["Model JSON"] for word in method)
    ]
    groups: dict = {}
    for row in plain:
        recipe = row["Model JSON"].split("-warm=")[1].split("-seed=")[0].removesuffix(".json").removesuffix("_heavy")
        suffix = row["Model JSON"].partition("zloss")[2].partition("_heavy")[0]
        groups.setdefault((row["dataset_uuid"], row["params"], row["tokens"], recipe, suffix), []).append(
            row["Model JSON"]
        )
    repeated = {
        key: names
        for key, names in groups.items()
        if key[0] and len(names) > 1 and key[1] in ("1439795200", "6889410560")
    }
    ours = set(repeat_groups().run)
    stem = lambda name: name.split("/")[-1].removeprefix("evaluation_").removesuffix(".json").removesuffix("_heavy")
    missing = [stem(name) for names in repeated.values() for name in names if stem(name) not in ours]
    assert not missing, "\n".join(missing)
    assert sum(map(len, repeated.values())) >= 15


def test_the_ruler_is_the_pooled_spread_of_core_by_hand():
    for scale, df in (("1B", 8), ("7B", 3)):
        lines = repeat_groups()[lambda f: f.counted & f.scale.eq(scale)]
        squares = [
            (
                core_score(released_scores(run), "v1", allow_missing=True)
                - np.mean([core_score(released_scores(r), "v1", allow_missing=True) for r in part.run])
            )
            ** 2
            for _, part in lines.groupby("group")
            for run in part.run
        ]
        assert ruler(scale).df == df == len(lines) - lines["group"].nunique() and ruler(scale).sd == pytest.approx(
            math.sqrt(sum(squares) / df)
        )
    assert (round(ruler("1B").sd, 2), round(ruler("7B").sd, 2)) == (0.50, 0.73)


def test_extended_compares_the_same_tasks_and_a_group_without_mmlu_says_nothing_about_it():
    extended, mmlu = repeat_values("extended"), repeat_values("mmlu")
    assert (
        extended.value.notna().all()
        and extended.groupby("group").tasks.nunique().eq(1).all()
        and extended.tasks.between(45, 53).all()
    )
    assert set(mmlu[mmlu.value.isna()]["group"]) == {"RefinedWeb, 1B"} and ruler("1B", "mmlu").df == 7
    assert (
        ruler("1B", "gsm8k") is None
        and ruler("3B") is None
        and [ruler("7B", column).df for column in COLUMNS] == [3, 3, 3]
    )


def test_scales_and_rulers_of_runs():
    four, five, eight = (list(released_rows(exhibit).run) for exhibit in ("table-4", "table-5", "table-8"))
    assert (
        {run_scale(run) for run in four} == {"1B"}
        and {run_scale(run) for run in five} == {"7B"}
        and "" in {run_scale(run) for run in eight}
    )
    assert (
        ruler_for(four, "core") == ("1B", ruler("1B"))
        and ruler_for([four[0], five[0]], "core") is None
        and ruler_for([four[0], ""], "core") is None
    )
    assert run_scale(repeat_groups()[lambda f: f.tokens.eq(300_000_000_000)].run.item()) == ""


def test_the_other_run_turns_claim_10_round():
    rows = dict(released_rows("table-5")[["row", "run"]].itertuples(index=False))
    [other] = other_runs(rows["OH-2.5 + ELI5 / 20%"])
    assert (
        score_cell(other, "core") == pytest.approx(40.41, abs=0.005) and other_runs(rows["OH-2.5 + ELI5 / 15%"]) == []
    )
    gaps = replayed_gaps(["table-5"])
    turned = gaps[gaps.turns.ne("")]
    assert (
        set(turned.claim) == {"claim-10"}
        and set(turned.column) == {"core", "mmlu"}
        and turned.comparison.str.endswith("20%").all()
    )


def test_gaps_have_the_ruler_of_their_scale_or_none():
    gaps = replayed_gaps(["table-2", "table-3", "table-4", "table-5", "table-8"])
    for exhibit, scale in (("table-2", "7B"), ("table-3", "1B"), ("table-4", "1B"), ("table-5", "7B")):
        core = gaps[gaps.exhibit.eq(exhibit) & gaps.column.eq("core")]
        assert np.allclose(core.sd, ruler(scale).of_difference) and np.allclose(
            core.high - core.gap, ruler(scale).gap_interval(0).high
        )
    assert gaps[gaps.exhibit.eq("table-8")].sd.isna().all() and "no ruler" in set(gap_table(gaps)["95 % interval"])
    assert (gaps.word.eq("within noise") == ((gaps.low < 0) & (gaps.high > 0))).all()


def test_tables_and_figure_show_every_group_and_gap():
    repeats, scales = repeat_table(), ruler_table().index.get_level_values("scale")
    assert list(repeats.index) == list(dict.fromkeys(repeat_groups()["group"])) and repeats.counts.eq("no").sum() == 2
    assert list(scales) == ["1B"] * 3 + ["7B"] * 3
    figure = ruler_figure(replayed_gaps(["table-2"]))
    assert len(figure.axes[1].containers) == 3 and len(figure.axes[0].lines) == repeat_groups()["group"].nunique()
    frame = repeat_frame("extended")
    assert set(frame.row) == set(repeat_groups()["group"]) and frame.column.str.startswith("Extended, run ").all()


def test_errors():
    for attempt in (lambda: what_differs("nothing"), lambda: repeat_values("rouge")):
        with pytest.raises(UserError): attempt()


def test_a_name_that_nobody_knows_is_one_line():
    with pytest.raises(UserError, match="unknown released run 'rw_v3'"): run_scale("rw_v3")
    with pytest.raises(UserError, match="unknown column 'cor' .did you mean 'core'..; choose from: core, mmlu, ext"):
        repeat_frame("cor")
    with pytest.raises(UserError, match="unknown released run"): training_flops("C4 / 7B / 138B", "rw_v3")
    with pytest.raises(UserError, match="prints no size"): training_flops("C4", "")
    assert training_flops("C4 / 7B / 138B", "") == 6 * 7e9 * 138e9
    run = released_runs().index[released_runs()["tokens"].notna()][0]
    params, tokens = released_runs().loc[run, ["params", "tokens"]]
    assert released_size(run) == (params, tokens) and training_flops("", run) == 6.0 * params * tokens
