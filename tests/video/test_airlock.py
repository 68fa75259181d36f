"""A process next door that may crash, hang or eat memory, and takes nobody along."""
import os
import time

import numpy as np
import pytest

from dclm_nb.shards.tally import Refused
from dclm_nb.video.airlock import Airlock
from forked import marked

NEIGHBOUR = """
import os, time
import numpy as np
from dclm_nb.shards.tally import Refused

def pictures(n):
    for k in range(n): yield k, np.full((6, 8, 3), k, np.uint8)

def double(x): return 2 * x

def strange(x): raise Refused("not a film")

def wrong(): raise KeyError("a mistake")

def endless():
    while True: yield bytes(10_000)

def misbehave(how):
    yield "so far all is well"
    if how == "crash": os.abort()
    if how == "leave": os._exit(0)
    if how == "hang": time.sleep(3600)
    if how == "eat": yield len(bytearray(2 ** 36))
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
    ("crash", "decoder crashed", False), ("leave", "decoder crashed", False), ("hang", "too slow", False),
    ("eat", "too much memory", True),
])
def test_who_misbehaves_is_refused_and_the_next_task_is_well(how, cause, survives, airlock):
    airlock.run("neighbour:double", 1)
    before, words, started = airlock.starts, [], time.monotonic()
    with pytest.raises(Refused) as refused: words.extend(airlock.each("neighbour:misbehave", how))
    assert refused.value.cause == cause and time.monotonic() - started < 20
    assert airlock.run("neighbour:double", 4) == 8 and (airlock.starts == before) == survives


def test_a_refusal_keeps_its_cause_and_a_mistake_is_a_mistake(airlock):
    with pytest.raises(Refused, match="not a film"): airlock.run("neighbour:strange", 1)
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
        with pytest.raises(Refused, match="too slow"): list(hasty.each("neighbour:misbehave", "hang"))
        assert time.monotonic() - started < 30


def test_no_child_is_left_behind(airlock):
    with Airlock() as other:
        other.run("neighbour:double", 1)
        child = other.child.pid
        os.kill(child, 0)
    with pytest.raises(ProcessLookupError): os.kill(child, 0)


def test_films_come_through_the_door(airlock, tmp_path):
    pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
    from films_made import ball, made

    from dclm_nb.video.decoding import Limits, read_frames
    film = made(tmp_path / "film.mp4", ball())
    there = list(airlock.each("dclm_nb.video.decoding:read_frames", film, short_side=24))
    assert len(there) == 40
    here = read_frames(film, short_side=24)
    assert all((a.picture == b.picture).all() and a.time == b.time for a, b in zip(there, here))
    assert airlock.run("dclm_nb.video.decoding:probe", film).frames == 40
    with pytest.raises(Refused, match="too long"): airlock.run("dclm_nb.video.decoding:probe", film, Limits(frames=3))


START = """
from dclm_nb.video.airlock import Airlock
def main(): Airlock().run("dclm_nb.core.progress:duration", 1.0)
main()
input()
"""


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3, 1.0, 3.0])
def test_a_child_ends_with_a_parent_that_is_killed_while_it_begins(delay):
    import subprocess
    import sys
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
