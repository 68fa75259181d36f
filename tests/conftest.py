"""What all tests share: the optional reference data next to the checkout, and the switch for benchmarks."""
import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--benchmarks", action="store_true", help="run the timed comparisons in tests/benchmarks")


def pytest_configure(config):
    # One thread, here and in child processes, as `make` has it: on more, two runs of one training differ in their last
    # bits.
    os.environ["OMP_NUM_THREADS"] = "1"
    config.addinivalue_line("markers", "benchmark_run: a timed comparison, run only with --benchmarks")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--benchmarks"): return
    skip = pytest.mark.skip(reason="timed comparison: run with --benchmarks (make bench)")
    for item in items:
        if "benchmark_run" in item.keywords: item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout (`$DCLM_NB_SHARED` or `../shared`); skips where there is
    none."""
    folder = Path(os.environ.get("DCLM_NB_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir(): pytest.skip("no reference data beside the checkout (../shared)")
    return folder
