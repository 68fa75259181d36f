"""The studies at smoke, made once in the one store that the tests of a session share."""
import pytest

from dclm_nb.core.store import Run, RunStore
from dclm_nb.studies.tradeoffs.compute_grid import GridRuns, run_grid
from dclm_nb.studies.tradeoffs.runs import workshop
from dclm_nb.studies.dclm.profiles import profile
from dclm_nb.studies.dclm.quality_filters import pool_settings
from dclm_nb.studies.dclm.text_pool import make_pool


@pytest.fixture(scope="session")
def smoke_pool() -> Run:
    "The pool of documents behind the text studies."
    return RunStore().run(make_pool, pool_settings(profile("smoke").study))


@pytest.fixture(scope="session")
def one_seed_grid() -> GridRuns:
    "The grid of the image studies with one seed."
    return run_grid(workshop("smoke"), seeds=(0,))
