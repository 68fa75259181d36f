"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

import dclm_nb.studies
from dclm_nb.studies.frontier import bootstrap_fit, fit_budgets, fit_power, lower_hull, share_error
from dclm_nb.studies.training_cost import short_number, state_bytes

COMPUTE, LOSSES = [1.0, 10.0, 100.0, 1000.0], [4.0, 3.0, 2.5, 2.2]
CALLS = {
    lower_hull: dict(compute=COMPUTE, metric=LOSSES, higher_is_better=False),
    fit_power(COMPUTE, LOSSES).at: dict(compute=10.0),
    share_error: dict(score=0.5, n=10, ceiling=1.0),
    fit_power: dict(compute=COMPUTE, metric=LOSSES, higher_is_better=False, reference=1.0),
    fit_budgets: dict(compute=COMPUTE, metric=LOSSES, since=0.0, reference=1.0),
    bootstrap_fit: dict(compute=COMPUTE * 2, metric=LOSSES * 2, size=["a", "b", "c", "d"] * 2, seed=[0] * 4 + [1] * 4,
                        name="", higher_is_better=False, reference=1.0, level=0.95, draws=3),
    state_bytes: dict(parameters=10, precision="32-true"),
    short_number: dict(value=1e9),
}


INNER = """
# what a study's own frames hold
frontier: PowerFit FrontierFit Crossing crossing
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.studies, INNER
