"""A process next door that may crash, hang, toil or eat memory, and takes nobody along: also where a fork, a thread or
a copy finds itself with it."""
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from forked import marked

from dclm_nb.core.airlock import Airlock, Ended
from dclm_nb.core.errors import UserError
from dclm_nb.shards.tally import Refused

NEIGHBOUR = """
import ctypes, os, time
import numpy as np
from dclm_nb.core.airlock import allow, alone
from dclm_nb.shards.tally import Refused

def pictures(n):
    for k in range(n): yield k, np.full((6, 8, 3), k, np.uint8)

def double(x): return 2 * x
def itself(x): return x

def strange(x): raise Refused("not a film", "but a picture")

def wrong(): raise KeyError("a mistake")

def endless():
    while True: yield bytes(10_000)

def misbehave(how):
    yield "so far all is well"
    if how == "crash": os.abort()
    if how == "leave": os._exit(0)
    if how == "hang": time.sleep(3600)
    if how == "eat": yield len(bytearray(2 ** 36))
    if how == "toil":
        allow(seconds=0.2)
        while True: pass

def grow(limit): return len([bytes(2 ** 20) for _ in range(limit)])
def grow_by_doubling():
    text = b"x"
    while True: text += text
def grow_and_fall():
    kept = [b'x' * 2 ** 20 for _ in range(50)]
    ctypes.string_at(0)
def fall(): ctypes.string_at(0)
def abort(): os.abort()
def toil():
    while True: pass
def sleep(): time.sleep(0.5); return "well"
def leave(): os._exit(0)
def text(): return "x" * 10_000_000
def ask(name, *args): return alone(globals()[name], *args, seconds=0.3, memory=2 ** 26)
"""


@pytest.fixture(scope="module")
def airlock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("next door")
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    with pytest.MonkeyPatch.context() as patch, Airlock(patience=1.5) as airlock:
        patch.syspath_prepend(str(folder))
        yield airlock


def test_what_is_yielded_and_returned_comes_through(airlock):
    found = list(airlock.each("neighbour:pictures", 5))
    assert [k for k, _ in found] == list(range(5)) and all((p == k).all() and p.shape == (6, 8, 3) for k, p in found)
    assert airlock.run("neighbour:double", 21) == 42
    assert (airlock.run("neighbour:double", np.arange(3)) == [0, 2, 4]).all()


def test_one_warm_child_for_many_tasks(airlock):
    airlock.run("neighbour:double", 1)
    before = airlock.starts
    for k in range(50): assert airlock.run("neighbour:double", k) == 2 * k
    assert airlock.starts == before


@pytest.mark.parametrize("how, cause, survives", [
    ("crash", "died", False), ("leave", "died", False), ("hang", "time", False), ("toil", "time", False),
    ("eat", "memory", True),
])
def test_who_misbehaves_is_named_and_the_next_task_is_well(how, cause, survives, airlock):
    airlock.run("neighbour:double", 1)
    before, words, started = airlock.starts, [], time.monotonic()
    with pytest.raises(Ended) as ended: words.extend(airlock.each("neighbour:misbehave", how))
    assert words == ["so far all is well"] and ended.value.cause == cause and time.monotonic() - started < 20
    assert airlock.run("neighbour:double", 4) == 8 and (airlock.starts == before) == survives


@pytest.mark.parametrize("how, cause", [
    ("grow", "memory"), ("grow_by_doubling", "memory"), ("grow_and_fall", "memory"), ("fall", "died"),
    ("abort", "died"), ("leave", "died"), ("toil", "time"),
])
def test_a_fork_of_the_child_tells_who_it_was_and_why(how, cause, airlock):
    airlock.run("neighbour:double", 1)
    before = airlock.starts
    with pytest.raises(Ended) as ended: airlock.run("neighbour:ask", how, *([1000] if how == "grow" else []))
    assert ended.value.cause == cause and airlock.starts == before


def test_a_fork_that_is_well_answers(airlock):
    assert airlock.run("neighbour:ask", "grow", 30) == 30
    assert len(airlock.run("neighbour:ask", "text")) == 10_000_000
    assert airlock.run("neighbour:ask", "sleep") == "well"              # no time of a processor goes by in sleep
    with pytest.raises(Refused, match="not a film"): airlock.run("neighbour:ask", "strange", 1)
    with pytest.raises(RuntimeError, match="KeyError: 'a mistake'"): airlock.run("neighbour:ask", "wrong")


def test_a_refusal_keeps_its_cause_and_a_mistake_is_a_mistake(airlock):
    with pytest.raises(Refused, match="not a film") as refused: airlock.run("neighbour:strange", 1)
    assert (refused.value.cause, refused.value.detail) == ("not a film", "but a picture")
    with pytest.raises(RuntimeError, match="KeyError: 'a mistake'"): airlock.run("neighbour:wrong")
    assert airlock.run("neighbour:double", 4) == 8


def test_who_stops_listening_stops_the_child(airlock):
    things = airlock.each("neighbour:endless")
    for _ in range(3): assert len(next(things)) == 10_000
    before = airlock.starts
    things.close()
    assert airlock.run("neighbour:double", 4) == 8 and airlock.starts == before


def test_patience_for_all_waiting_together(airlock):
    with Airlock(patience=60, in_all=2.0) as hasty:
        started = time.monotonic()
        with pytest.raises(Ended, match="nothing came"): list(hasty.each("neighbour:misbehave", "hang"))
        assert time.monotonic() - started < 30


def test_a_module_that_loads_slowly_is_no_slow_task(airlock, tmp_path, monkeypatch):
    (tmp_path / "sluggish.py").write_text("import time\ntime.sleep(2)\ndef one(): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Airlock(patience=1.0) as hasty: assert hasty.run("sluggish:one") == 1


def test_no_child_is_left_behind(airlock):
    with Airlock() as other:
        other.run("neighbour:double", 1)
        child = other.child.pid
        os.kill(child, 0)
    with pytest.raises(ProcessLookupError): os.kill(child, 0)


def test_what_cannot_be_loaded_is_a_mistake_and_not_a_death(airlock):
    before = airlock.starts
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"): airlock.run("nobody:double", 1)
    with pytest.raises(RuntimeError, match="AttributeError"): airlock.run("neighbour:nothing", 1)
    assert airlock.run("neighbour:double", 4) == 8 and airlock.starts == before


def test_a_child_that_does_not_start_is_one_line(airlock, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="did not start"): Airlock().run("neighbour:double", 1)


def test_a_copy_has_a_child_of_its_own(airlock):
    airlock.run("neighbour:double", 1)
    copy = pickle.loads(pickle.dumps(airlock))
    assert copy.child is None and copy.patience == airlock.patience
    with copy: assert copy.run("neighbour:double", 4) == 8 and copy.child.pid != airlock.child.pid


def test_a_fork_has_a_child_of_its_own_and_leaves_ours_alone(airlock):
    airlock.run("neighbour:double", 1)
    ours, before = airlock.child.pid, airlock.starts
    def work():
        assert all(airlock.run("neighbour:double", k) == 2 * k for k in range(20)) and airlock.child.pid != ours
        airlock.close()
    forks = [multiprocessing.get_context("fork").Process(target=work) for _ in range(3)]
    for fork in forks: fork.start()
    for k in range(20): assert airlock.run("neighbour:double", k) == 2 * k
    for fork in forks:
        fork.join(60)
        assert fork.exitcode == 0
    assert airlock.child.pid == ours and airlock.starts == before


def test_a_child_that_ended_between_two_tasks_is_replaced(airlock):
    airlock.run("neighbour:double", 1)
    for stop in (signal.SIGKILL, signal.SIGPROF):
        os.kill(airlock.child.pid, stop)
        while airlock.child.poll() is None: time.sleep(0.01)
        assert airlock.run("neighbour:double", 4) == 8


def test_a_child_ends_with_the_thread_that_started_it_and_the_next_has_another(airlock):
    other, found = Airlock(), []
    for k in (1, 2):
        thread = threading.Thread(target=lambda: found.append(other.run("neighbour:double", k)))
        thread.start()
        thread.join()
    assert found == [2, 4] and other.run("neighbour:double", 3) == 6
    other.close()


START = """
from dclm_nb.core.airlock import Airlock
def main(): Airlock().run("dclm_nb.core.progress:duration", 1.0)
main()
input()
"""


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3, 1.0, 3.0])
def test_a_child_ends_with_a_parent_that_is_killed_while_it_begins(delay):
    mark = f"{os.getpid()}-{delay}"
    parent = subprocess.Popen([sys.executable, "-c", START], env=os.environ | {"KILLED_AIRLOCK": mark},
                              stdin=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(marked("KILLED_AIRLOCK", mark)) < 2 and time.monotonic() < until: time.sleep(0.005)
    time.sleep(delay)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 60
    # one that has not come to ask the kernel yet ends as soon as it does
    while (left := marked("KILLED_AIRLOCK", mark)) and time.monotonic() < until: time.sleep(0.05)
    assert not left


@pytest.mark.parametrize("size", [0, 1, 2**22 - 100, 2**22, 2**22 + 1, 3 * 2**22])
def test_things_of_any_size_come_back_as_they_were(airlock, size):
    """What lies on the table, what fits just so, and what is too large for it."""
    thing = [bytes(range(256)) * (size // 256) + b"x" * (size % 256), "\u00e9\ud800" * 9, None]
    for _ in range(2): assert airlock.run("neighbour:itself", thing) == thing
    assert airlock.run("neighbour:itself", 1) == 1


def test_where_no_memory_can_be_shared_all_goes_through_the_pipe(airlock, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with Airlock() as other:
        assert other.run("neighbour:itself", "x" * 100_000) == "x" * 100_000 and other.table is None


def test_what_came_back_stays_when_the_table_is_used_again(airlock):
    things = [[b"%d" % k * 70_000, f"{k}" * 70_000, np.full(9_000, k), bytearray([k]) * 9_000] for k in range(6)]
    back = [airlock.run("neighbour:itself", thing) for thing in things]
    for sent, got in zip(things, back):
        assert all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(sent, got))


def test_no_descriptor_is_left(airlock):
    count = lambda: len(os.listdir("/proc/self/fd"))
    with Airlock() as other: other.run("neighbour:itself", 1)
    before = count()
    for _ in range(4):
        with Airlock() as other: other.run("neighbour:itself", "x" * 1000)
    assert count() <= before
