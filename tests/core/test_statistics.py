"""Intervals against scipy's own and against known answers; edges; honest behaviour on what cannot be answered."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dclm_nb.core.statistics import (
    aa_test, difference_interval, known_answer, mean_interval, minimum_detectable_effect, paired_bootstrap, paired_interval, power, seeds_needed, wilson,
)

floats = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-3)


@settings(deadline=None, max_examples=50)
@given(st.lists(floats, min_size=2, max_size=30))
def test_mean_interval_is_scipys(values):
    got = mean_interval(values)
    if np.ptp(values) == 0: return
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert np.allclose([got.low, got.high], [low, high], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 50, 1000])
def test_wilson_is_scipys_for_every_count(n):
    for k in range(0, n + 1, max(1, n // 20)):
        ours, theirs = wilson(k, n), stats.binomtest(k, n).proportion_ci(method="wilson")
        assert np.allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=1e-12)
        assert 0 <= ours.low <= ours.mid <= ours.high <= 1


def test_bootstrap_is_close_to_scipys():
    a, b = np.random.default_rng(0).exponential(1, (2, 300))
    ours = paired_bootstrap(a, b)
    theirs = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)).confidence_interval
    assert abs(ours.low - theirs.low) < 0.01 and abs(ours.high - theirs.high) < 0.01


def test_bootstrap_blocks_do_not_change_the_number_of_resamples(monkeypatch):
    a = np.random.default_rng(0).normal(0, 1, 1500)
    assert paired_bootstrap(a, resamples=3000).covers(a.mean())                  # three blocks
    assert paired_bootstrap(a, seed=1) != paired_bootstrap(a, seed=2)


@pytest.mark.parametrize("interval", [mean_interval, paired_bootstrap])
def test_edges(interval):
    assert interval([3.0]).low == -math.inf and interval([3.0]).high == math.inf and interval([3.0]).mid == 3.0
    same = interval([0.1] * 7)
    assert same.low == pytest.approx(0.1) and same.high == pytest.approx(0.1)
    for bad in ([], [1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(ValueError): interval(bad)
    for level in (0, 1, 95, -1):
        with pytest.raises(ValueError): interval([1.0, 2.0], level=level)


def test_unpaired_with_one_run_knows_nothing():
    assert difference_interval([1.0], [2.0, 3.0]).covers(1e9)


def test_pairing_is_by_position_and_lengths_must_agree():
    assert paired_interval([2, 3, 4], [1, 2, 3]).mid == 1 and paired_interval([2, 3, 4], [1, 2, 3]).half_width == 0
    with pytest.raises(ValueError): paired_interval([1, 2, 3], [1, 2])


def test_aa_alarms_keep_the_promise_for_t_and_not_for_a_liar():
    fair = aa_test(lambda rng: rng.normal(0, 1, (2, 4)), paired_interval, repeats=2000)
    assert 0.03 < fair.rate < 0.07 and fair.passes
    liar = aa_test(lambda rng: rng.normal(0, 1, (2, 4)), lambda a, b, level: mean_interval(np.subtract(a, b), 0.5), repeats=500)
    assert not liar.passes


def test_aa_on_splits_counts_each_split_once_and_seldom_fails_by_chance():
    assert aa_test(np.arange(6.0)).trials == 10 and aa_test(np.arange(7.0)).trials == 10      # C(6, 3) / 2
    assert aa_test(np.arange(40.0), repeats=100).trials == 100                                # too many to try all
    rng = np.random.default_rng(0)
    assert np.mean([not aa_test(rng.normal(0, 1, 8)).passes for _ in range(150)]) < 0.05


def test_known_answer_needs_the_right_direction():
    clean = np.array([2.0, 2.01, 1.99])
    assert known_answer(clean + [0.1, 0.11, 0.09], clean).found
    assert not known_answer(clean + [0.1, 0.11, 0.09], clean, "lower").found
    with pytest.raises(ValueError): known_answer(clean, clean, "up")


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_detectable_effect_has_the_power_it_promises(n, paired):
    effect = minimum_detectable_effect(0.5, n, power=0.9, paired=paired)
    assert power(effect, 0.5, n, paired=paired) == pytest.approx(0.9, abs=1e-6)
    assert seeds_needed(effect * (1 + 1e-6), 0.5, power=0.9, paired=paired) == n


def test_detectable_effect_agrees_with_statsmodels_table_value():
    # Two groups of 64, d = 0.5: the textbook example with power 0.80 (Cohen 1988, table 2.3.5: n = 64).
    assert power(0.5, 1.0, 64) == pytest.approx(0.801, abs=0.001)


def test_nothing_to_learn_from_one_seed_or_no_spread():
    assert minimum_detectable_effect(0.1, 1) == math.inf and minimum_detectable_effect(0.0, 3) == 0
    assert seeds_needed(0.0001, 1.0, at_most=10) is None
    with pytest.raises(ValueError): minimum_detectable_effect(float("nan"), 3)
