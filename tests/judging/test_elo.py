"""Ratings: against plain loops and another algorithm, from known strengths, and where no rating exists."""
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.judging import elo
from dclm_nb.judging.elo import expected_score, likelihood_elo, replayed_elo, vote_draws
from dclm_nb.judging.preference import Vote

few = settings(max_examples=30, deadline=None)
PLAYERS = "abcde"
VOTES = st.lists(
    st.tuples(st.permutations(PLAYERS[:4]).map(lambda p: p[:2]), st.sampled_from([0, 0.5, 1])), min_size=1, max_size=30
).map(lambda found: [Vote(*pair, score) for pair, score in found])
ROUND = [Vote(a, b, 0.5) for a, b in itertools.combinations(PLAYERS[:4], 2)]     # everybody meets everybody


def tournament(truth: dict[str, float], votes: int, seed: int = 0, items: bool = False) -> list[Vote]:
    "Votes between all pairs, by known ratings."
    rng = np.random.default_rng(seed)
    return [
        Vote(a, b, float(rng.random() < expected_score(truth[a], truth[b])), f"prompt {i}" if items else "")
        for a, b in itertools.combinations(truth, 2)
        for i in range(votes)
    ]


TRUTH = dict(zip(PLAYERS, (1120, 1050, 1000, 950, 880)))


def by_loop(votes: list[Vote], k: float) -> dict[str, float]:
    "Elo as one would write it down."
    ratings = {}
    for first, second, score, _ in votes:
        a, b = ratings.setdefault(first, 1000.0), ratings.setdefault(second, 1000.0)
        chance = 1 / (1 + 10 ** ((b - a) / 400))
        ratings[first], ratings[second] = a + k * (score - chance), b + k * ((1 - score) - (1 - chance))
    return ratings


def by_iteration(votes: list[Vote], prior: float) -> dict[str, float]:
    "Bradley-Terry by the old minorisation (Zermelo 1929, Hunter 2004): no gradient, no scipy."
    names = sorted({name for vote in votes for name in vote[:2]})
    wins = {pair: 0.0 for pair in itertools.permutations(names, 2)}
    for first, second, score, _ in votes:
        wins[first, second] += score
        wins[second, first] += 1 - score
    met = {pair: n + wins[pair[::-1]] for pair, n in wins.items()}
    wins = {pair: n + prior / 2 * (met[pair] > 0) for pair, n in wins.items()}
    met = {pair: n + wins[pair[::-1]] for pair, n in wins.items()}
    strength = dict.fromkeys(names, 1.0)
    for _ in range(20_000):
        new = {
            i: sum(wins[i, j] for j in names if j != i)
            / sum(met[i, j] / (strength[i] + strength[j]) for j in names if j != i)
            for i in names
        }
        scale = math.exp(np.mean([math.log(value) for value in new.values()]))
        new = {name: value / scale for name, value in new.items()}
        if max(abs(math.log(new[name] / strength[name])) for name in names) < 1e-12: break
        strength = new
    return {name: 1000 + 400 * math.log10(value) for name, value in new.items()}


@few
@given(VOTES, st.sampled_from([0.5, 1.0, 32.0]))
def test_one_replay_in_the_order_given_is_the_loop(votes, k):
    votes, players, first, second, score = elo._as_arrays(votes)
    found = elo._replayed(first, second, score, np.arange(len(votes))[None], len(players), k)[0]
    assert dict(zip(players, found)) == pytest.approx(by_loop(votes, k), abs=1e-9)


@few
@given(VOTES, st.integers(0, 3))
def test_replays_keep_the_mean_and_depend_on_the_seed_alone(votes, seed):
    one, two = (replayed_elo(votes, replays=20, draws=3, seed=seed) for _ in range(2))
    assert np.array_equal(one.values, two.values) and np.array_equal(one.draws, two.draws)
    assert one.values.mean() == pytest.approx(1000) and one.draws.mean(axis=1) == pytest.approx(np.full(3, 1000))


def test_the_papers_rating_of_a_winner_of_three_in_four():
    "192 votes, as 64 prompts and three people give: about 74 points, far from the 191 of the chance itself."
    votes = [Vote("a", "b", 1)] * 144 + [Vote("b", "a", 1)] * 48
    assert replayed_elo(votes, draws=0).gap("a", "b").mid == pytest.approx(74, abs=2)
    assert likelihood_elo(votes, prior=0, draws=0).gap("a", "b").mid == pytest.approx(400 * math.log10(3), rel=1e-9)


@few
@given(VOTES, st.sampled_from([0.5, 1.0, 4.0]))
def test_the_likelihood_is_that_of_the_old_algorithm(votes, prior):
    votes = votes + ROUND
    found = likelihood_elo(votes, prior, draws=0)
    assert dict(zip(found.players, found.values)) == pytest.approx(by_iteration(votes, prior), abs=1e-3)


@few
@given(VOTES)
def test_sides_exchanged_and_order_of_votes_change_nothing(votes):
    votes = votes + ROUND
    turned = [Vote(b, a, 1 - score) for a, b, score, _ in reversed(votes)]
    assert likelihood_elo(votes, draws=0).values == pytest.approx(likelihood_elo(turned, draws=0).values, abs=1e-5)


def test_extreme_votes_have_finite_ratings():
    "One who won a thousand times, a chain of them, and unequal numbers of votes."
    chain = [Vote(a, b, 1) for a, b in itertools.pairwise(PLAYERS) for _ in range(1000)]
    found = likelihood_elo(chain, draws=20)
    assert np.isfinite(found.values).all() and np.isfinite(found.draws).all()
    step = 400 * math.log10(1000.5 / 0.5)
    assert [found.gap(a, b).mid for a, b in itertools.pairwise(PLAYERS)] == pytest.approx([step] * 4, rel=1e-6)


def test_all_ties_are_all_equal():
    for rate in (likelihood_elo, replayed_elo):
        found = rate(ROUND * 5, draws=10)
        assert found.values == pytest.approx(np.full(4, 1000)) and found.gap("a", "b").half_width < 1e-9


@pytest.mark.parametrize("items", [False, True])
def test_known_strengths_are_found_and_intervals_keep_their_word(items):
    covered, gaps = [], []
    for seed in range(40):
        found = likelihood_elo(tournament(TRUTH, 60, seed, items), prior=0.1, draws=100, seed=seed)
        covered += [found.interval(player).covers(rating) for player, rating in TRUTH.items()]
        gaps.append(found.gap("a", "e").covers(240))
    assert 0.88 <= np.mean(covered) <= 0.99 and np.mean(gaps) >= 0.85


def test_many_votes_leave_only_the_truth():
    found = likelihood_elo(tournament(TRUTH, 20_000), draws=0)
    assert {player: found.of(player) for player in TRUTH} == pytest.approx(TRUTH, abs=6)


def test_gaps_are_paired_within_draws():
    found = likelihood_elo(tournament(TRUTH, 40), draws=50)
    a, b = (found.draws[:, found.players.index(player)] for player in "ab")
    low, high = np.quantile(a - b, [0.025, 0.975])
    gap = found.gap("a", "b")
    assert (gap.low, gap.high) == (low, high) and gap.mid == found.of("a") - found.of("b")
    back = found.gap("b", "a")
    assert (back.low, back.mid, back.high) == pytest.approx((-gap.high, -gap.mid, -gap.low))
    single = likelihood_elo(tournament(TRUTH, 40), draws=0)
    assert single.interval("a").low == -math.inf and single.gap("a", "b").high == math.inf


def test_draws_keep_pairs_full_and_items_whole():
    plain = tournament(TRUTH, 5)
    for places in vote_draws(plain, 20):
        pairs = [plain[i][:2] for i in places]
        assert all(pairs.count(pair) == 5 for pair in set(pairs)) and len(places) == len(plain)
    named = tournament(TRUTH, 5, items=True)
    for places in vote_draws(named, 20):
        times = [[named[i].item for i in places].count(f"prompt {k}") for k in range(5)]
        assert sum(times) == len(named) and all(n % 10 == 0 for n in times), "ten pairs for each prompt, together"
    assert vote_draws(plain, 0) == []
    assert all(np.array_equal(a, b) for a, b in zip(vote_draws(plain, 4, 1), vote_draws(plain, 4, 1)))


def test_people_who_agree_are_worth_less_than_they_are_many():
    "Three votes of one opinion: by items the interval is as wide as that of the opinions, by votes too narrow."
    rng = np.random.default_rng(0)
    opinions = (rng.random(64) < 0.7).astype(float)
    votes = [Vote("a", "b", score, str(i)) for i, score in enumerate(opinions) for _ in range(3)]
    honest = likelihood_elo(votes).gap("a", "b").half_width
    hasty = likelihood_elo([vote._replace(item="") for vote in votes]).gap("a", "b").half_width
    alone = likelihood_elo(votes[::3]).gap("a", "b").half_width
    assert honest > 1.4 * hasty and honest == pytest.approx(alone, rel=0.15)


@pytest.mark.parametrize("call, says", [
    (lambda: likelihood_elo([]), "there are no votes"),
    (lambda: replayed_elo([]), "there are no votes"),
    (lambda: likelihood_elo([Vote("a", "a", 1)]), "compared with itself"),
    (lambda: replayed_elo([Vote("a", "b", math.nan)]), "1 of 1 votes are neither"),
    (lambda: likelihood_elo([Vote("a", "b", 1)] * 9, prior=0), "a never lost to the others"),
    (lambda: likelihood_elo([Vote("a", "b", 0)] * 9, prior=0), "b never lost to the others"),
    (lambda: likelihood_elo([Vote("a", "b", 1), Vote("a", "b", 0), Vote("c", "d", 0.5)]), "never met the others"),
    (lambda: likelihood_elo(ROUND, prior=-1), "prior must be at least 0"),
    (lambda: likelihood_elo(ROUND, prior=math.nan), "prior must be a finite number"),
    (lambda: replayed_elo(ROUND, k=0), "k must be above 0"),
    (lambda: replayed_elo(ROUND, k=math.inf), "k must be a finite number"),
    (lambda: replayed_elo(ROUND, replays=0), "replays must be at least 1"),
    (lambda: replayed_elo(ROUND, replays=2.5), "replays must be a whole number, not 2.5"),
    (lambda: likelihood_elo([*ROUND, Vote("a", "b", 1, "x")]), "some votes name an item"),
    (lambda: likelihood_elo([Vote("a", "b", 1, "x")] * 3), "one item show no spread"),
    (lambda: likelihood_elo(ROUND, draws=0).of("z"), "unknown player 'z'"),
    (lambda: likelihood_elo(ROUND, draws=2).interval("a", level=95), "level must be between 0 and 1")])
def test_what_has_no_rating_is_refused_in_one_line(call, says):
    with pytest.raises(UserError, match=says) as caught: call()
    assert "\n" not in str(caught.value)


def test_one_item_is_enough_for_ratings_without_intervals():
    assert likelihood_elo([Vote("a", "b", 1, "x")], draws=0).gap("a", "b").mid > 0


def test_the_chance_of_any_two_ratings():
    assert expected_score(1400, 1000) == pytest.approx(10 / 11) and expected_score(1000.0, 1000) == 0.5
    assert expected_score(10.0**30, 0) == 1 and expected_score(0, 10.0**30) == pytest.approx(0)
    assert np.allclose(expected_score(np.array([1400.0, 600.0]), 1000), [10 / 11, 1 / 11])
    with pytest.raises(UserError, match="not paired"): expected_score(np.zeros(2), np.zeros(3))
