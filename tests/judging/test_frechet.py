"""The Fréchet distance against independent computations, and at the sizes a notebook does not show."""
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.judging.frechet import feature_statistics, frechet_distance, nuclear_norm, statistics_from_covariance


def sample(n: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.randn(
        d, d, generator=g, dtype=torch.float64
    ) + torch.randn(d, generator=g, dtype=torch.float64)


def by_square_root(a: torch.Tensor, b: torch.Tensor) -> float:
    """The textbook: scipy's matrix square root of the product of two covariances."""
    a, b = a.numpy(), b.numpy()
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + d - 2 * scipy.linalg.sqrtm(c @ d).real))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_equals_the_matrix_square_root_where_covariances_are_regular(d, more, more_still, seed):
    a, b = sample(d + 1 + more, d, seed), sample(d + 1 + more_still, d, seed + 1)
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(2, 20), min_size=3, max_size=3), st.integers(0, 10_000))
def test_its_root_is_a_metric_also_where_covariances_are_singular(d, sizes, seed):
    sets = [sample(n, d, seed + i) for i, n in enumerate(sizes)]
    a, b, c = sets
    ab, ba, bc, ac = (frechet_distance(x, y) ** 0.5 for x, y in ((a, b), (b, a), (b, c), (a, c)))
    assert ab == pytest.approx(ba, rel=1e-9) and ac <= ab + bc + 1e-9
    assert all(frechet_distance(x, x) <= 1e-10 * float((x ** 2).sum()) for x in sets)


def test_turning_both_sets_changes_nothing():
    a, b = sample(60, 7), sample(50, 7, 1)
    turn = torch.linalg.qr(sample(7, 7, 2)).Q
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize(
    "n, d", [(700, 600), (600, 650), (40, 3000)], ids=["more vectors", "fewer vectors", "very few"]
)
def test_large_sets_equal_the_eigenvalue_formula(n, d):
    a, b = sample(n, d) / d, sample(n, d, 1) / d + 0.01
    values = scipy.linalg.eigvalsh((lambda m: m @ m.T)(((a - a.mean(0)) @ (b - b.mean(0)).T).numpy() / (n - 1)))
    expected = (
        float(((a.mean(0) - b.mean(0)) ** 2).sum() + a.var(0).sum() + b.var(0).sum())
        - 2 * np.sqrt(values.clip(0)).sum()
    )
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a + 1) == pytest.approx(d, rel=1e-9)


def test_features_that_are_never_active_cost_no_digits_at_size_600():
    a, b = sample(1000, 600), sample(1000, 600, 1)
    dead = torch.arange(600) % 2 == 0
    a[:, dead], b[:, dead] = 0, 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a[:, ~dead], b[:, ~dead]), rel=1e-12)


def test_the_fast_way_is_taken_where_it_is_exact_and_only_there(monkeypatch):
    calls = []
    safe = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda m: calls.append(1) or safe(m))
    regular = torch.linalg.qr(sample(600, 600)).Q * torch.linspace(0.1, 1, 600, dtype=torch.float64)
    assert nuclear_norm(regular) == pytest.approx(float(safe(regular).sum()), rel=1e-12) and not calls
    regular[:, :300] = 0
    assert nuclear_norm(regular) == pytest.approx(float(safe(regular).sum()), rel=1e-12) and calls


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 12), st.integers(0, 10_000))
def test_statistics_of_batches_add_up_whatever_their_sizes(sizes, d, seed):
    whole = sample(sum(sizes), d, seed)
    parts = [feature_statistics(part) for part in whole.split(sizes)]
    joined, once = sum(parts[1:], parts[0]), feature_statistics(whole)
    assert joined.n == once.n and len(joined.factor) <= max(d, sum(sizes) + len(sizes))
    assert torch.allclose(joined.mean, once.mean) and torch.allclose(
        joined.covariance, once.covariance, rtol=1e-9, atol=1e-9
    )


def test_published_statistics_give_the_same_distance():
    a, b = sample(100, 6), sample(80, 6, 1)
    mean, covariance = a.numpy().mean(0), np.cov(a.numpy(), rowvar=False)
    assert frechet_distance(
        statistics_from_covariance(torch.from_numpy(mean), torch.from_numpy(covariance), 100), b
    ) == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_feature_is_counted_not_averaged(bad):
    broken = sample(10, 3)
    broken[4, 1] = bad
    with pytest.raises(UserError, match="1 of 10 feature vectors hold NaN or infinity"):
        frechet_distance(sample(10, 3), broken)
    with pytest.raises(UserError, match="NaN"): statistics_from_covariance(torch.tensor([bad, 0.0]), torch.eye(2), 5)


@pytest.mark.parametrize("call, says", [
    (lambda: frechet_distance(sample(1, 3), sample(9, 3)), "one vector has no covariance"),
    (lambda: frechet_distance(sample(9, 3), feature_statistics(sample(1, 3))), "one vector has no covariance"),
    (lambda: frechet_distance(sample(9, 3), sample(9, 4)), "3 and of 4 dimensions"),
    (lambda: feature_statistics(sample(9, 3)) + feature_statistics(sample(9, 4)), "3 and of 4 dimensions"),
    (lambda: frechet_distance(sample(9, 3)[0], sample(9, 3)), "not of shape"),
    (lambda: statistics_from_covariance(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 9), "symmetric"),
    (lambda: statistics_from_covariance(torch.zeros(3), torch.eye(2), 9), "do not belong together")])
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(UserError, match=says): call()
