"""Two tiers. `make test` has one test of each kind, `make test-all` (pytest --nightly) all of them."""
import os

import pytest
from hypothesis import settings


def nightly(*values) -> list:
    "Parameters of a test that are left to the nightly tier."
    return [pytest.param(value, marks=pytest.mark.nightly) for value in values]


def daily(*values) -> list:
    "Parameters of a test that another one of the nightly tier contains: they are left out where that one runs."
    return [pytest.param(value, marks=pytest.mark.daily) for value in values]


def fuzz(examples: int) -> settings:
    """Settings of a fuzzed test: `examples` of them in the nightly tier, a fifth and at least a hundred otherwise; none
    of them against the clock."""
    few = examples if os.environ.get("DCLM_NB_NIGHTLY") == "1" else min(examples, max(100, examples // 5))
    return settings(max_examples=few, deadline=None)
