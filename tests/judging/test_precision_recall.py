"""Precision, recall and coverage against their definitions, in bounded memory, and what they refuse."""
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.judging import precision_recall as module
from dclm_nb.judging.precision_recall import precision_recall


def sample(n: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.randn(
        d, d, generator=g, dtype=torch.float64
    ) + torch.randn(d, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_scores_equal_their_definition_whatever_the_block(monkeypatch, k):
    real, fake = sample(70, 3), sample(90, 3, 1)
    across = torch.cdist(fake, real, compute_mode="donot_use_mm_for_euclid_dist")
    reach = lambda x: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").sort(dim=1).values[:, k]
    in_real, in_fake = across <= reach(real), across.T <= reach(fake)
    expected = (
        in_real.any(1).double().mean().item(),
        in_fake.any(1).double().mean().item(),
        in_real.any(0).double().mean().item(),
    )
    assert 0 < min(expected) and max(expected) < 1
    for block in (1, 1000, module.BLOCK):
        monkeypatch.setattr(module, "BLOCK", block)
        assert precision_recall(real, fake, k) == pytest.approx(expected, abs=1e-12)


MEMORY = """
import re, torch
from dclm_nb.judging.precision_recall import precision_recall
# maxrss would begin at the parent's
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
x = torch.randn(12_000, 4, generator=torch.Generator().manual_seed(0))
precision_recall(x[:500], x[:500])
before = peak()
precision_recall(x, x + 0.1)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
def test_memory_stays_bounded():
    """All distances of 12,000 vectors in float64 would be 1.1 GB."""
    used = float(
        subprocess.run(
            [sys.executable, "-c", MEMORY],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ).stdout
    )
    assert used < 200


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 5), st.integers(1, 3), st.integers(0, 10_000))
def test_shares_are_shares_and_a_set_lies_within_itself(n, m, d, k, seed):
    k = min(k, n - 1, m - 1)
    real, fake = sample(n, d, seed), sample(m, d, seed + 1)
    assert all(0 <= share <= 1 for share in precision_recall(real, fake, k))
    assert precision_recall(real, real, k) == (1, 1, 1)
    turned = precision_recall(fake, real, k)
    assert precision_recall(real, fake, k)[:2] == (turned.recall, turned.precision), "the roles are exchanged"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_feature_is_counted_not_averaged(bad):
    broken = sample(10, 3)
    broken[4, 1] = bad
    for pair in ((sample(10, 3), broken), (broken, sample(10, 3))):
        with pytest.raises(UserError, match="1 of 10 feature vectors hold NaN or infinity"): precision_recall(*pair)


@pytest.mark.parametrize("call, says", [
    (lambda: precision_recall(sample(9, 3), sample(9, 4)), "3 and of 4 dimensions"),
    (lambda: precision_recall(sample(9, 3), sample(9, 3), k=9), "at least 10 vectors"),
    (lambda: precision_recall(sample(9, 3), sample(9, 3), k=0), "k must be at least 1"),
    (lambda: precision_recall(sample(9, 3)[:0], sample(9, 3)), "neither of them 0"),
    (lambda: precision_recall(sample(9, 3)[0], sample(9, 3)), "not of shape")])
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(UserError, match=says): call()
