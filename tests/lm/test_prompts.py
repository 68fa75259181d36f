"""Prompts, ids, spans and few-shot choice: equal to the original's on everything that was recorded."""
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icl_reference import GOLDEN, golden, gpt_neox_tokenizer
from tiers import fuzz

from dclm_nb.core.errors import UserError
from dclm_nb.lm.prompts import ICLTask, Row, build_prompts, few_shot_indices, make_row, max_answer_length
from dclm_nb.lm.readers import read_jsonl
from dclm_nb.lm.tasks import TASKS


def as_list(value): return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", GOLDEN)
def test_prompts_are_the_originals(shared, name):
    task, records, groups = golden(shared, name)
    (group,) = groups
    prompts = build_prompts(
        records, gpt_neox_tokenizer(), task, eos_id=0, limit=max(item["index"] for item in group["items"]) + 1
    )
    for item in group["items"]:
        prompt = prompts[item["index"]]
        assert list(prompt.shown) == item["fewshot_indices_in_order"]
        if "ids_sha256_le_int32" in item:
            ids = np.concatenate([np.array(row.ids, "<i4") for row in prompt.rows])
            assert hashlib.sha256(ids.tobytes()).hexdigest() == item["ids_sha256_le_int32"]
            continue
        assert prompt.preamble == item["preamble_text"] and list(prompt.contexts) == as_list(
            item["context_text_before_rstrip"]
        )
        contexts = item.get("context_ids_per_option") or [item["context_ids"]] * len(prompt.rows)
        assert [list(row.ids[:row.start]) for row in prompt.rows] == contexts
        if "continuation_ids" in item:
            wanted = (
                item["continuation_ids"]
                if isinstance(item["continuation_ids"][0], list)
                else [item["continuation_ids"]] * len(prompt.rows)
            )
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
            assert [shown for shown, _ in zip(few_shot_indices(n, wanted["k"]), part["first"])] == part["first"], (
                name,
                category,
            )


def test_every_task_of_the_table_can_be_asked():
    assert [ICLTask.of(task).name for task in TASKS.values()] == list(TASKS)
    cot = ICLTask.of(TASKS["gsm8k_cot"])
    assert (cot.type, cot.shots, cot.cot_delimiter, cot.stop_strings) == (
        "generation",
        3,
        " #### ",
        ("\n\n", "Q:", "Q: "),
    )


@given(n=st.integers(1, 60), k=st.integers(0, 20), seed=st.integers(0, 5))
def test_examples_are_distinct_and_never_the_question_itself(n, k, seed):
    for own, shown in enumerate(few_shot_indices(n, k, seed)):
        assert own not in shown and len(shown) == len(set(shown)) == min(k, n - 1) and all(0 <= i < n for i in shown)


@given(
    context=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    continuation=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    length=st.integers(1, 12),
)
def test_rows_keep_the_continuation_and_the_end_of_the_context(context, continuation, length):
    if len(continuation) > length:
        with pytest.raises(UserError, match="more than the context length"): make_row(context, continuation, length)
        return
    row = make_row(context, continuation, length)
    assert list(row.ids[row.start:]) == continuation and context[-row.start:] == list(row.ids[:row.start])
    if len(continuation) < length: assert len(row.ids) <= length
    # the original's quirk: a continuation of exactly the limit keeps its whole context
    else: assert row.start == len(context)


def test_a_multiple_choice_record_with_a_list_of_one_space_options():
    class Words:
        def encode(self, text, add_special_tokens=False): return [1] if text == " a" else [len(text)] if text else []
    task = ICLTask("t", "multiple_choice")
    (prompt,) = build_prompts([{"query": " q ", "choices": [" x", "x"], "gold": 0}], Words(), task)
    assert prompt.rows == (Row((1, 2), 1), Row((1, 2), 1)), (
        "an option with a space keeps it, one without gets it; the query is stripped"
    )


def test_a_task_as_the_authors_list_writes_it():
    line = {
        "label": "gsm8k_cot",
        "dataset_uri": "local_data/symbolic_problem_solving/gsm8k.jsonl",
        "num_fewshot": [3],
        "icl_task_type": "question_answering",
        "cot_delimiter": " #### ",
        "continuation_delimiter": "\nA: Let's think step by step. ",
        "question_prelimiter": "Q: ",
        "early_stopping_criteria": ["\n\n", "Q:", "Q: "],
    }
    assert (
        ICLTask.of(line)
        == ICLTask.of(line | {"icl_task_type": "generation_task_with_answers", "num_fewshot": 3})
        == ICLTask.of(TASKS["gsm8k_cot"])
    )


class Bytes:
    """One id per byte, with marks at the ends of a text if asked, and `" a"` as one id if `joins`."""
    begin, end = 256, 257

    def __init__(self, begins, ends, joins): self.begins, self.ends, self.joins = begins, ends, joins

    def encode(self, text, add_special_tokens=False):
        if self.joins and text == " a" and not add_special_tokens: return [258]
        ids = list(text.encode())
        return [self.begin] * self.begins + ids + [self.end] * self.ends if add_special_tokens else ids


def slow_rows(task, record, examples, tokenizer, reasons, longest):
    """(preamble text, [(context ids, continuation ids)]) as the rules in words say: every piece of text spelled out,
    then cut from the left."""
    clean = lambda r: {key: value.strip() if type(value) is str else value for key, value in r.items()}

    def question(r):
        return (
            r["context_options"][r["gold"]]
            if task.type == "schema"
            else r["query"]
            if task.type == "multiple_choice"
            else r["context"]
        )

    def answer(r):
        if task.type == "multiple_choice": return r["choices"][r["gold"]]
        if task.type == "generation":
            return r["chain_of_thought"] + task.cot_delimiter + r["answer"] if reasons else r["answer"]
        return r["continuation"]
    record, text = clean(record), task.prompt_string
    for example in map(clean, examples):
        between = task.example_delimiter if text != "" else ""
        pieces = [task.question_prelimiter, between] if task.type == "schema" else [between, task.question_prelimiter]
        text = "".join([text, *pieces, question(example), task.continuation_delimiter, answer(example)])
    between = task.example_delimiter if text != "" else ""
    if task.type == "schema":
        tail = task.continuation_delimiter.rstrip() if text != "" else ""
        asked = [task.question_prelimiter + between + option + tail for option in record["context_options"]]
    else: asked = [(between + task.question_prelimiter + question(record) + task.continuation_delimiter).rstrip()]
    head = tokenizer.encode(text, add_special_tokens=True)
    if len(head) > 1 and head[-1] == tokenizer.end: head = head[:-1]
    scored = (
        record["choices"]
        if task.type == "multiple_choice"
        else []
        if task.type == "generation"
        else [record["continuation"]]
    )
    scored = [" " + s if tokenizer.joins and s[:1] != " " else s for s in scored]
    pairs = [(head + tokenizer.encode(a), tokenizer.encode(s)) for a in asked for s in scored or [""]]
    rows = []
    for context, continuation in pairs:
        room = task.context_length - longest - len(continuation)
        rows.append((context[len(context) - room:] if 0 < room < len(context) else context, continuation))
    return text, rows


TEXTS = st.lists(
    st.sampled_from(["a", "the cat", " ", "\n", "\t", "\u3000", "é", "Q: ", "1,234", "word " * 6]),
    min_size=1,
    max_size=3,
).map("".join)


@st.composite
def tasks_with_records(draw):
    kind = draw(st.sampled_from(["multiple_choice", "schema", "language_modeling", "generation"]))
    n = draw(st.integers(1, 6))
    options = draw(st.integers(1, 3))
    field = lambda many=False: draw(st.lists(TEXTS, min_size=options, max_size=options) if many else TEXTS)
    reasons, records = draw(st.booleans()), []
    for _ in range(n):
        if kind == "multiple_choice":
            record = {"query": field(), "choices": field(True), "gold": draw(st.integers(0, options - 1))}
        elif kind == "schema":
            record = {
                "context_options": field(True),
                "continuation": field(),
                "gold": draw(st.integers(0, options - 1)),
            }
        elif kind == "language_modeling": record = {"context": field(), "continuation": field()}
        else:
            record = {"context": field(), "answer": field(), "aliases": field(True)} | (
                {"chain_of_thought": field()} if reasons else {}
            )
        records.append(record)
    some = lambda *values: draw(st.sampled_from(values))
    task = ICLTask(
        "t",
        kind,
        shots=some(0, 1, 2, 5),
        continuation_delimiter=some(" ", "\nAnswer: ", "Answer: ", ""),
        example_delimiter=some("\n", "", "\n\n"),
        prompt_string=some("", "", "Do this:"),
        question_prelimiter=some("", "Q: "),
        cot_delimiter=some("", " #### "),
        context_length=some(2048, 150),
    )
    return (
        task,
        records,
        Bytes(draw(st.booleans()), draw(st.booleans()), draw(st.booleans())),
        reasons and kind == "generation",
    )


@given(tasks_with_records())
@fuzz(300)
def test_prompts_are_what_the_rules_say_in_words(made):
    task, records, tokenizer, reasons = made
    longest = max_answer_length(records, tokenizer, task) if task.type == "generation" else 0
    try: prompts = build_prompts(records, tokenizer, task, eos_id=tokenizer.end)
    except UserError: return        # an empty context or continuation, or no room: refused
    for record, prompt in zip(records, prompts, strict=True):
        text, rows = slow_rows(task, record, [records[i] for i in prompt.shown], tokenizer, reasons, longest)
        assert (
            prompt.preamble == text
            and [(list(row.ids[: row.start]), list(row.ids[row.start :])) for row in prompt.rows] == rows
        )


def test_an_answer_without_tokens_leaves_the_whole_context():
    (prompt,) = build_prompts(
        [{"context": "x" * 40, "answer": ""}], Bytes(False, False, False), ICLTask("t", "generation", context_length=32)
    )
    assert len(prompt.rows[0].ids) == 32
