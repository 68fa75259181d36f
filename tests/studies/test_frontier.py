"""Frontiers: what belongs to one, planted slopes found again, intervals that keep their promise, crossings only where
there are measurements."""
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.studies.frontier import bootstrap_fit, crossing, fit_budgets, fit_power, lower_hull, share_error

SIZES = (("small", 12.3), ("medium", 13.0), ("large", 13.7))
POINTS = st.dictionaries(st.integers(0, 60), st.floats(1e-3, 1e3), min_size=1, max_size=12).map(
    lambda chosen: [(1e10 * 1.25**step, metric) for step, metric in chosen.items()]
)
A_STEP = st.floats(0.98, 1.02)              # what whole steps leave of a budget


def world(slope, level, seeds, noise, number, sizes=SIZES):
    """compute, metric, size, seed of a made-up method: each size touches the line through 10**level at 1e13 FLOPs."""
    rng, rows = np.random.default_rng([number, round(-1000 * slope)]), []
    for size, best in sizes:
        for seed in range(seeds):
            run = rng.normal(0, noise)
            rows += [
                (
                    10**x,
                    10 ** (level + slope * (x - 13) + 0.2 * (x - best) ** 2 + run + rng.normal(0, noise / 2)),
                    size,
                    seed,
                )
                for x in best + np.array([-0.45, -0.2, 0, 0.2, 0.45])
            ]
    return tuple(zip(*rows))


def fitted(slope, level, seeds, noise=0.02, number=0, sizes=SIZES, **options):
    return bootstrap_fit(*world(slope, level, seeds, noise, number, sizes), name=str(slope), reference=1e13, **options)


@given(POINTS)
def test_the_frontier_falls_bends_one_way_and_nothing_lies_below_it(points):
    compute, metric = map(np.array, zip(*points))
    hull = lower_hull(compute, metric)
    x, y = np.log10(compute), np.log10(metric)
    assert (np.diff(x[hull]) > 0).all() and (np.diff(y[hull]) < 0).all()
    slopes = np.diff(y[hull]) / np.diff(x[hull])
    assert (np.diff(slopes) > -1e-6 * np.abs(slopes).max(initial=1)).all()
    inside = (x >= x[hull[0]]) & (x <= x[hull[-1]])
    assert (y[inside] >= np.interp(x[inside], x[hull], y[hull]) - 1e-6).all()
    assert x[hull[0]] == x.min() and y[hull[-1]] == y.min()


@given(POINTS, st.randoms())
def test_the_order_of_the_points_does_not_matter(points, random):
    shuffled = random.sample(points, len(points))
    on = lambda p: {p[i] for i in lower_hull(*zip(*p))}
    assert on(points) == on(shuffled)


@given(POINTS)
def test_a_dearer_and_worse_point_changes_nothing(points):
    compute, metric = map(list, zip(*points))
    worse = lower_hull([*compute, 1e17], [*metric, 1e4])
    assert worse.tolist() == lower_hull(compute, metric).tolist()


@given(POINTS, st.data())
def test_networks_of_one_budget_are_not_cheaper_than_each_other(points, data):
    """Each budget gets company: networks that stop a step earlier or later, and are worse. None of them is on the
    frontier, and it is as long as without them."""
    alone = lower_hull(*zip(*points))
    worse = [(c * data.draw(A_STEP), m * data.draw(st.floats(1.01, 9)))
             for c, m in points for _ in range(data.draw(st.integers(0, 3)))]
    assert lower_hull(*zip(*points, *worse)).tolist() == alone.tolist()


@pytest.mark.parametrize("networks", [2, 10, 25])
def test_of_many_networks_of_one_budget_one_is_on_the_frontier(networks):
    "Each is cheaper than the next by a thousandth, and worse: by cost alone every one of them would be on it."
    compute = [1e12 * 1.001**k for k in range(networks)]
    metric = [10 / (1 + k) for k in range(networks)]
    assert lower_hull(compute, metric).tolist() == [networks - 1]
    later = lower_hull([*compute, 1e13], [*metric, 1e-3])
    assert later.tolist() == [networks - 1, networks]
    higher = lower_hull(compute, [1 / m for m in metric], higher_is_better=True)
    assert higher.tolist() == [networks - 1]


def test_half_as_much_again_is_another_budget():
    assert lower_hull([1e12, 1.5e12, 3e12], [4.0, 2.0, 1.0]).tolist() == [0, 1, 2]


@given(st.floats(-2, -0.05), st.floats(-3, 3), st.integers(3, 9))
def test_an_exact_power_law_is_found_again(slope, level, n):
    compute = np.logspace(11, 15, n)
    fit = fit_power(compute, 10 ** level * (compute / 1e13) ** slope, reference=1e13)
    assert (
        fit.points == n
        and math.isclose(fit.slope, slope, rel_tol=1e-6)
        and math.isclose(fit.intercept, level, abs_tol=1e-6)
        and fit.r2 > 0.999999
    )
    rising = fit_power(compute, 10 ** level * (compute / 1e13) ** -slope, higher_is_better=True, reference=1e13)
    assert rising.points == n and math.isclose(rising.slope, -slope, rel_tol=1e-6)


@given(st.lists(st.floats(0.5, 50), min_size=4, max_size=8), st.integers(0, 1))
def test_a_line_through_budgets_is_least_squares_of_all_of_them(lowest, left_out):
    """`np.polyfit` is asked, whether or not the curve bends; a worse point of the same budget changes nothing."""
    compute = np.logspace(11, 11 + len(lowest), len(lowest))
    fit = fit_budgets([*compute, *compute * 1.01], [*lowest, *np.multiply(lowest, 1.5)], since=compute[left_out])
    slope, level = np.polyfit(np.log10(compute[left_out:]), np.log10(lowest[left_out:]), 1)
    assert fit.points == len(lowest) - left_out and fit.low == pytest.approx(compute[left_out])
    assert fit.slope == pytest.approx(slope, abs=1e-9) and fit.intercept == pytest.approx(level, abs=1e-7)


def test_too_few_points_are_a_result_and_no_exception():
    for compute, metric in (
        ([1e12], [1.0]),
        ([1e12, 1e13], [2.0, 1.0]),
        ([1e12, 1e13, 1e14], [9.0, 8.9, 1.0]),
        ([1e12, 1e13, 1e14], [1.0, 2.0, 3.0]),
    ):
        fit = fit_power(compute, metric)
        assert not fit.ok and math.isnan(fit.slope) and "too few points" in str(fit)
    short = fit_budgets([1e12, 1e13, 1e14], [9.0, 8.9, 1.0], since=1e13)
    assert str(short) == "too few points: 2 budgets, and a fit needs 3"
    assert fit_budgets([1e12, 1e13, 1e14], [9.0, 8.9, 1.0]).ok
    one = bootstrap_fit([1e12, 1e13] * 2, [9, 8, 9.1, 8.1], ["small"] * 4, [0, 0, 1, 1])
    assert not one.fit.ok and one.lost == 1 and (one.slope.low, one.slope.high) == (-math.inf, math.inf)
    assert not crossing(one, one).found and "too few points" in str(crossing(one, one))


@pytest.mark.parametrize("sizes, seeds, noise", [(SIZES, 2, 0.02), (SIZES, 3, 0.05), (SIZES[::2], 2, 0.05)])
def test_slope_and_crossing_intervals_hold_the_truth_about_as_often_as_they_say(sizes, seeds, noise):
    """A hundred made-up studies. 95 of 100 is promised; below 86 would be chance once in a thousand."""
    steep, shallow = (fitted(slope, 1.5, 1, noise=0, sizes=sizes, draws=2) for slope in (-0.5, -0.2))
    meet = crossing_of_lines(steep.fit, shallow.fit)
    pairs = [
        [fitted(slope, 1.5, seeds, noise, number, sizes, draws=150) for slope in (-0.5, -0.2)] for number in range(100)
    ]
    assert np.mean([a.slope.covers(steep.fit.slope) for a, _ in pairs]) >= 0.86
    found = [c for pair in pairs if (c := crossing(*pair)).found]
    assert len(found) > 30 and np.mean([c.interval.covers(meet) for c in found]) >= 0.86


def crossing_of_lines(a, b): return 10 ** ((a.intercept - b.intercept) / (b.slope - a.slope)) * 1e13


def test_one_seed_knows_nothing_of_chance():
    fit = fitted(-0.5, 1.5, seeds=1)
    assert fit.fit.ok and not math.isfinite(fit.slope.low) and not math.isfinite(fit.slope.high) and fit.seeds == 1
    mixed = world(-0.5, 1.5, 2, 0.02, 0)
    alone = [not (size == "large" and seed == 1) for size, seed in zip(*mixed[2:])]
    assert not math.isfinite(
        bootstrap_fit(*([v for v, keep in zip(column, alone) if keep] for column in mixed)).slope.high
    )


def test_draws_are_the_same_each_time_and_others_for_another_name():
    points = world(-0.5, 1.5, 3, 0.02, 0)
    first, again, other = (bootstrap_fit(*points, name=name, draws=50) for name in ("a", "a", "b"))
    assert np.array_equal(first.draws, again.draws) and not np.array_equal(first.draws, other.draws)


def test_seeds_without_spread_give_an_interval_of_no_width():
    fit = fitted(-0.5, 1.5, seeds=3, noise=0.0, draws=100)
    assert math.isclose(fit.slope.low, fit.slope.high, abs_tol=1e-9) and fit.lost == 0


def test_a_crossing_outside_the_measurements_is_none_and_never_beyond_a_decade():
    # they meet at 10**14.7 and 10**18; the last point lies at 10**14.15
    a, near, far = fitted(-0.5, 2.0, 3), fitted(-0.2, 1.5, 3), fitted(-0.2, 0.5, 3)
    assert not crossing(a, near).found and crossing(a, near, decades=1).text.endswith("extrapolated")
    assert not crossing(a, far, decades=1).found and "none inside the measured range" in str(
        crossing(a, far, decades=1)
    )
    assert crossing(a, near, measured=(1e12, 1e16)).found
    with pytest.raises(UserError, match="at most one decade"): crossing(a, near, decades=1.5)


def test_parallel_frontiers_cross_nowhere():
    a = fitted(-0.5, 1.5, 3)
    assert not crossing(a, a).found
    assert not crossing(a, fitted(-0.5, 1.5, 3, noise=0.05, number=5)).found


def test_a_crossing_does_not_depend_on_who_is_named_first():
    a, b = fitted(-0.5, 1.5, 3), fitted(-0.2, 1.5, 3)
    one, other = crossing(a, b), crossing(b, a)
    assert (
        one.found
        and math.isclose(one.compute, other.compute)
        and one.interval.low == pytest.approx(other.interval.low)
        and one.interval.low < one.compute < one.interval.high
    )


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.05, 1))
@settings(max_examples=50)
def test_an_error_is_positive_at_least_half_a_count_and_falls_with_the_score(right, n, ceiling):
    right = min(right, n)
    error = float(share_error(right / n, n, ceiling))
    assert error >= 0.5 / (n * ceiling) > 0 and (right == n or error >= float(share_error((right + 1) / n, n, ceiling)))


def test_bad_points_are_one_line():
    for compute, metric in (([1e12, -1], [1, 1]), ([1e12, 1e13], [1, math.nan]), ([1e12], [1, 2]), ([[1e12]], [[1]])):
        with pytest.raises(UserError) as error: lower_hull(compute, metric)
        assert "\n" not in str(error.value)
    compute, metric, size, seed = world(-0.5, 1.5, 2, 0.02, 0)
    with pytest.raises(UserError, match="not measured at the same compute"):
        bootstrap_fit(compute[:-1], metric[:-1], size[:-1], seed[:-1])
    with pytest.raises(UserError, match="different references"):
        crossing(fitted(-0.5, 1.5, 2), bootstrap_fit(compute, metric, size, seed))


def test_it_needs_no_torch():
    import subprocess, sys
    code = "import sys; import dclm_nb.studies.frontier; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
