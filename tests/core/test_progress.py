"""Progress: estimates, wholes and stages, several processes, and that it can never stop the work."""
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dclm_nb.core import progress as module
from dclm_nb.core.progress import Progress, duration, progress, read_progress


@pytest.fixture
def clock(monkeypatch):
    "A clock that the test moves."
    class Clock:
        now = 1000.0
        def monotonic(self): return self.now
        def time(self): return self.now
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.delenv("DCLM_NB_PROGRESS", raising=False)
    return clock


class Terminal(io.StringIO):
    def isatty(self): return True


def test_time_left_comes_from_the_rate_of_the_last_half_minute(clock):
    report = Progress("steps", 1000, stream=io.StringIO())
    for _ in range(60):                                     # a slow start: 1 per second for a minute
        clock.now += 1; report.update()
    for _ in range(60):                                     # then 10 per second
        clock.now += 1; report.update(10)
    assert report.left() == pytest.approx((1000 - 660) / 10, rel=0.02)


def test_what_an_earlier_attempt_did_is_no_speed(clock):
    report = Progress("steps", 1000, start=900, stream=io.StringIO())
    assert report.left() is None
    for _ in range(10): clock.now += 1; report.update()
    assert report.left() == pytest.approx(90)


def test_time_left_is_unknown_before_a_twentieth_of_the_work_or_a_minute(clock):
    fast, slow, resumed = (Progress("steps", 1000, start=start, stream=io.StringIO()) for start in (0, 0, 900))
    for done in (1, 48, 1):
        assert fast.left() is None and "? left" in fast.line()
        clock.now += 1
        fast.update(done)
    assert fast.left() == pytest.approx(950 / (50 / 3)) and "5%  57 s left" in fast.line()
    clock.now += 56
    slow.update(2)
    assert slow.left() is None
    clock.now += 1
    assert slow.left() == pytest.approx(998 * 59 / 2)
    resumed.began = clock.now
    resumed.rate.marks[0] = clock.now, 900
    for done, known in ((4, False), (2, True)):
        clock.now += 1
        resumed.update(done)
        assert (resumed.left() is not None) == known


def test_whole_with_stages_has_its_own_estimate(clock):
    with Progress("table", 10, stream=io.StringIO()) as whole:
        with whole.stage("pool", share=2): clock.now += 20
        assert whole.fraction() == 0.2 and whole.left() is None or whole.left() == pytest.approx(80)
        with whole.stage("training", share=8):
            with Progress("steps", 100, stream=io.StringIO()) as steps:
                clock.now += 40; steps.update(50)
                assert whole.fraction() == pytest.approx(0.6) and whole.left() == pytest.approx(40)
                assert "steps" in steps.line() and "[table: 60%, 40 s left]" in steps.line()
    assert whole.fraction() == 1


def test_two_loops_in_one_stage_never_go_backwards(clock):
    with Progress("table", 2, stream=io.StringIO()) as whole:
        with whole.stage("both", share=1) as stage:
            seen = []
            for name in ("first", "second"):
                with Progress(name, 4, stream=io.StringIO()) as loop:
                    for _ in range(4): clock.now += 1; loop.update(); seen.append(whole.fraction())
        assert seen == sorted(seen) and whole.fraction() == 0.5 and stage.closed


def test_a_terminal_gets_one_rewritten_line_and_a_log_few(clock):
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        report = Progress("adding", 100, stream=stream)
        for _ in range(100): clock.now += 1; report.update(note="loss 3.1")
        report.close()
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().count("\r") > 50
    assert 9 <= log.getvalue().count("\n") <= 12 and "50 of 100   50%  50 s left  loss 3.1" in log.getvalue()


def test_short_work_says_nothing_in_a_log():
    log = io.StringIO()
    with Progress("short", 3, stream=log) as report: report.update(3)
    assert log.getvalue() == ""


@pytest.mark.parametrize("path", ["/dev/full", "/dev/null/x", "/nonexistent/folder/file", "\0"])
def test_a_report_that_cannot_be_made_does_not_stop_the_work(path, monkeypatch):
    if path != "\0": monkeypatch.setenv("DCLM_NB_PROGRESS", path)
    class Broken(Terminal):
        def write(self, text): raise BrokenPipeError(32, "Broken pipe")
    monkeypatch.setattr(Progress, "interval", 0)
    with Progress("careful", 5, stream=Broken()) as report:
        for _ in range(5): report.update(note="x")
    assert report.done == 5
    assert sum(progress(range(10))) == 45


def test_odd_totals_do_not_raise(clock):
    for total in (0, None, -1, float("nan")):
        with Progress("odd", total, stream=Terminal()) as report:
            for _ in range(3): clock.now += 1; report.update()
    assert list(progress([])) == [] and list(progress(iter([1, 2]))) == [1, 2]


def test_an_error_inside_passes_and_is_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_PROGRESS", str(tmp_path / "p"))
    with pytest.raises(KeyError):
        for i in progress(range(5), name="fails"): raise KeyError(i)
    with pytest.raises(KeyError):
        with Progress("fails", 5): raise KeyError
    assert [r["note"] for r in read_progress(tmp_path / "p")[0] if r["event"] == "end"][-1] == "stopped"


def test_lines_of_several_processes_do_not_mix(tmp_path):
    code = ("from dclm_nb.core.progress import Progress\nProgress.interval = 0\np = Progress('worker ' + 'x' * 500, "
            "300)\nfor _ in range(300): p.update(note='y' * 300)\np.close()")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={"DCLM_NB_PROGRESS": str(tmp_path / "p"), "PATH": ""},
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]
    assert [w.wait(60) for w in workers] == [0, 0, 0]
    lines = (tmp_path / "p").read_text().splitlines()
    assert len(lines) == 3 * 302 and all(json.loads(line)["name"].startswith("worker") for line in lines)


def test_reader_keeps_its_place_and_skips_what_is_broken(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(b'{"done": 1}\n{"broken\n{"done": 2}\n{"do')
    records, offset = read_progress(path)
    assert [r["done"] for r in records] == [1, 2]
    with open(path, "ab") as f: f.write(b'ne": 3}\n')
    assert [r["done"] for r in read_progress(path, offset)[0]] == [3]
    assert read_progress(Path("/nonexistent"), 7) == ([], 7)


def test_duration():
    assert [duration(s) for s in (0, 59.6, 3599.7, 7265, None, float("nan"), float("inf"), -3)] == [
        "0 s",
        "1 min 00 s",
        "1 h 00 min",
        "2 h 01 min",
        "?",
        "?",
        "?",
        "0 s",
    ]
