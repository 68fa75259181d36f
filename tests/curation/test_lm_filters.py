"""Scores of a reference model, by hand."""
import subprocess
import sys

import numpy as np
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.curation.lm_filters import (
    TokenScores, keep_by_perplexity, keep_by_topk_logits, perplexity, token_scorer, topk_average_logit,
)


@pytest.fixture(scope="module")
def bigram():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 30, generator=generator)


def test_scores_by_hand(bigram):
    score = token_scorer(lambda ids: bigram[ids], lambda text: [ord(c) - 97 for c in text], k=4, first=29)
    result = score(["abc"])[0]
    logp = torch.log_softmax(bigram, -1)
    assert np.allclose(result.logprobs, [logp[29, 0], logp[0, 1], logp[1, 2]], atol=1e-6)
    assert np.allclose(result.topk_logits, np.sort(bigram.numpy(), axis=1)[[29, 0, 1], ::-1][:, :4])
    assert perplexity(result) == pytest.approx(float(np.exp(-np.mean([logp[29, 0], logp[0, 1], logp[1, 2]]))))


def test_batching_and_order_do_not_matter(bigram):
    texts = ["a", "", "abcdefgh", "ba", "zzz", "abcab"]

    def run(batch):
        return token_scorer(lambda ids: bigram[ids], lambda t: [ord(c) - 97 for c in t], batch=batch, first=29)(texts)

    for one, many in zip(run(1), run(4)):
        assert np.allclose(one.logprobs, many.logprobs) and np.allclose(one.topk_logits, many.topk_logits)


def test_context_cuts_and_short_texts_are_worst(bigram):
    score = token_scorer(lambda ids: bigram[ids], lambda t: [ord(c) - 97 for c in t], context=5)
    long, single = score(["abcdefghij", "a"])
    assert (
        len(long.logprobs) == 4 and perplexity(single) == float("inf") and topk_average_logit(single) == float("-inf")
    )


def test_both_filters_keep_their_tenth():
    values = np.random.default_rng(0).permutation(50) / 10
    scores = [TokenScores(np.array([-v]), np.array([[-v, -v]])) for v in values]
    for keep in (keep_by_perplexity, keep_by_topk_logits):
        kept = keep(["x"] * 50, lambda texts: scores, 0.1)
        assert kept.sum() == 5 and values[kept].max() < values[~kept].min()


def test_a_diverged_model_is_refused():
    with pytest.raises(UserError, match="diverged"):
        keep_by_perplexity(["x"], lambda t: [TokenScores(np.array([np.nan]), np.zeros((1, 1)))])


def test_what_is_told_of_a_document_is_what_its_scores_say(bigram):
    encode, texts = lambda t: [ord(c) - 97 for c in t], ["a", "", "abcdefgh", "ba", "zzz", "abcab"]
    for first in (None, 29):
        whole = token_scorer(lambda ids: bigram[ids], encode, batch=2, first=first)(texts)
        two = lambda scores: (perplexity(scores), topk_average_logit(scores))
        assert token_scorer(lambda ids: bigram[ids], encode, batch=2, first=first, told=two)(texts) == [
            two(scores) for scores in whole]


MEMORY = """
import re, sys
from pathlib import Path
import subprocess
import sys

import numpy as np
import torch
from dclm_nb.curation.lm_filters import perplexity, token_scorer, topk_average_logit

torch.set_num_threads(1)
table, rng = torch.randn(4096, 64), np.random.default_rng(0)
model = lambda ids: table[ids] @ table.T
texts = [" ".join(map(str, rng.integers(0, 4096, rng.integers(5, 60)))) for _ in range(int(sys.argv[1]))]
ask = token_scorer(model, lambda text: [int(i) for i in text.split()], context=60,
                   told=lambda scores: (perplexity(scores), topk_average_logit(scores)))
assert np.isfinite(np.array(ask(texts))).all()
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_ten_times_the_documents_take_no_more_memory():
    "What a batch frees has to be there for the next; scores that are kept lie between, and the heap grows and grows."
    peak = lambda n: int(subprocess.run([sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True).stdout)
    few, many = peak(160), peak(1600)
    assert many < 1.2 * few, f"{few / 1024:.0f} MB for 160 documents and {many / 1024:.0f} MB for 1600"
