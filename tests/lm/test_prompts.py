"""Prompts, ids, spans and few-shot choice: equal to the original's on everything that was recorded."""
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icl_reference import GOLDEN, golden, gpt_neox_tokenizer

from dclm_nb.core.errors import UserError
from dclm_nb.lm.prompts import ICLTask, Row, build_prompts, few_shot_indices, make_row, max_answer_length
from dclm_nb.lm.readers import read_jsonl
from dclm_nb.lm.tasks import TASKS


def as_list(value): return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", GOLDEN)
def test_prompts_are_the_originals(shared, name):
    task, records, groups = golden(shared, name)
    (group,) = groups
    prompts = build_prompts(records, gpt_neox_tokenizer(), task, eos_id=0, limit=max(item["index"] for item in group["items"]) + 1)
    for item in group["items"]:
        prompt = prompts[item["index"]]
        assert list(prompt.shown) == item["fewshot_indices_in_order"]
        if "ids_sha256_le_int32" in item:
            ids = np.concatenate([np.array(row.ids, "<i4") for row in prompt.rows])
            assert hashlib.sha256(ids.tobytes()).hexdigest() == item["ids_sha256_le_int32"]
            continue
        assert prompt.preamble == item["preamble_text"] and list(prompt.contexts) == as_list(item["context_text_before_rstrip"])
        contexts = item.get("context_ids_per_option") or [item["context_ids"]] * len(prompt.rows)
        assert [list(row.ids[:row.start]) for row in prompt.rows] == contexts
        if "continuation_ids" in item:
            wanted = item["continuation_ids"] if isinstance(item["continuation_ids"][0], list) else [item["continuation_ids"]] * len(prompt.rows)
            assert [list(row.ids[row.start:]) for row in prompt.rows] == wanted
            assert [[row.start, len(row.ids)] for row in prompt.rows] == item["spans"]
        if "left_pad" in item: assert group["padding_size"] - len(prompt.rows[0].ids) == item["left_pad"]


def test_generation_lengths_are_the_originals(shared):
    task, records, groups = golden(shared, "gsm8k_cot")
    assert max_answer_length(records, gpt_neox_tokenizer(), task) == groups[0]["max_answer_length"]


def test_few_shot_choice_is_the_originals(shared):
    recorded = json.loads((shared / "conformance/icl/fewshot_indices.json").read_text())
    for name, wanted in recorded["synthetic"].items():
        n, k = (int(part.split("=")[1]) for part in name.split(","))
        assert [shown for shown, _ in zip(few_shot_indices(n, k), wanted)] == wanted, name
    assert len(recorded["synthetic"]) >= 40


def test_few_shot_choice_on_every_recorded_task(shared):
    recorded = json.loads((shared / "conformance/icl/fewshot_indices.json").read_text())["tasks"]
    for name, wanted in recorded.items():
        records = read_jsonl(shared / "eval_data" / TASKS[name].file)
        parts = wanted.get("categories") or {None: wanted}
        assert TASKS[name].shots == wanted["k"] and TASKS[name].has_categories == ("categories" in wanted)
        for category, part in parts.items():
            n = sum(category is None or record["category"] == category for record in records)
            assert n == part["n"]
            assert [shown for shown, _ in zip(few_shot_indices(n, wanted["k"]), part["first"])] == part["first"], (name, category)


def test_every_task_of_the_table_can_be_asked():
    assert [ICLTask.of(task).name for task in TASKS.values()] == list(TASKS)
    cot = ICLTask.of(TASKS["gsm8k_cot"])
    assert (cot.type, cot.shots, cot.cot_delimiter, cot.stop_strings) == ("generation", 3, " #### ", ("\n\n", "Q:", "Q: "))


@given(n=st.integers(1, 60), k=st.integers(0, 20), seed=st.integers(0, 5))
def test_examples_are_distinct_and_never_the_question_itself(n, k, seed):
    for own, shown in enumerate(few_shot_indices(n, k, seed)):
        assert own not in shown and len(shown) == len(set(shown)) == min(k, n - 1) and all(0 <= i < n for i in shown)


@given(context=st.lists(st.integers(1, 9), min_size=1, max_size=12), continuation=st.lists(st.integers(1, 9), min_size=1, max_size=12), length=st.integers(1, 12))
def test_rows_keep_the_continuation_and_the_end_of_the_context(context, continuation, length):
    if len(continuation) > length:
        with pytest.raises(UserError, match="more than the context length"): make_row(context, continuation, length)
        return
    row = make_row(context, continuation, length)
    assert list(row.ids[row.start:]) == continuation and context[-row.start:] == list(row.ids[:row.start])
    if len(continuation) < length: assert len(row.ids) <= length
    else: assert row.start == len(context)      # the original's quirk: a continuation of exactly the limit keeps its whole context


def test_a_multiple_choice_record_with_a_list_of_one_space_options():
    class Words:
        def encode(self, text, add_special_tokens=False): return [1] if text == " a" else [len(text)] if text else []
    task = ICLTask("t", "multiple_choice")
    (prompt,) = build_prompts([{"query": " q ", "choices": [" x", "x"], "gold": 0}], Words(), task)
    assert prompt.rows == (Row((1, 2), 1), Row((1, 2), 1)), "an option with a space keeps it, one without gets it; the query is stripped"
