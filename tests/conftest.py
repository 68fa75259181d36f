"""What all tests share: one store of runs, the reference data next to the checkout, the tiers, and a last word on what
was left out."""
import gc
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import families
import pytest

# One thread, here and in child processes, as `make` has it: on more, two runs of one training differ in their last
# bits. Said before a room's own conftest imports torch.
os.environ["OMP_NUM_THREADS"] = "1"

TIERS = {  # marker: what it takes to run it, and why it is left out otherwise
    "benchmark_run": ("--benchmarks", "timed comparison: run with --benchmarks (make bench)"),
    "nightly": ("--nightly", "of the nightly tier: run with --nightly (make test-all)"),
}


def pytest_addoption(parser):
    parser.addoption("--benchmarks", action="store_true", help="run the timed comparisons in tests/benchmarks")
    parser.addoption("--faults", action="store_true", help="run the fault suite alone, and print its table")
    parser.addoption("--nightly", action="store_true", help="run also what is marked `nightly`, and all fuzzing")


def pytest_configure(config):
    # for tests/tiers.py; the fault suite fuzzes as little as `make test` does
    if config.getoption("--nightly") and not config.getoption("--faults"): os.environ["DCLM_NB_NIGHTLY"] = "1"
    config.addinivalue_line("markers", "benchmark_run: a timed comparison, run only with --benchmarks")
    config.addinivalue_line("markers", "nightly: long, and another test is of its kind: run only with --nightly")
    config.addinivalue_line("markers", "daily: a nightly test contains it: left out with --nightly")
    config.addinivalue_line("markers", "fault(family): a fault that is tried, of a family of tests/families.py")
    if not hasattr(config, "workerinput"): _one_store(config)


def _one_store(config):
    """All tests, in all workers, have one store of runs, beside the data packages: that of `make test`, or a new one.
    Never the user's own, which may hold what other code has made."""
    if home := os.environ.get("DCLM_NB_TEST_HOME"):
        os.environ["DCLM_NB_HOME"] = home
        return
    from dclm_nb.core.paths import data_dir
    home = Path(tempfile.mkdtemp(prefix="dclm_nb-tests-"))
    (home / "data").symlink_to(data_dir())
    os.environ["DCLM_NB_HOME"] = str(home)
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


def pytest_ignore_collect(collection_path, config):
    "For the fault suite, what has no fault in it is not even imported."
    if config.getoption("--faults") and collection_path.match("test_*.py"):
        return not families.has_faults(collection_path) or None


def pytest_collection_modifyitems(config, items):
    for item in items: item.user_properties.append(("fault", families.family_of(item)))
    if config.getoption("--faults"):
        _leave_out(config, items, [item for item in items if not dict(item.user_properties)["fault"]])
        # a file of few tests has long ones: first, so that at the end no worker waits for another one
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: tests[item.path])
    if config.getoption("--nightly"): _leave_out(config, items, [item for item in items if "daily" in item.keywords])
    for marker, (option, reason) in TIERS.items():
        if config.getoption(option): continue
        for item in items:
            if marker in item.keywords: item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish():
    "Each run of the store collects garbage; it need not look through some thousand collected tests each time."
    gc.collect()
    gc.freeze()


def _leave_out(config, items: list, others: list) -> None:
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


def _fault_table(terminalreporter):
    "The table of the fault suite: family, cases, passed."
    tried = []
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            told = dict(getattr(report, "user_properties", ()))
            if not told.get("fault") or outcome == "passed" and report.when != "call": continue
            tried.append((told["fault"], outcome.replace("error", "failed"), int(told.get("cases", 1))))
    terminalreporter.section("faults")
    for line in families.table(tried): terminalreporter.line(line)


def pytest_terminal_summary(terminalreporter, config):
    "How many tests were skipped, by reason; `make test` says it again at its end."
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    if config.getoption("--faults"): _fault_table(terminalreporter)
    lines = [f"{sum(skipped.values())} tests skipped", *(f"{n:4} {reason}" for reason, n in skipped.most_common())]
    terminalreporter.section("left out")
    for line in lines: terminalreporter.line(line)
    if home := os.environ.get("DCLM_NB_TEST_HOME"): Path(home, "skipped.txt").write_text("\n".join(lines) + "\n")


def _reason(report) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return re.sub(r"^Skipped: ", "", said)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout (`$DCLM_NB_SHARED` or `../shared`); skips where there is
    none."""
    folder = Path(os.environ.get("DCLM_NB_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir(): pytest.skip("no reference data beside the checkout (../shared)")
    return folder


@pytest.fixture
def sbatch(tmp_path, monkeypatch) -> Path:
    """Stand-ins for Slurm: an sbatch that keeps every script it is given and answers with a job number (no more than
    `$SBATCH_ACCEPTS`), and an srun that runs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "jobs").mkdir()
    for name, script in {
        "srun": 'while [ "$1" != launch_pickled_pipeline ]; do shift; done\nexec "$@"',
        "scontrol": "echo localhost",
        "sbatch": f"cd {tmp_path}/jobs\nn=$(ls | grep -c args)\n[ $n -lt ${{SBATCH_ACCEPTS:-99}} ] || exit 1\nsleep "
                  "0.05\nfor last; do :; done\n"
        'echo "$@" > $n.args\ncat "$last" > $n.script\necho Submitted batch job $((100 + n))',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "jobs"
