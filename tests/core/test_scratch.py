"""Temporary folders that go with their process, however it goes, and take nobody else's along."""
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dclm_nb.core import files
from dclm_nb.core import scratch as module
from dclm_nb.core.scratch import owned_folder, scratch, sweep_owned

HOLDS = """
import os, signal, subprocess, sys, time
from dclm_nb.core.scratch import owned_folder, scratch
with owned_folder(sys.argv[1], "work-") as folder:
    (folder / "deep").mkdir()
    (folder / "deep/file").write_text("x")
    if sys.argv[2] == "fork" and not os.fork(): time.sleep(30)
    if sys.argv[2] == "program": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    print(folder.name, flush=True)
    if sys.argv[2] == "wait": sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def holder(there, how="kill") -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLDS, there, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, start_new_session=True)


def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(tmp_path):
    dead = [holder(tmp_path, "wait") for _ in range(3)]
    names = {process.stdout.readline().strip() for process in dead}
    for process in dead: process.kill(), process.wait()
    assert {p.name for p in tmp_path.iterdir()} == names
    living = holder(tmp_path, "wait")
    name = living.stdout.readline().strip()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with owned_folder(tmp_path, "work-") as mine:
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, mine.name])
    living.kill()
    living.wait()
    assert sweep_owned(tmp_path, "work-") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("child, held", [("fork", True), ("program", False)])
def test_a_forked_child_still_holds_it_and_another_program_does_not(tmp_path, child, held):
    process = holder(tmp_path, child)
    process.stdout.readline()
    process.wait()
    assert sweep_owned(tmp_path, "work-") == (0 if held else 1)
    os.killpg(process.pid, signal.SIGKILL)


def test_what_others_named_alike_stays(tmp_path, monkeypatch):
    kept = ["work-", "work-abcdefgh", "work-notes", ".work-x.owned", "other-abcdefgh.owned"]
    for name in kept: (tmp_path / name).mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "work-linkedxx.owned").symlink_to(tmp_path / "away")
    (tmp_path / "work-filexxxx.owned").write_text("x")
    (tmp_path / "away/file").write_text("x")
    with owned_folder(tmp_path, "work-"): pass
    assert len(list(tmp_path.iterdir())) == len(kept) + 3 and (tmp_path / "away/file").is_file()
    (tmp_path / "work-somebody.owned").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert sweep_owned(tmp_path, "work-") == 0


def test_many_at_once_never_lose_one(tmp_path):
    code = ("import sys, time; from pathlib import Path; from dclm_nb.core.scratch import owned_folder\n"
            "for i in range(60):\n"
            "    with owned_folder(sys.argv[1], 'work-') as folder:\n"
            "        (folder / 'x').write_text('x'); time.sleep(0.001); assert (folder / 'x').read_text() == 'x'")
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4 and not list(tmp_path.iterdir())


def test_who_is_swept_between_making_and_holding_makes_another(tmp_path, monkeypatch):
    made, real = [], tempfile.mkdtemp
    def swept(*args):
        made.append(real(*args))
        if len(made) == 1: assert sweep_owned(tmp_path, "work-") == 1
        return made[-1]
    monkeypatch.setattr(module.tempfile, "mkdtemp", swept)
    with owned_folder(tmp_path, "work-") as mine: assert str(mine) == made[1] and mine.is_dir()


@pytest.mark.parametrize("error", [OSError(38, "no locks here"), OSError(95, "not supported")])
def test_a_file_system_without_locks_is_used_and_not_swept(tmp_path, monkeypatch, error):
    (tmp_path / "work-abcdefgh.owned").mkdir()
    def fails(*_): raise error
    monkeypatch.setattr(files.fcntl, "flock", fails)
    with owned_folder(tmp_path, "work-") as mine: assert mine.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["work-abcdefgh.owned"]


def test_without_locks_at_all_it_is_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with owned_folder(tmp_path, "work-") as mine: assert mine.is_dir()
    assert not list(tmp_path.iterdir()) and sweep_owned(tmp_path, "work-") == 0


@pytest.mark.parametrize("variable", [None, "set"])
def test_everything_temporary_of_a_command_goes_there_and_all_is_as_before(monkeypatch, variable):
    with tempfile.TemporaryDirectory(prefix="t") as root:
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setenv("TMPDIR", root)
        if variable is None: monkeypatch.setattr(tempfile, "tempdir", root), monkeypatch.delenv("TMPDIR")
        with scratch() as here:
            assert here.parent == Path(root) and os.environ["TMPDIR"] == str(here) == tempfile.gettempdir()
            with scratch() as inner: assert inner == here
            assert here.is_dir() and Path(tempfile.mkdtemp()).parent == here
            ask = "import tempfile; from dclm_nb.core.scratch import scratch\nwith scratch() as s: print(s)"
            asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
            assert asked.stdout.strip() == str(here)
        assert not os.listdir(root) and tempfile.gettempdir() == root
        assert os.environ.get("TMPDIR") == (root if variable else None)


def test_a_long_name_is_not_given_to_sockets(tmp_path, monkeypatch):
    (deep := tmp_path / ("x" * 60)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with scratch() as here: assert here.parent == deep and tempfile.gettempdir() == str(deep)
    assert not list(deep.iterdir())


def test_a_folder_that_cannot_be_made_says_why(tmp_path):
    with pytest.raises(OSError):
        with owned_folder(tmp_path / "absent", "work-"): pass
