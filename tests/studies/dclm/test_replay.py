"""Every printed score that can be replayed, against the printed value and against an independent list of what to
expect."""
import csv
import subprocess
import sys

import pandas as pd
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.catalogue import catalogue
from dclm_nb.papers.frames import read_printed
from dclm_nb.studies.dclm.replay import (
    REPLAYED, _pearson, compare_printed, released_rows, released_runs, released_scores, replay_frame, replay_versions,
    score_cell, within_groups,
)

TABLES = [exhibit for exhibit in REPLAYED if exhibit.startswith("table")]
DISAGREE = {(e.id, *m.cell): m for e in catalogue("dclm") if e.id in TABLES
            for m in e.mismatches if not m.row.endswith("(difference)")}


@pytest.fixture(scope="module")
def comparison(): return pd.concat([compare_printed(replay_frame(exhibit)) for exhibit in TABLES], ignore_index=True)


@pytest.fixture(scope="module")
def single(comparison):
    """Without differences of two scores and without GSM8K: the 372 printed Core, MMLU and Extended values."""
    return comparison[
        comparison.column.isin(["core", "mmlu", "extended"]) & ~comparison.row.str.endswith("(difference)")
    ]


def test_338_comparable_328_agree_34_not_released(single):
    assert single.verdict.value_counts().to_dict() == {"match": 328, "not released": 34, "mismatch": 10}


def test_exactly_the_known_ten_disagree(single):
    wrong = single[single.verdict == "mismatch"]
    assert set(zip(wrong.exhibit, wrong.row, wrong.column)) == set(DISAGREE) and len(DISAGREE) == 10
    for cell in wrong.itertuples():
        listed = DISAGREE[cell.exhibit, cell.row, cell.column]
        assert float(listed.printed) == cell.printed and float(listed.replayed) == pytest.approx(
            cell.replayed, abs=0.0051
        )


def test_every_printed_score_is_answered(single):
    printed = {
        (e, c.row, c.column)
        for e in TABLES
        for c in read_printed("dclm", e)
        if c.column in ("core", "mmlu", "extended") and not c.row.endswith("(difference)")
    }
    assert printed == set(zip(single.exhibit, single.row, single.column))


def test_values_equal_an_independent_recomputation(shared, single):
    path = shared / "papers/dclm/values/row_to_eval_map.csv"
    if not path.is_file(): pytest.skip("no list of recomputed values beside the checkout")
    with path.open(newline="", encoding="utf-8") as f: listed = list(csv.DictReader(f))
    assert len(listed) == len(single) == 372
    ours = {(r.exhibit, r.row, r.column): r for r in single.itertuples()}
    v2 = {e: replay_frame(e, "v2").set_index(["row", "column"]).value for e in TABLES}
    dedup = {"exact": "exact", "minhash": "MinHash", "sa": "suffix array", "bff": "Bloom filter"}
    for entry in listed:
        exhibit, row = f"table-{entry['table']}", entry["row"]
        if entry["table"] == "17":
            row = (
                " + ".join(dedup[part.split("=")[0]] for part in row.split() if part.endswith("yes"))
                or "no deduplication"
            )
        mine = ours[exhibit, row, entry["metric"]]
        assert mine.printed == float(entry["paper_value"])
        if entry["recomputed_v1"]:
            assert mine.replayed == pytest.approx(float(entry["recomputed_v1"]), abs=5.1e-5)
            assert v2[exhibit][row, entry["metric"]] == pytest.approx(float(entry["recomputed_v2"]), abs=5.1e-5)
        else: assert mine.verdict == "not released"


def test_differences_and_gsm8k(comparison, single):
    rest = comparison.drop(single.index)
    assert len(rest) == 8 + 9 + 2 and set(rest.column) == {"core", "extended", "delta_from_baseline", "gsm8k"}
    wrong = rest[rest.verdict == "mismatch"]
    assert set(wrong.row) == {"DCLM-Baseline (difference)"}     # it follows from the mismatch of Table 6's last row
    assert rest[rest.column == "gsm8k"].verdict.tolist() == ["match", "not released"]


def test_surprises_are_told_where_they_stand(comparison):
    def note(exhibit, row): return comparison[(comparison.exhibit == exhibit) & (comparison.row == row)].note.str.cat()
    assert "Phi-3-medium" in note("table-8", "Phi-3 / 7B / ?")
    assert "mean of 49 tasks" in note("table-33", "DCLM-Baseline (ours) / 7B / 138B")
    assert "OpenHermes" in note("table-6", "DCLM-Baseline (base)")
    assert "Table 33" in note("table-8", "DCLM-Baseline / 7B / 0.28T")


def test_what_the_notes_claim_about_runs():
    runs = released_runs()
    def models(exhibit): return {r.row: runs.loc[r.run, "model"] for r in released_rows(exhibit).itertuples() if r.run}
    assert [row for row, model in models("table-4").items() if model != "open_lm_1b"] == ["Perplexity filtering"]
    assert [row for row, model in models("table-5").items() if model == "open_lm_7b"] == ["OH-2.5 + ELI5 / 10%"]
    assert {model for row, model in models("table-12").items() if row.startswith("Default")} == {"open_lm_1b"}
    assert {model for row, model in models("table-12").items() if not row.startswith("Default")} == {
        "open_lm_1b_swiglutorch"
    }
    z_loss = {
        r.row: runs.loc[r.run, "z_loss"] for r in released_rows("table-33").itertuples() if r.row.endswith("7B / 138B")
    }
    assert z_loss.pop("DCLM-Baseline (ours) / 7B / 138B") == 1e-4 and set(pd.Series(z_loss).dropna()) == {5e-6}
    twenty = {
        row.exhibit: score_cell(row.run, "core")
        for exhibit, name in (("table-5", "OH-2.5 + ELI5 / 20%"), ("figure-3", "fastText OH-2.5 + ELI5, 20% / 7B-1x"))
        for row in released_rows(exhibit).query("row == @name").itertuples()
    }
    assert twenty["figure-3"] - twenty["table-5"] == pytest.approx(1.7, abs=.05)
    database = runs[runs.released_as == "assets/DCLM_model_database.csv#269"].index[0]
    assert abs(score_cell(database, "core") - 44.5) < .05        # the row that Table 19 may have mixed in


@pytest.mark.parametrize("version, small, middle", [("v1", .8379, .9556), ("v2", .8245, .9514)])
def test_figure_3(version, small, middle):
    r = replay_frame("figure-3", version).query("column == 'pearson_r_vs_7b_1x'").set_index("row").value
    assert r["400M-1x"] == pytest.approx(small, abs=5e-5) and r["1B-1x"] == pytest.approx(middle, abs=5e-5)


def test_figure_3_prints_the_same_to_three_digits():
    assert compare_printed(replay_frame("figure-3")).verdict.tolist() == ["match", "match"]


def test_figure_6():
    r = replay_frame("figure-6").query("column == 'pearson_r_vs_openlm'").value.item()
    assert r == pytest.approx(.944, abs=5e-4)


def test_figure_3_points():
    points = (
        replay_frame("figure-3")
        .query("column != 'pearson_r_vs_7b_1x'")
        .pivot(index="row", columns="column", values="value")
    )
    assert points.shape == (10, 3) and points.notna().all(axis=None)
    assert points.corr()["Core, 7B-1x"].round(4).to_dict() == {
        "Core, 1B-1x": 0.9556,
        "Core, 400M-1x": 0.8379,
        "Core, 7B-1x": 1,
    }


def test_figure_1_is_table_33():
    figure, table = (replay_frame(e).set_index(["row", "column"]).value for e in ("figure-1", "table-33"))
    flops = figure.xs("training FLOPs (6ND)", level="column")
    assert len(flops) == 41 and flops.notna().all() and flops.between(1.9e19, 1e24).all()
    both = figure.drop("training FLOPs (6ND)", level="column")
    pd.testing.assert_series_equal(both, table.loc[both.index])
    assert flops["C4 / 412M / 8B"] == 6 * 411_616_256 * 8_232_325_120 and flops["Llama 3 / 8B / 15T"] == pytest.approx(
        7.2e23
    )


def test_pearson_is_the_textbook_one():
    import numpy as np
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    assert _pearson(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])


def test_newer_baselines_lower_every_score():
    """In Core, v0 and v2 only ever raise a baseline of v1 or, for BoolQ in v0, lower it; MMLU is not centered, so it
    has no versions."""
    versions = replay_versions("table-8")
    assert (versions.v1 > versions.v2).drop("mmlu", level="column").all()
    assert (versions.xs("mmlu", level="column").nunique(axis=1) == 1).all()


def test_errors():
    for attempt, says in (
        (lambda: replay_frame("table-7"), "table-7"),
        (lambda: replay_frame("table-4", "v9"), "v0, v1, v2"),
        (lambda: released_scores("lama3_8b"), "llama3_8b"),
        (lambda: score_cell("llama3_8b", "rouge"), "core, mmlu"),
    ):
        with pytest.raises(UserError, match=says): attempt()


def test_a_score_row_cannot_be_changed_by_its_reader():
    released_scores("llama3_8b").clear()
    assert len(released_scores("llama3_8b")) == 53


def test_a_replay_is_light():
    """No torch, scipy, matplotlib or datatrove behind the import: a replay starts in about a second."""
    code = ("import sys, dclm_nb.studies.dclm.replay; print(sorted({'torch', 'scipy', 'matplotlib', 'datatrove', "
            "'lightning'} & set(sys.modules)))")
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_figure_3_rests_on_two_clouds():
    """What the notebook of Figure 3 says about the points within each kind of data, and about how the runs differ."""
    within = within_groups()
    assert within.shape == (3, 2) and (within.iloc[0] > .8).all() and (within.iloc[1] < .5).all()
    rows, runs = released_rows("figure-3"), released_runs()
    seven = {row: runs.loc[run, "model"] for row, run in zip(rows.row, rows.run) if row.endswith("7B-1x")}
    assert {model for row, model in seven.items() if "fastText" in row} == {"open_lm_7b"}
    assert {model for row, model in seven.items() if "fastText" not in row} == {"open_lm_7b_swiglutorch"}
