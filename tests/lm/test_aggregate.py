"""Core and Extended from raw task scores against the aggregates that the authors stored."""
import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.lm.aggregate import MissingTask, category_scores, centered_accuracy, core_score, extended_score, mmlu_score
from dclm_nb.lm.tasks import CORE, TASKS


@pytest.fixture(scope="module")
def evals(shared):
    folder = shared / "papers/dclm/exp_data/evals"
    if not folder.is_dir(): pytest.skip("no released evaluations beside the checkout")
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_stored_aggregates_are_reproduced(evals, version):
    assert len(evals) == 156
    whole = 0
    for stored in evals:
        scores = stored["eval_metrics"]["icl"]
        assert core_score(scores, version) == pytest.approx(100 * stored[f"Core_{version}"], abs=1e-9)
        try: extended = extended_score(scores, version)
        except MissingTask: continue
        whole += 1
        assert extended == pytest.approx(100 * stored[f"Extended_{version}"], abs=1e-9)
    assert whole == 149


def test_categories_are_reproduced(evals):
    """The stored categories follow whatever baselines were current when the file was written, mostly v2; those must
    agree."""
    stored = [e for e in evals if not set(TASKS) - set(e["eval_metrics"]["icl"])]
    agree = sum(
        all(math.isclose(ours[c], 100 * e["aggregated_task_categories_centered"][c], abs_tol=1e-9) for c in ours)
        for e in stored
        for ours in [category_scores(e["eval_metrics"]["icl"], "v2")]
    )
    assert agree == len(stored)


def test_the_model_database_holds_v0(shared):
    path = shared / "papers/dclm/exp_data/assets/DCLM_model_database.csv"
    if not path.is_file(): pytest.skip("no model database beside the checkout")
    agree = {"v0": 0, "v1": 0}
    with path.open(newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            scores = {name: float(row[name]) for name in TASKS if row.get(name)}
            if row["Core"] and set(CORE) <= set(scores):
                for version in agree:
                    agree[version] += abs(core_score(scores, version) - 100 * float(row["Core"])) < 1e-6
    assert agree["v0"] == 207


def test_missing_tasks_are_named():
    scores = {name: .5 for name in TASKS if name not in ("copa", "gsm8k_cot")} | {"boolq": float("nan"), "squad": None}
    with pytest.raises(MissingTask) as error: core_score(scores)
    assert set(error.value.tasks) == {"copa", "boolq", "squad"} and "copa" in str(error.value)
    with pytest.raises(MissingTask, match="gsm8k_cot"): extended_score(scores)
    rest = [centered_accuracy(.5, TASKS[name].baseline()) for name in CORE if name not in ("copa", "boolq", "squad")]
    assert core_score(scores, allow_missing=True) == pytest.approx(100 * sum(rest) / 19)
    with pytest.raises(MissingTask): core_score({}, allow_missing=True)
    with pytest.raises(MissingTask): mmlu_score({"mmlu_zeroshot": .5})


@pytest.mark.parametrize("wrong", [{"copa": 71.0}, {"copa": -.1}])
def test_percentages_are_refused(wrong):
    with pytest.raises(UserError, match="copa"): core_score(dict.fromkeys(TASKS, .5) | wrong)


def test_unknown_version():
    with pytest.raises(UserError, match="v0, v1, v2"): core_score(dict.fromkeys(TASKS, .5), "v3")


@given(st.floats(0, 1), st.floats(0, .99))
def test_centering_keeps_order_and_ends(score, baseline):
    centered = centered_accuracy(score, baseline)
    assert centered <= 1 + 1e-12 and (centered >= 0) == (score >= baseline)


def test_a_better_baseline_lowers_the_score_of_the_weak_more():
    """v2 baselines are v1's or higher in Core, so v2 never exceeds v1, and the gap shrinks as scores grow."""
    gaps = [core_score(dict.fromkeys(TASKS, s), "v1") - core_score(dict.fromkeys(TASKS, s), "v2") for s in (.3, .6, .9)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] > 0
