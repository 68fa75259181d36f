"""Demands, checks and the rule: blind, deaf, broken and noisy instruments do not pass; seeing ones do."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.core.statistics import Interval, mean_interval, minimum_detectable_effect
from dclm_nb.judging.instrument import (
    DEMANDS, Calibration, Check, Resolution, alarm_rate, as_expected, compare, quiet_right_sharp,
)

NUMBERS = st.floats(-9, 9)
READINGS = st.lists(NUMBERS, min_size=2, max_size=8)


@pytest.mark.parametrize(
    "expected, change, low, high, passes",
    [
        ("-", -0.5, -0.6, -0.4, True),
        ("-", -0.5, -1.2, 0.2, False),
        ("-", -0.01, -0.02, -0.005, False),
        ("-", 0.5, 0.4, 0.6, False),
        ("+", 0.5, 0.4, 0.6, True),
        ("+", 0.5, -0.1, 1.1, False),
        ("0", 0.04, 0.03, 0.05, True),
        ("0", 0.2, 0.1, 0.3, False),
        ("0", 0.2, -0.1, 0.5, True),
        ("no fall", 0.4, 0.3, 0.5, True),
        ("no fall", -0.4, -0.5, -0.3, False),
        ("sharp", 0.06, -1, 1, True),
        ("sharp", 0.05, 0.04, 0.06, False),
        ("", -9, -9, -9, True),
    ],
)
def test_the_rule_of_a_verdict(expected, change, low, high, passes):
    assert as_expected(expected, Interval(low, change, high), margin=0.05) is passes


@given(NUMBERS, st.floats(0, 5), st.floats(0, 5))
def test_rise_and_fall_are_mirrored_and_exclude_staying(mid, width, margin):
    change, mirrored = Interval(mid - width, mid, mid + width), Interval(-mid - width, -mid, -mid + width)
    assert as_expected("+", change, margin) == as_expected("-", mirrored, margin)
    met = [demand for demand in ("+", "-", "0") if as_expected(demand, change, margin)]
    assert len(met) == 1, "exactly one of the three"


@given(st.sampled_from([d for d in DEMANDS if d]), st.floats(0, 9))
def test_what_is_no_number_meets_no_demand(demand, margin):
    assert not as_expected(demand, Interval(math.nan, math.nan, math.nan), margin)


@given(READINGS, NUMBERS)
def test_a_shift_of_all_readings_is_the_change(readings, shift):
    check = compare("x", "shifted", [r + shift for r in readings], readings)
    assert check.change.mid == pytest.approx(shift, abs=1e-9) and check.passes


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spoiled_first", [True, False])
def test_a_broken_instrument_fails_by_name_and_stops_nothing(bad, spoiled_first):
    pair = ([0.1, bad, 0.2], [0.1, 0.2, 0.3])
    check = compare("broken", "noise", *(pair if spoiled_first else pair[::-1]), "0", margin=99)
    assert not check.passes and Calibration((check,)).blind == {"broken": ("noise",)}


def test_readings_that_cannot_be_paired_are_a_mistake():
    with pytest.raises(UserError, match="paired"): compare("x", "y", [1, 2], [1])
    with pytest.raises(UserError, match="paired"): compare("x", "y", [], [])


def checks(*rows) -> Calibration:
    "A check per (instrument, name, does it pass)."
    return Calibration(tuple(Check(i, n, Interval(1, 1, 1), "+" if good else "-") for i, n, good in rows))


def test_one_miss_is_enough_and_order_is_kept():
    found = checks(("b", "noise", True), ("a", "noise", False), ("b", "blur", False), ("a", "blur", False))
    assert list(found.blind.items()) == [("a", ("noise", "blur")), ("b", ("blur",))]
    assert found.of("b").faults == ("blur",) and not found.of("b").passes
    with pytest.raises(UserError, match="b does not pass the calibration .blur.: look again"):
        found.require("b", "look again")


def test_nothing_shown_is_not_passed():
    assert not Calibration(()).passes and Calibration(()).blind == {}
    with pytest.raises(UserError, match="unknown instrument 'a'"): Calibration(()).require("a")
    assert checks(("a", "noise", True)).require("a") == "a"


@given(st.lists(NUMBERS, max_size=6))
def test_alarms_are_the_share_of_triples(differences):
    rate = alarm_rate(differences)
    assert math.isnan(rate) if len(differences) < 3 else 0 <= rate <= 1


def test_alarms_come_as_often_as_promised():
    rng = np.random.default_rng(0)
    assert 0.03 < np.mean([alarm_rate(rng.normal(0, 1, 6)) for _ in range(300)]) < 0.07
    assert alarm_rate([5.0, 5.1, 4.9, 5.05]) == 1 and alarm_rate([0.0] * 4) == 0


def test_a_resolution_is_of_the_spreads_of_its_groups():
    readings, differences = [np.array([1.0, 3]), np.array([10.0, 12, 14])], [np.array([0.5, -0.5])]
    found = Resolution.of(readings, differences, seeds=(2, 3))
    assert found.seed_sd == pytest.approx(math.sqrt((2 + 8) / 3)) and found.paired_sd == pytest.approx(math.sqrt(0.5))
    assert found.detects == {n: minimum_detectable_effect(found.paired_sd, n, paired=True) for n in (2, 3)}
    assert found.shared == pytest.approx(1 - 0.5 / (2 * 10 / 3))


def test_a_reading_that_never_varies_shares_nothing_and_detects_everything():
    still = Resolution.of([np.ones(3)], [np.zeros(3)])
    assert still.shared == 0 and still.detects == {3: 0, 5: 0}


@pytest.mark.parametrize("readings, differences", [
    ([np.ones(1)], [np.ones(3)]), ([np.ones(3)], [np.ones(1), np.ones(1)]), ([], [np.ones(3)]),
    ([np.array([1, math.nan])], [np.ones(3)])])
def test_a_spread_needs_two_seeds_and_finite_readings(readings, differences):
    with pytest.raises(UserError, match="a spread needs a condition with two seeds"):
        Resolution.of(readings, differences)


def imaginary(harm: float, seed: int, bias: float = 0.0) -> Calibration:
    "A study of an instrument whose readings fall by `harm` spreads; `bias` is seen where there is nothing."
    rng = np.random.default_rng(seed)
    same, large, small = bias + rng.normal(0, 1, 6), harm + rng.normal(0, 1, 3), harm / 2 + rng.normal(0, 1, 3)
    sight = Resolution.of([rng.normal(0, 1, 6)], [same, large, small])
    return quiet_right_sharp("imaginary", *map(mean_interval, (same, large, small)), sight.detects[3])


@pytest.mark.parametrize("harm, bias, low, high", [(0, 0, 0, 0), (-30, 0, 0, 0), (30, 0, 0.88, 1), (30, 9, 0, 0)],
                         ids=["blind", "inverted", "sees", "sees what is not there"])
def test_the_rule_on_instruments_that_are_known(harm, bias, low, high):
    assert low <= np.mean([imaginary(harm, seed, bias).passes for seed in range(60)]) <= high


def test_the_faults_have_names():
    assert imaginary(0, 1).faults == ("misses planted harm", "not sharp")
    assert "not quiet" in imaginary(30, 0, bias=9).faults
