"""Separation: against all pairs counted one by one, and what ties, films and missing scores do."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.judging.separation import FilterTruth, separation

ITEMS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=25).filter(
    lambda items: len({flag for _, flag in items}) == 2
)


@settings(max_examples=40, deadline=None)
@given(ITEMS)
def test_the_area_is_the_share_of_pairs_in_order(items):
    yes, no = ([score for score, flag in items if flag == kind] for kind in (True, False))
    pairs = [(a > b) + (a == b) / 2 for a in yes for b in no]
    scores, flags = zip(*items)
    assert separation(scores, flags, resamples=5).mid == pytest.approx(np.mean(pairs))
    assert separation([-score for score in scores], flags, resamples=5).mid == pytest.approx(1 - np.mean(pairs))


def test_items_without_a_score_are_left_out():
    assert separation([1, 2, math.nan], [False, True, False], resamples=5).mid == 1
    with pytest.raises(UserError, match="both kinds"): separation([1, math.nan], [True, False])


def test_whole_films_are_resampled():
    rng = np.random.default_rng(0)
    luck = rng.normal(size=20).repeat(10)
    flags = (rng.random(20) < 0.5).repeat(10)
    alone, films = (separation(luck, flags, groups) for groups in (None, np.arange(20).repeat(10)))
    assert films.mid == alone.mid and films.half_width > 2 * alone.half_width


def test_the_same_seed_gives_the_same_interval():
    scores, flags = np.random.default_rng(1).normal(size=40), np.arange(40) % 3 == 0
    assert separation(scores, flags, seed=3) == separation(scores, flags, seed=3) != separation(scores, flags, seed=4)


def test_precision_and_recall():
    found = FilterTruth.of([True, True, False, False, True], [True, False, True, False, True])
    assert found == FilterTruth(hit=2, missed=1, false_alarm=1, passed=1)
    assert found.recall.mid == found.precision.mid == pytest.approx(2 / 3) and found.removed == 0.6
    assert math.isnan(FilterTruth.of([False], [False]).precision.mid)


def test_one_flag_for_each_that_was_removed():
    assert FilterTruth.of([True, False, True], [1, 0, 0]) == FilterTruth(1, 0, 1, 1)
    with pytest.raises(UserError, match="2 removed and 3 flags"): FilterTruth.of([True, False], [True, False, True])
