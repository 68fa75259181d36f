"""Clocks that are wrong: files from the future, from 1970 and from 2100, and a time that runs backwards. What is whole
is taken, what is not is made again, and no estimate is negative."""
import io
import os
import time

import pytest
from commands import left_by, run
from tiers import nightly

from dclm_nb.core.progress import Progress, read_progress
from dclm_nb.core.store import RunStore

DAY = 86_400
MOMENTS = {"1970": 1, "2001": 10**9, "tomorrow": time.time() + DAY, "2100": 4_102_444_800, "far": 2**33}


def set_clock_of(folder, moment: float) -> None:
    """All files of a folder, and the folders, as if they had been written then."""
    for path in [folder, *folder.rglob("*")]: os.utime(path, (moment, moment), follow_symlinks=False)


def add(config, seed, folder):
    (folder / "sum.txt").write_text(str(config["a"] + seed))
    return {"sum": config["a"] + seed}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stored_run_is_taken_whenever_it_was_written(tmp_path, moment):
    store = RunStore(tmp_path)
    first = store.run(add, {"a": 1}, seed=2)
    set_clock_of(tmp_path, MOMENTS[moment])
    again = RunStore(tmp_path).run(add, {"a": 1}, seed=2)
    assert again.key == first.key and again.result == {"sum": 3} and again.manifest["attempts"] == 1
    (first.folder / "sum.txt").write_text("9")                 # the same size; the clock says nothing
    set_clock_of(tmp_path, MOMENTS[moment])
    assert RunStore(tmp_path).verify(first.key)[0][1], "a changed file was not seen"


@pytest.mark.parametrize("moment", MOMENTS)
def test_time_may_jump_within_a_run(tmp_path, monkeypatch, moment):
    """`time.time` leaps between any two calls."""
    real, leaps = time.time, iter([0, MOMENTS[moment] - time.time()] * 10**4)
    monkeypatch.setattr(time, "time", lambda: real() + next(leaps))
    run = RunStore(tmp_path).run(add, {"a": 1}, seed=1)
    assert run.result == {"sum": 2} and RunStore(tmp_path).run(add, {"a": 1}, seed=1).key == run.key


@pytest.mark.parametrize("step", [-3600.0, -0.001, 0.0, 1e9])
def test_progress_of_a_clock_that_leaps(tmp_path, monkeypatch, step):
    monkeypatch.setenv("DCLM_NB_PROGRESS", str(tmp_path / "progress"))
    now = iter(1000 + step * i for i in range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(time, "time", lambda: next(now))
    with Progress("work", total=10, stream=io.StringIO()) as progress:
        for _ in range(10):
            progress.update(1)
            assert progress.left() is None or progress.left() >= 0
    for record in read_progress(tmp_path / "progress", 0)[0]: assert (record.get("left_s") or 0) >= 0


@pytest.mark.parametrize("moment", ["tomorrow", *nightly("1970", "2100")])
def test_curate_goes_on_from_files_of_any_day(warc, tmp_path, moment):
    line = ("curate", "--warc", warc, "--classifier", "none", "--out", tmp_path / "out")
    assert run(*line).returncode == 0
    first = left_by(tmp_path / "out")
    set_clock_of(tmp_path / "out", MOMENTS[moment])
    [report] = (tmp_path / "out").glob("*/report.json")
    report.unlink()
    assert run(*line).returncode == 0 and left_by(tmp_path / "out") == first
