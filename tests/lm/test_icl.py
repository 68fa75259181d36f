"""Scores: the original's losses and choices, with and without memory; aggregation; and what is refused."""
import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from icl_reference import GOLDEN, GPTNeoX, golden, gpt_neox_tokenizer, transformers_neox

from dclm_nb.core.errors import UserError
from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.icl import choose, score_prompts, score_rows, score_task, shared_length, summarise
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.prompts import ICLTask, Row, build_prompts


def modulo(prompt):
    """The reference network knows 512 ids: inputs and targets count modulo 512."""
    return dataclasses.replace(
        prompt, rows=tuple(Row(tuple(i % 512 for i in row.ids), row.start) for row in prompt.rows)
    )


@pytest.mark.parametrize("kind", ["plain", "transformers, with memory", "transformers, without"])
@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "gsm8k_cot"])
def test_losses_and_choices_are_the_originals(shared, name, kind):
    task, records, (group,) = golden(shared, name)
    folder = shared / "conformance/icl/model"
    model = GPTNeoX(folder) if kind == "plain" else transformers_neox(folder)
    prompts = build_prompts(
        records, gpt_neox_tokenizer(), task, eos_id=0, limit=max(item["index"] for item in group["items"]) + 1
    )
    items = score_prompts(
        model, [modulo(prompts[item["index"]]) for item in group["items"]], remember=kind != "transformers, without"
    )
    for ours, theirs in zip(items, group["items"]):
        np.testing.assert_allclose(ours.mean_losses, theirs["mean_cross_entropy"], atol=1e-5, rtol=0)
        np.testing.assert_allclose(ours.sum_losses, theirs["sum_cross_entropy"], atol=1e-4, rtol=0)
        assert ours.correct == theirs["correct"] and ours.index == theirs["index"]
        if "selected" in theirs: assert ours.selected == theirs["selected"]


def test_ties_and_overflow_are_the_originals(shared):
    for case in json.loads((shared / "conformance/icl/multiple_choice_edge_cases.json").read_text())["cases"]:
        assert choose(case["mean_cross_entropy"]) == case["selected"], case["why"]


@given(mean=st.floats(0, 20, width=32), steps=st.lists(st.integers(-3, 3), min_size=1, max_size=4))
def test_near_ties_are_decided_by_torchs_float32_perplexities(mean, steps):
    """Options whose means differ in the last bits: their perplexities may be the same number, and whether they are
    depends on how exp rounds."""
    means = [np.float32(mean)]
    for step in steps:
        new = means[-1]
        for _ in range(abs(step)): new = np.nextafter(new, np.float32(np.inf if step > 0 else 0))
        means.append(new)
    perplexities = [torch.exp(torch.tensor(float(m))) for m in means]
    assert choose([float(m) for m in means]) == perplexities.index(min(perplexities))


@pytest.fixture(scope="module")
def model(): return OpenLM(OpenLMConfig(width=64, n_layers=2, n_heads=4, vocab_size=512, seq_len=256)).eval()


ids = st.lists(st.integers(1, 511), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(
        st.tuples(ids, st.lists(st.lists(st.integers(1, 511), min_size=1, max_size=6), min_size=1, max_size=5)),
        min_size=1,
        max_size=8,
    ),
    batch=st.sampled_from([1, 64, 8192]),
)
def test_shared_reading_equals_the_plain_loop(model, groups, batch):
    groups = [[Row((*context, *end), len(context)) for end in ends] for context, ends in groups]
    shared = score_rows(model, groups, batch_tokens=batch)
    with torch.inference_mode():
        for group, scores in zip(groups, shared):
            for row, score in zip(group, scores):
                logits = model(torch.tensor([row.ids]))[0, row.start - 1:-1]
                wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[row.start:]), reduction="none")
                np.testing.assert_allclose(score.losses, wanted.numpy(), atol=1e-5)
                assert score.hits.tolist() == (logits.argmax(-1) == torch.tensor(row.ids[row.start:])).tolist()


def test_the_prompt_is_read_once(model):
    read = []
    class Counting:
        def __init__(self): self.head, self.new_cache = model.head, model.new_cache
        def hidden(self, ids, cache=None):
            read.append(ids.numel())
            return model.hidden(ids, cache)
        def parameters(self): return model.parameters()
        def __call__(self, ids): return model(ids)
    context = tuple(range(1, 201))
    group = [Row((*context, 300 + i, 400, 401 + i), 200) for i in range(4)]
    score_rows(Counting(), [group] * 3)
    # the rest of a row: the last context token and two of three continuation tokens
    assert sum(read) == 3 * (199 + 4 * 3)
    read.clear()
    score_rows(Counting(), [[Row((*context, letter), 200) for letter in range(300, 304)]])
    assert sum(read) == 200                      # four options of one token are one sequence


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5))
def test_shared_length_is_the_longest_common_beginning(rows):
    n = shared_length(rows)
    assert all(row[:n] == rows[0][:n] for row in rows)
    assert any(len(row) == n for row in rows) or len({row[n] for row in rows}) > 1


def test_categories_weigh_the_same():
    task = ICLTask("t", "multiple_choice", has_categories=True)
    class Words:
        def encode(self, text, add_special_tokens=False): return [ord(c) for c in text]

    records = [
        {"query": "q", "choices": ["a", "b"], "gold": gold, "category": name}
        for name, gold in [("x", 0)] * 9 + [("y", 1)]
    ]
    likes_a = lambda ids: torch.nn.functional.one_hot(torch.full_like(ids, 97), 128).float()
    result = score_task(likes_a, Words(), task, records)
    assert result.score == 0.5 and result.by_category == {"x": 1.0, "y": 0.0} and result.n == 10
    assert score_task(likes_a, Words(), dataclasses.replace(task, has_categories=False), records).score == 0.9


def test_a_language_modeling_record_with_a_gold_field_is_judged_by_its_tokens():
    class Words:
        def encode(self, text, add_special_tokens=False): return [ord(c) for c in text]
    never = lambda ids: torch.zeros(*ids.shape, 128)                     # argmax is id 0, which no text holds
    records = [{"context": "a", "continuation": "b", "gold": 0}]
    assert score_task(never, Words(), ICLTask("t", "language_modeling"), records).score == 0


def test_writing_stops_at_the_tokenizers_own_end():
    class Words:
        eos_token_id = 2
        def encode(self, text, add_special_tokens=False): return [ord(c) for c in text]
        def decode(self, ids, skip_special_tokens=True): return "".join(chr(i) for i in ids if i != 2)
    # a question mark is followed by "y", a "y" by the end, the end by "n"
    def model(ids):
        after = {ord("?"): ord("y"), ord("y"): 2, 2: ord("n")}
        return torch.nn.functional.one_hot(
            torch.tensor([[after.get(i, 0) for i in row] for row in ids.tolist()]), 128
        ).float()

    (item,) = score_task(
        model, Words(), ICLTask("t", "generation"), [{"context": "so?", "answer": "y", "aliases": ["yes, of course"]}]
    ).items
    assert item.text == " y" and item.correct


@pytest.mark.parametrize("shots, n", [(10, 3), (3, 3), (1, 1)])
def test_fewer_records_than_shots_is_another_task(shots, n):
    "The original quietly shows all the others, and so do the prompts; a score under the task's name is refused."
    class Words:
        def encode(self, text, add_special_tokens=False): return [ord(c) % 128 for c in text]
    records = [{"context": f"{i} is", "continuation": f"{i}"} for i in range(n)]
    task = ICLTask("t", "language_modeling", shots=shots)
    same = lambda ids: torch.zeros(*ids.shape, 128)
    assert {len(prompt.shown) for prompt in build_prompts(records, Words(), task)} == {n - 1}
    with pytest.raises(UserError, match=f"shows {shots} examples and has only {n - 1} other"):
        score_task(same, Words(), task, records)
    result = score_task(same, Words(), dataclasses.replace(task, shots=n - 1), records)
    assert result.shots == n - 1 and 0 <= result.interval().low <= result.score <= result.interval().high <= 1


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda m: score_task(m, None, ICLTask("t", "schema"), []), "no records"),
        (
            lambda m: score_rows(lambda ids: torch.full((*ids.shape, 4), float("nan")), [[Row((1, 2), 1)]]),
            "NaN for record 0",
        ),
        (lambda m: score_rows(object(), [[Row((1, 2), 1)]]), "cannot score a object"),
    ],
)
def test_refused_in_one_line(model, broken, message):
    with pytest.raises(UserError, match=message) as error: broken(model)
    assert "\n" not in str(error.value)


def test_minus_infinity_logits_are_a_valid_answer():
    banned = torch.tensor([0.0, -torch.inf, 0.0])
    (scores,) = score_rows(lambda ids: banned.expand(*ids.shape, 3), [[Row((0, 1), 1), Row((0, 2), 1)]])
    assert choose([s.mean for s in scores]) == 1 and np.isinf(scores[0].mean)


def test_summary_counts_truncated_prompts():
    class Words:
        def encode(self, text, add_special_tokens=False): return [ord(c) % 128 for c in text]
    task = ICLTask("t", "language_modeling", context_length=8)
    prompts = build_prompts(
        [{"context": "a long context", "continuation": "end"}, {"context": "a", "continuation": "end"}], Words(), task
    )
    items = score_prompts(lambda ids: torch.zeros(*ids.shape, 128), prompts)
    assert summarise(task, prompts, items).truncated == 1
