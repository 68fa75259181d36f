"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import numpy as np
import torch
import pytest
from odd import Walk

import dclm_nb.judging
from dclm_nb.core.statistics import Interval
from dclm_nb.judging.elo import expected_score, likelihood_elo, replayed_elo, vote_draws
from dclm_nb.judging.frechet import feature_statistics, frechet_distance, statistics_from_covariance
from dclm_nb.judging.instrument import Calibration, Resolution, alarm_rate, as_expected, compare
from dclm_nb.judging.precision_recall import precision_recall
from dclm_nb.judging.preference import Vote, majority, votes_from_scores, win_rate
from dclm_nb.judging.separation import FilterTruth, separation

VOTES = [Vote("a", "b", 1.0, "x"), Vote("a", "b", 0.0, "y"), Vote("a", "b", 1.0, "z")]
DRAWN = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)))
SCORES, FLAGS = [0.1, 0.4, 0.2, 0.9], [True, False, False, True]
RATED = likelihood_elo(VOTES, draws=2)
CHECKED = Calibration((compare("a", "b", [1.0, 1.1, 1.2], [0.0, 0.1, 0.2], "+"),))
CALLS = {
    feature_statistics: dict(features=DRAWN),
    statistics_from_covariance: dict(mean=torch.zeros(2), covariance=torch.eye(2), n=3),
    frechet_distance: dict(a=DRAWN, b=DRAWN + 1),
    precision_recall: dict(real=DRAWN, fake=DRAWN + 1, k=2),
    expected_score: dict(rating=1000.0, other=1200.0),
    Vote: dict(first="a", second="b", score=0.5, item=""),
    RATED.of: dict(player="a"),
    RATED.interval: dict(player="a", level=0.95),
    RATED.gap: dict(first="a", second="b", level=0.95),
    CHECKED.of: dict(instrument="a"),
    CHECKED.require: dict(instrument="a", then="do not use it"),
    Resolution.of: dict(readings=[SCORES], differences=[SCORES], seeds=(3, 5)),
    FilterTruth.of: dict(removed=FLAGS, flags=FLAGS),
    votes_from_scores: dict(first="a", second="b", scores=[1.0, 2.0], others=[2.0, 1.0], items=["x", "y"], tie=0.0),
    win_rate: dict(votes=VOTES, first="a", second="b", ties="half", level=0.95),
    majority: dict(votes=VOTES),
    vote_draws: dict(votes=VOTES, draws=2, seed=0),
    replayed_elo: dict(votes=VOTES, k=1.0, replays=2, draws=2, seed=0),
    likelihood_elo: dict(votes=VOTES, prior=1.0, draws=2, seed=0),
    as_expected: dict(expected="+", change=Interval(0.1, 0.2, 0.3), margin=0.0),
    compare: dict(instrument="a", name="b", readings=[1.0, 2.0], before=[2.0, 3.0], expected="+", margin=0.0),
    alarm_rate: dict(differences=SCORES, size=3),
    separation: dict(scores=SCORES, flags=FLAGS, groups=None, level=0.95, resamples=5, seed=0),
}


INNER = """
# what is given comes from our own code, which checked it before
elo: Ratings
frechet: FeatureStatistics nuclear_norm
instrument: Check Calibration Resolution quiet_right_sharp
precision_recall: PrecisionRecall
preference: checked_votes WinRate
separation: FilterTruth draw_scores
vectors: checked_vectors check_same_dimension
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.judging, INNER
