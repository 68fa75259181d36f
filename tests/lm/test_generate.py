"""Generation: the original's tokens, with and without memory, alone and together; and its idea of an exact match."""
import json

import pytest
import torch
from icl_reference import GPTNeoX, golden, gpt_neox_tokenizer, transformers_neox

from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.generate import clean_answer, cut_answer, generate, is_exact_match, length_batches, stops_at
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.prompts import build_prompts


def test_metric_cases_are_the_originals(shared):
    cases = json.loads((shared / "conformance/icl/generation_metric_cases.json").read_text())["cases"]
    for case in cases:
        how = dict(stop_strings=case["stopping_criteria"] or (), cot_delimiter=case["cot_delimiter"])
        assert clean_answer(cut_answer(case["output"], **how), case["do_normalization"]) == case["cleaned_output"], case
        assert {clean_answer(answer, case["do_normalization"]) for answer in case["answers"]} == set(
            case["cleaned_answers"]
        ), case
        assert (
            is_exact_match(case["output"], case["answers"], **how, normalize=case["do_normalization"]) == case["result"]
        ), case
    assert len(cases) >= 37


def test_greedy_tokens_are_the_originals(shared):
    task, records, (group,) = golden(shared, "gsm8k_cot")
    model = GPTNeoX(shared / "conformance/icl/model")
    items = [item for item in group["items"] if "first_12_greedy_ids_of_small_model" in item]
    prompts = build_prompts(
        records, gpt_neox_tokenizer(), task, eos_id=0, limit=max(item["index"] for item in items) + 1
    )
    ids = [[i % 512 for i in prompts[item["index"]].rows[0].ids] for item in items]
    wanted = [item["first_12_greedy_ids_of_small_model"] for item in items]
    assert generate(model, ids, 12, end_ids=[0]) == wanted
    assert generate(transformers_neox(shared / "conformance/icl/model"), ids, 12, end_ids=[0]) == wanted
    assert all(sorted(item["answers_and_aliases"]) == list(prompts[item["index"]].answers) for item in items)


@pytest.fixture(scope="module")
def model(): return OpenLM(OpenLMConfig(width=64, n_layers=2, n_heads=4, vocab_size=512, seq_len=64)).eval()


@pytest.fixture(scope="module")
def prompts():
    g = torch.Generator().manual_seed(0)
    return [torch.randint(1, 512, (n,), generator=g).tolist() for n in (1, 17, 5, 30, 5, 2, 29, 11)]


@pytest.mark.parametrize(
    "how", [{}, dict(temperature=0.7), dict(temperature=1.5, top_k=5), dict(temperature=1.0, top_p=0.5, seed=3)]
)
def test_memory_and_batching_change_nothing(model, prompts, how):
    wanted = (
        [generate(model, [prompt], 10, remember=False)[0] for prompt in prompts]
        if not how
        else generate(model, prompts, 10, remember=False, **how)
    )
    assert generate(model, prompts, 10, **how) == wanted
    assert generate(model, prompts, 10, batch_tokens=1, **how) == wanted
    assert generate(model, prompts, 10, batch_tokens=60, **how) == wanted


def test_rows_end_by_themselves(model, prompts):
    free = generate(model, prompts, 12)
    end = free[3][4]
    ended = generate(model, prompts, 12, end_ids=[end], stop=lambda ids: len(ids) == 9)
    for full, cut in zip(free, ended): assert cut == full[: min(9, full.index(end) + 1 if end in full else 12)]


def test_stop_strings_stop_and_the_cut_is_the_same(model, prompts):
    class Letters:
        def encode(self, text, add_special_tokens=False): return [ord(c) for c in text]
        def decode(self, ids, skip_special_tokens=True): return "".join(chr(97 + i % 26) for i in ids)
    stop = ["q", "e[a-m]"]
    free, stopped = generate(model, prompts, 16), generate(model, prompts, 16, stop=stops_at(Letters(), stop))
    assert any(len(a) > len(b) for a, b in zip(free, stopped))
    for a, b in zip(free, stopped):
        assert cut_answer(Letters().decode(a), stop) == cut_answer(Letters().decode(b), stop)


def test_sampling_follows_the_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0]).log_softmax(-1)
    model = lambda ids: logits.expand(*ids.shape, 3)
    drawn = torch.tensor(generate(model, [[0]] * 2000, 1, temperature=1.0)).flatten().bincount(minlength=3) / 2000
    assert (drawn - logits.exp()).abs().max() < 0.04


def test_batches_hold_all_rows_once():
    batches = length_batches([3, 9, 1, 9, 4], 18)
    assert sorted(sum(batches, [])) == [0, 1, 2, 3, 4] and batches[0] == [1, 3]
