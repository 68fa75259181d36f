"""Requests per second of in-context scoring: ours against a plain loop and against lm-eval, on the same weights and the
same token ids.

lm-eval is optional; it fits beside the project without changing a pin:
    pip install --no-deps --target PEERS lm-eval==0.4.13 accelerate sacrebleu portalocker tabulate colorama
    PYTHONPATH=PEERS python -m pytest --benchmarks -s tests/benchmarks/test_icl_speed.py
"""
import random
import statistics
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dclm_nb.lm.generate import generate
from dclm_nb.lm.icl import score_rows
from dclm_nb.lm.prompts import Row

VOCABULARY = 4096


def questions(kind: str, n: int = 24) -> list[list[Row]]:
    """`n` records: ten-shot multiple choice (four options of 4 to 12 tokens), letters (four options of one token), or
    one continuation each."""
    draw = random.Random(0)
    ids = lambda low, high: [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(low, high))]
    records = []
    for _ in range(n):
        context = ids(300, 500)
        ends = {
            "ten-shot choice": [ids(4, 12) for _ in range(4)],
            "letters": [[i] for i in range(10, 14)],
            "continuation": [ids(1, 4)],
        }[kind]
        records.append([Row((*context, *end), len(context)) for end in ends])
    return records


def llama():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
    )
    return transformers.LlamaForCausalLM(config).eval()


def plain_loop(model, records):
    with torch.inference_mode():
        return [
            [
                float(
                    F.cross_entropy(
                        model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1],
                        torch.tensor(row.ids[row.start :]),
                        reduction="sum",
                    )
                )
                for row in rows
            ]
            for rows in records
        ]


def ours(model, records): return [[score.sum for score in scores] for scores in score_rows(model, records)]


def lm_eval_scorer(model):
    models = pytest.importorskip(
        "lm_eval.models.huggingface", reason="lm-eval is not installed (see the head of this file)"
    )
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0")),
        eos_token="0",
        pad_token="0",
        unk_token="0",
    )
    peer = models.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=2048, device="cpu")

    def score(_, records):
        flat = [row for rows in records for row in rows]
        requests = [
            ((f"{i}", f"{i}"), list(row.ids[: row.start]), list(row.ids[row.start :])) for i, row in enumerate(flat)
        ]
        answers = iter(peer._loglikelihood_tokens(requests, disable_tqdm=True))
        return [[-next(answers)[0] for _ in rows] for rows in records]
    return score


def medians(functions, rounds: int = 3) -> list[float]:
    """Seconds of each function, interleaved: one round runs all of them."""
    seconds = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(seconds, functions):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.benchmark_run
@pytest.mark.parametrize(
    "kind, peer, least",
    [
        ("ten-shot choice", "plain loop", 2.0),
        ("letters", "plain loop", 2.0),
        ("continuation", "plain loop", 0.8),
        # lm-eval, too, reads letters once
        ("ten-shot choice", "lm-eval", 2.0),
        ("letters", "lm-eval", 1.0),
        ("continuation", "lm-eval", 1.0),
    ],
)
def test_scoring(kind, peer, least):
    model, records = llama(), questions(kind)
    other = plain_loop if peer == "plain loop" else lm_eval_scorer(model)
    for a, b in zip(ours(model, records), other(model, records)): np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3)
    fast, slow = medians([lambda: ours(model, records), lambda: other(model, records)])
    requests = sum(map(len, records))
    print(f"\n{kind:16} ours {requests / fast:7.1f} requests/s, {peer} {requests / slow:7.1f}, ratio {slow / fast:.2f}")
    assert slow / fast > least


@pytest.mark.benchmark_run
@pytest.mark.parametrize("batch", [1, 8])
def test_generation(batch):
    model = llama()
    prompt = questions("continuation", 1)[0][0].ids[:64]
    prompts = [list(prompt[:64]) for _ in range(batch)]

    def theirs():
        with torch.inference_mode():
            out = model.generate(
                torch.tensor(prompts),
                attention_mask=torch.ones(batch, 64, dtype=torch.long),
                do_sample=False,
                max_new_tokens=64,
                min_new_tokens=64,
                pad_token_id=0,
            )
        return out[:, 64:].tolist()
    assert generate(model, prompts, 64) == theirs()
    fast, slow = medians([lambda: generate(model, prompts, 64), theirs])
    print(
        f"\nbatch {batch}: ours {64 * batch / fast:7.1f} tokens/s, transformers' generate {64 * batch / slow:7.1f}, "
        f"ratio {slow / fast:.2f}"
    )
    assert slow / fast > 0.8
