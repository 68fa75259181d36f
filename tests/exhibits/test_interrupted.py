"""Whoever interrupts a command is told what is kept, and only what is kept; at any time, also when it is at its end."""
import random
import signal
import subprocess
import sys
import time

import pytest
from tiers import nightly

from dclm_nb import cli
from dclm_nb.core import store


class Finished:
    def __init__(self, when): self.manifest = dict(finished=when)


@pytest.mark.parametrize("stamps, said", [
    ([], "interrupted: the same command continues"),
    (["2001-01-01T00:00:00.000+00:00"], "interrupted: the same command continues"),
    (["2001-01-01T00:00:00.000+00:00", "2999-01-01T00:00:00.000+00:00"],
     "interrupted: 1 finished run is kept, the same command continues"),
    (["2999-01-01T00:00:00.000+00:00"] * 2, "interrupted: 2 finished runs are kept, the same command continues"),
    ([None], "interrupted: the same command continues"),
])
def test_only_runs_of_this_call_are_kept(monkeypatch, capsys, stamps, said):
    def interrupted(**_): raise KeyboardInterrupt
    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(store.RunStore, "list", lambda self: [Finished(when) for when in stamps])
    with pytest.raises(SystemExit) as end: cli.main([])
    assert end.value.code == 130 and capsys.readouterr().err == f"dclm-nb: {said}\n"


def test_a_store_that_cannot_be_read_does_not_hide_the_interruption(monkeypatch, capsys):
    def interrupted(**_): raise KeyboardInterrupt
    def broken(self): raise OSError("no disk")
    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(store.RunStore, "list", broken)
    with pytest.raises(SystemExit): cli.main([])
    assert capsys.readouterr().err == "dclm-nb: interrupted: the same command continues\n"


WORDS = [sys.executable, "-m", "dclm_nb", "claims", "--paper", "svd"]
AT_THE_END = {  # where a signal arrives once the command has done its work
    "leaving": "import atexit; atexit.register(stop)",
    "a finalizer": "import weakref; weakref.finalize(sys, stop)",
    "a callback of the last moment": "import weakref\nclass Kept: pass\nkept = Kept(); ref = weakref.ref(kept, stop)",
    "a thread that is waited for": "import threading\nthreading.Thread(target=lambda: (time.sleep(1), stop())).start()",
}
SWALLOWED = {  # where an error is printed and lost, so that it must come again
    "a weak reference": "kept = Kept(); ref = weakref.ref(kept, stop); del kept",
    "a finalizer": "class Last:\n        def __del__(self): stop()\n    Last()",
    "the collector of cycles": "kept = Kept(); kept.itself = kept; ref = weakref.ref(kept, stop); del kept\n"
                               "    gc.collect()",
}
SCRIPT = """
import gc, os, signal, sys, time, weakref
from dclm_nb import cli
stop = lambda *_: os.kill(os.getpid(), signal.{how})
class Kept: pass
def work(**_):
    {during}
    return {code}
cli.app = work
{at_the_end}
cli.main()
"""


def script(how, during="pass", code=0, at_the_end="") -> subprocess.CompletedProcess:
    text = SCRIPT.format(how=how.name, during=during, code=code, at_the_end=at_the_end)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("how", [signal.SIGTERM, *nightly(signal.SIGINT)])
@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("where", AT_THE_END)
def test_a_kill_at_the_very_end_leaves_the_code_of_the_work(where, code, how):
    done = script(how, "print('done')", code, AT_THE_END[where])
    assert (done.returncode, done.stdout, done.stderr) == (code, "done\n", "")


@pytest.mark.parametrize("how", [signal.SIGTERM, *nightly(signal.SIGINT)])
@pytest.mark.parametrize("where", SWALLOWED)
def test_a_kill_where_an_error_is_lost_comes_again(where, how):
    """Python prints what is raised there, and goes on."""
    done = script(how, f"print('begun')\n    {SWALLOWED[where]}\n    time.sleep(5)")
    assert (done.returncode, done.stdout) == (130, "begun\n")
    assert done.stderr == "dclm-nb: interrupted: the same command continues\n"


@pytest.mark.parametrize("kills", nightly(12))
def test_kills_at_random_times_near_the_end(record_property, kills):
    """The whole list and 0, or a line that says so and 130: never a complaint of Python's."""
    began = time.monotonic()
    whole = subprocess.run(WORDS, capture_output=True, text=True)
    took, drawn = time.monotonic() - began, random.Random(0)
    record_property("cases", kills)
    for _ in range(kills):
        running = subprocess.Popen(WORDS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(took * drawn.uniform(0.6, 1.05))
        running.terminate()
        said, complained = running.communicate(timeout=60)
        ended = (running.returncode, complained)
        assert ended in ((0, ""), (130, "dclm-nb: interrupted: the same command continues\n"), (-signal.SIGTERM, ""))
        assert running.returncode or said == whole.stdout


def test_who_is_told_to_hear_no_interruption_hears_none():
    """As behind `nohup`."""
    line = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            + SCRIPT.format(how="SIGINT", during="stop(); print('done')", code=0, at_the_end="")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
