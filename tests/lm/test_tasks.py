"""The task table against the authors' own task list and metadata, field by field."""
import csv

import pytest
import yaml

from dclm_nb.core.errors import UserError
from dclm_nb.lm.tasks import CORE, TASKS, get_task

KINDS = {"generation": "generation_task_with_answers"}


@pytest.fixture(scope="module")
def released(shared):
    folder = shared / "papers/dclm/exp_data/eval"
    if not folder.is_dir(): pytest.skip("no released task list beside the checkout")
    return folder


def test_every_task_is_asked_as_in_the_task_list(released):
    listed = {entry["label"]: entry for entry in yaml.safe_load((released / "heavy.yaml").read_text())["icl_tasks"]}
    assert set(listed) == set(TASKS)
    for name, entry in listed.items():
        task = TASKS[name]
        assert task.file == entry["dataset_uri"].removeprefix("local_data/")
        assert KINDS.get(task.type, task.type) == entry["icl_task_type"]
        assert [task.shots] == entry["num_fewshot"]
        assert task.continuation_delimiter == entry.get("continuation_delimiter", " ")
        assert task.has_categories == entry.get("has_categories", False)
        assert task.question_prelimiter == entry.get("question_prelimiter", "")
        assert task.cot_delimiter == entry.get("cot_delimiter", "")
        assert list(task.stop_strings) == entry.get("early_stopping_criteria", [])


@pytest.mark.parametrize("version, file", [("v1", "eval_meta_data_v1.csv"), ("v2", "eval_meta_data.csv")])
def test_baselines_categories_and_counts(released, version, file):
    with (released / file).open(newline="", encoding="utf-8") as f:
        rows = {row["Eval Task"]: row for row in csv.DictReader(f)}
    assert set(rows) == set(TASKS)
    for name, row in rows.items():
        task = TASKS[name]
        assert 100 * task.baseline(version) == pytest.approx(float(row["Random baseline"]), abs=1e-9), name
        assert (task.category, task.shots, task.n) == (
            row["Task Category"],
            int(row["#shots"]),
            int(row["#datapoints"]),
        ), name


def test_core_is_the_authors_low_variance_list(released):
    import json
    assert set(CORE) == set(json.loads((released / "additional_aggregation.json").read_text())["low_variance_datasets"])


def test_the_table_is_read_only():
    with pytest.raises(TypeError): TASKS["mine"] = TASKS["copa"]
    with pytest.raises(AttributeError): TASKS["copa"].shots = 5


def test_unknown_names_say_what_to_do():
    with pytest.raises(UserError, match="did you mean arc_easy"): get_task("arc_eazy")
    with pytest.raises(UserError, match="v0, v1, v2"): TASKS["copa"].baseline("v9")
