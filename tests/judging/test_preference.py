"""Votes and the share that was won: against scipy, from either side, and where there is nothing to count."""
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dclm_nb.core.errors import UserError
from dclm_nb.judging.preference import Vote, checked_votes, majority, votes_from_scores, win_rate

SCORES = st.lists(st.sampled_from([0, 0.5, 1]), min_size=1, max_size=60)


def votes_of(scores, items=False) -> list[Vote]:
    return [Vote("a", "b", score, str(i % 7) if items else "") for i, score in enumerate(scores)]


@given(SCORES)
def test_a_share_is_a_share_and_the_other_side_has_the_rest(scores):
    ours, theirs = (win_rate(votes_of(scores), *pair) for pair in (("a", "b"), ("b", "a")))
    assert ours.share.mid == pytest.approx(np.mean(scores)) and ours.wins + ours.losses + ours.ties == len(scores)
    assert 0 <= ours.share.low <= ours.share.mid <= ours.share.high <= 1
    assert (ours.wins, ours.ties) == (theirs.losses, theirs.ties)
    assert theirs.share.low == pytest.approx(1 - ours.share.high)
    assert theirs.lead.mid == pytest.approx(-ours.lead.mid)


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=60), st.sampled_from([0.8, 0.95, 0.99]))
def test_without_ties_it_is_the_interval_of_scipy(scores, level):
    expected = stats.binomtest(sum(scores), len(scores)).proportion_ci(level, method="wilson")
    for ties in ("half", "out"):
        found = win_rate(votes_of(scores), "a", "b", ties, level).share
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(SCORES)
def test_ties_left_out_are_as_if_they_had_not_been(scores):
    decided = [score for score in scores if score != 0.5]
    if not decided:
        with pytest.raises(UserError, match=f"all {len(scores)} votes .* are ties"):
            win_rate(votes_of(scores), "a", "b", "out")
        half = win_rate(votes_of(scores), "a", "b")
        assert half.share.mid == 0.5 and half.lead.covers(0)
        return
    found = win_rate(votes_of(scores), "a", "b", "out")
    assert found.share == win_rate(votes_of(decided), "a", "b").share and found.ties == len(scores) - len(decided)


@given(SCORES, st.booleans())
def test_who_is_named_first_does_not_matter(scores, items):
    votes = votes_of(scores, items)
    turned = [Vote("b", "a", 1 - v.score, v.item) if i % 2 else v for i, v in enumerate(votes)]
    assert win_rate(votes, "a", "b") == win_rate(turned, "a", "b")
    if items: assert majority(votes) == majority(turned)


@given(SCORES)
def test_a_majority_is_one_vote_for_each_item(scores):
    votes = votes_of(scores, items=True)
    merged = majority(votes)
    assert len(merged) == len({vote.item for vote in votes}) and majority(merged) == merged
    for vote in merged:
        voices = [v.score for v in votes if v.item == vote.item]
        assert vote.score == (0.5 if np.mean(voices) == 0.5 else np.mean(voices) > 0.5)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=20), st.integers(0, 3))
def test_votes_follow_from_scores(pairs, tie):
    votes = votes_from_scores("a", "b", *zip(*pairs), tie=tie)
    for vote, (ours, theirs) in zip(votes, pairs):
        assert vote.score == (0.5 if abs(ours - theirs) <= tie else float(ours > theirs))
    assert [vote.item for vote in votes] == [str(i) for i in range(len(pairs))]


def test_a_judge_is_found_out_by_votes_between_equals():
    rng = np.random.default_rng(0)
    fair = [
        win_rate(votes_from_scores("a", "b", *rng.normal(0, 1, (2, 64))), "a", "b").lead.covers(0) for _ in range(300)
    ]
    assert 0.91 < np.mean(fair) < 0.98
    biased = votes_from_scores("a", "b", rng.normal(1, 1, 64), rng.normal(0, 1, 64))
    assert not win_rate(biased, "a", "b").lead.covers(0), "it prefers what stands first"


@pytest.mark.parametrize("score", [math.nan, math.inf, -1, 2, 0.7])
def test_a_score_that_is_none_is_counted_and_stops(score):
    with pytest.raises(UserError, match="2 of 3 votes are neither"):
        checked_votes([Vote("a", "b", score), Vote("a", "b", 1), Vote("a", "b", score)])


@pytest.mark.parametrize("call, says", [
    (lambda: win_rate([], "a", "b"), "there are no votes"),
    (lambda: majority([]), "there are no votes"),
    (lambda: votes_from_scores("a", "b", [], []), "there are no votes"),
    (lambda: win_rate([Vote("a", "a", 1)], "a", "a"), "compared with itself"),
    (lambda: win_rate([Vote("a", "b", 1)], "a", "c"), "no votes between 'a' and 'c'"),
    (lambda: win_rate([Vote("a", "b", 1)], "a", "b", ties="lost"), "unknown ties 'lost'"),
    (lambda: majority([Vote("a", "b", 1, "x"), Vote("a", "b", 1)]), "without an item"),
    (lambda: votes_from_scores("a", "b", [1.0, math.nan, 2], [0, 0, math.inf]), "2 of 3 pairs have a score"),
    (lambda: votes_from_scores("a", "b", [1.0], [0, 0]), "cannot be paired"),
    (lambda: votes_from_scores("a", "b", [1.0], [0], items=["x", "y"]), "for 2 items cannot be paired")])
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(UserError, match=says) as caught: call()
    assert "\n" not in str(caught.value)


def test_a_vote_has_names_and_a_number():
    vote = Vote("a", "b", 1, "x")
    assert pickle.loads(pickle.dumps(vote)) == vote and vote[:2] == ("a", "b") and vote._replace(score=0).score == 0
    for wrong in ((3, "b", 1), ("a", None, 1), ("a", "b", "1"), ("a", "b", 1, [])):
        with pytest.raises(UserError, match="must be"): Vote(*wrong)
