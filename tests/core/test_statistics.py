"""Intervals against scipy's own and against known answers; edges; honest behaviour on what cannot be answered."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dclm_nb.core.errors import UserError
from dclm_nb.core.statistics import (
    Spread,
    aa_test,
    ahead_on,
    censored_summary,
    correlation_difference,
    difference_interval,
    fisher_interval,
    grid_interval,
    holm,
    known_answer,
    mean_interval,
    minimum_detectable_effect,
    paired_bootstrap,
    paired_interval,
    pooled_spread,
    power,
    seeds_needed,
    seeds_past,
    wilson,
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
    theirs = stats.bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
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
        with pytest.raises(UserError): interval(bad)
    for level in (0, 1, 95, -1):
        with pytest.raises(UserError): interval([1.0, 2.0], level=level)


def test_unpaired_with_one_run_knows_nothing():
    assert difference_interval([1.0], [2.0, 3.0]).covers(1e9)


def test_pairing_is_by_position_and_lengths_must_agree():
    assert paired_interval([2, 3, 4], [1, 2, 3]).mid == 1 and paired_interval([2, 3, 4], [1, 2, 3]).half_width == 0
    with pytest.raises(UserError): paired_interval([1, 2, 3], [1, 2])


def test_aa_alarms_keep_the_promise_for_t_and_not_for_a_liar():
    fair = aa_test(lambda rng: rng.normal(0, 1, (2, 4)), paired_interval, repeats=2000)
    assert 0.03 < fair.rate < 0.07 and fair.passes
    liar = aa_test(
        lambda rng: rng.normal(0, 1, (2, 4)), lambda a, b, level: mean_interval(np.subtract(a, b), 0.5), repeats=500
    )
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
    with pytest.raises(UserError): known_answer(clean, clean, "up")


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
    with pytest.raises(UserError): minimum_detectable_effect(float("nan"), 3)


@given(st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0, 5.0]), min_size=1, max_size=6))
def test_a_grid_interval_is_never_narrower_than_the_cells_nor_than_the_picks(picks):
    """Each pick stands for half a step on either side; a pick at an end is open there."""
    grid = [1, 1.5, 2, 3, 5]
    lows, highs = [], []
    for pick in picks:
        k = grid.index(pick)
        (
            lows.append((pick + grid[k - 1]) / 2 if k else -math.inf),
            highs.append((pick + grid[k + 1]) / 2 if k < 4 else math.inf),
        )
    got = grid_interval(picks, grid)
    assert got.low <= np.mean(lows) and got.high >= np.mean(highs) and got.mid == pytest.approx(np.mean(picks))
    assert (got.low == -math.inf) == (1.0 in picks or len(picks) == 1) and (got.high == math.inf) == (
        5.0 in picks or len(picks) == 1
    )
    closed = grid_interval([1.0, 1.0], grid, open_ends=False)
    assert (closed.low, closed.high) == (1.0, 1.25)


def test_a_grid_interval_covers_what_was_rounded_to_the_grid():
    """True values spread by chance, each seed picks the nearest grid point: the t interval of the picks misses where
    all picks are equal, this one does not."""
    rng, grid = np.random.default_rng(0), np.arange(-3, 4.0)
    ours = theirs = 0
    for _ in range(1000):
        truth = rng.uniform(-1, 1)
        picks = [grid[np.abs(grid - v).argmin()] for v in rng.normal(truth, 0.2, 3)]
        ours += grid_interval(picks, grid).covers(truth)
        theirs += mean_interval(picks).covers(truth)
    assert ours / 1000 > 0.95 > 0.7 > theirs / 1000


def test_a_pick_off_the_grid_is_refused():
    with pytest.raises(UserError, match="1.7 is not on the grid"): grid_interval([1.7], [1, 2])


@pytest.mark.parametrize(
    "values, said",
    [
        ([1e12, 2e12, 3e12], "1e12 to 3e12 (3 seeds)"),
        ([2.0, 2.0], "2 (2 seeds)"),
        ([1.5], "1.5 (1 seed)"),
        ([1e12, None, 3e12], "> 4e12 (2 of 3 seeds got there)"),
        ([1e12, float("nan"), 9e12], "> 4e12 (1 of 3 seeds got there)"),
        ([None, math.inf], "> 4e12 (none of 2 seeds got there)"),
    ],
)
def test_a_censored_sample_has_no_mean(values, said):
    assert censored_summary(values, 4e12) == said


def test_nothing_to_summarise_is_refused():
    with pytest.raises(UserError, match="no seed"): censored_summary([], 1.0)


@pytest.mark.parametrize(
    "ours, theirs, lower, said",
    [
        ([2, 3, 4], [1, 1, 1], False, "ahead on all 3 seeds"),
        ([2, 3, 4], [1, 1, 1], True, "behind on all 3 seeds"),
        ([2, 0, 4], [1, 1, 1], False, "ahead on 2 of 3 seeds"),
        ([1, 1, 4], [1, 1, 1], False, "ahead on 1 of 3 seeds, level on 2"),
        ([1, 1], [1, 1], False, "ahead on 0 of 2 seeds, level on 2"),
        ([2], [1], False, "ahead on the only seed"),
    ],
)
def test_ahead_counts_seeds(ours, theirs, lower, said):
    assert ahead_on(ours, theirs, lower) == said


def test_ahead_is_paired_and_refuses_missing_seeds():
    with pytest.raises(UserError): ahead_on([1, 2], [1])
    with pytest.raises(UserError): ahead_on([1, float("nan")], [1, 2])


def test_a_threshold_counts_missing_seeds_as_not_past():
    assert (
        seeds_past([0.9, 0.2, None, float("nan")], 0.5) == "1 of 4 seeds"
        and seeds_past([0.9, 0.5], 0.5) == "2 of 2 seeds"
    )
    assert seeds_past([0.9, 0.2], 0.5, lower=True) == "1 of 2 seeds"


def test_pooled_spread_is_anova_within():
    """The within-group mean square of a one-way analysis of variance, as statsmodels and every textbook have it."""
    groups = [[1.0, 2.0, 4.0], [7.0, 7.5], [0.0]]
    within = sum(np.var(g, ddof=1) * (len(g) - 1) for g in groups[:2]) / 3
    assert pooled_spread(groups).sd == pytest.approx(math.sqrt(within)) and pooled_spread(groups).df == 3
    # one pair: sd is the difference over root two
    assert pooled_spread([[5.0, 7.0]]).of_difference == pytest.approx(2.0)
    for bad in ([], [[1.0], [2.0]], [[1.0, float("nan")]]):
        with pytest.raises(UserError): pooled_spread(bad)


def test_the_ruler_keeps_its_promise_and_so_does_the_interval_of_the_sd():
    rng, level = np.random.default_rng(1), 0.9
    gaps = sds = 0
    for _ in range(2000):
        spread = pooled_spread(rng.normal(0, 2, (3, 2)))
        gaps += spread.gap_interval(1.0 + rng.normal(0, 2) - rng.normal(0, 2), level).covers(1.0)
        sds += spread.interval(level).covers(2.0)
    assert 0.88 < gaps / 2000 < 0.92 and 0.88 < sds / 2000 < 0.92
    assert Spread(1.0, 3).gap_interval(1.0).half_width == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(2))


def test_fisher_interval_is_scipys_and_edges_say_nothing():
    x = np.random.default_rng(2).normal(size=10)
    y = x + np.random.default_rng(3).normal(size=10)
    theirs, ours = stats.pearsonr(x, y), fisher_interval(float(stats.pearsonr(x, y)[0]), 10)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert (fisher_interval(0.9, 3).low, fisher_interval(0.9, 3).high) == (-1, 1) and fisher_interval(
        1.0, 10
    ).low == 1.0
    with pytest.raises(UserError): fisher_interval(1.2, 10)


def _correlated_triples(n: int, rng) -> np.ndarray:
    "Two small models and a large one over n data sets; both small ones follow the large one equally well."
    return rng.multivariate_normal([0, 0, 0], [[1, 0.85, 0.9], [0.85, 1, 0.9], [0.9, 0.9, 1]], n).T


def test_a_difference_of_correlations_covers_zero_when_there_is_none():
    rng, known, unknown, widths = np.random.default_rng(4), 0, 0, []
    for _ in range(1000):
        a, b, big = _correlated_triples(10, rng)
        r = lambda x, y: float(np.corrcoef(x, y)[0, 1])
        paired = correlation_difference(r(a, big), r(b, big), 10, r(a, b))
        alone = correlation_difference(r(a, big), r(b, big), 10)
        known, unknown = known + paired.covers(0), unknown + alone.covers(0)
        widths.append(paired.half_width < alone.half_width)
    assert 0.93 < known / 1000 < 0.98 and unknown >= known and np.mean(widths) > 0.9


def test_holm_steps_down():
    """Against the definition: sorted p times how many are left, never falling, at most one."""
    rng = np.random.default_rng(5)
    for k in (1, 2, 7):
        p = rng.random(k)
        order, running, expected = np.argsort(p), 0.0, np.empty(k)
        for rank, index in enumerate(order): running = expected[index] = max(running, min(1.0, p[index] * (k - rank)))
        assert np.allclose(holm(p), expected)
    with pytest.raises(UserError): holm([0.5, -0.1])
    with pytest.raises(UserError): holm([])


def test_holm_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(6)
    shared = rng.normal(size=(4000, 1))
    p = stats.norm.sf(math.sqrt(0.5) * shared + math.sqrt(0.5) * rng.normal(size=(4000, 7)))      # correlated by half
    raw, corrected = np.mean(p.min(axis=1) <= 0.025), np.mean([min(holm(row)) <= 0.025 for row in p])
    assert raw > 0.08 and corrected <= 0.025 + 0.007
