"""Atomic writes, locks and hashes."""
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import atomic_write, disk_error, exclusive, is_disk_error, sha256_of


@pytest.mark.parametrize(
    "call, number", [("fsync", errno.EIO), ("fsync", errno.ENOSPC), ("replace", errno.EROFS), ("replace", errno.EACCES)]
)
def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, call, number):
    path = atomic_write(tmp_path / "a.txt", "old")
    def broken(*args): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, call, broken)
    with pytest.raises(UserError, match="cannot write"): atomic_write(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_killed_while_writing_leaves_old_or_new(tmp_path):
    code = ("import sys, itertools; from dclm_nb.core.files import atomic_write\nfor i in itertools.count(): "
            "atomic_write(sys.argv[1], str(i % 10) * 300_000)")
    path = tmp_path / "a.txt"
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        end = time.monotonic() + 20
        while not path.exists() and time.monotonic() < end: time.sleep(0.01)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL); process.wait()
        text = path.read_text()
        assert len(text) == 300_000 and len(set(text)) == 1
        path.unlink()


def test_threads_and_long_names(tmp_path):
    path = tmp_path / ("n" * 250)
    threads = [threading.Thread(target=atomic_write, args=(path, str(i) * 1000)) for i in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(set(path.read_text())) == 1 and len(list(tmp_path.iterdir())) == 1


def test_hash_follows_the_content(tmp_path):
    path = atomic_write(tmp_path / "a", b"1")
    first = sha256_of(path)
    os.utime(path, ns=(0, 0))
    assert sha256_of(path) == first
    path.write_bytes(b"2")
    assert sha256_of(path) != first


def test_disk_errors_are_told_apart():
    assert "disk is full" in str(disk_error(OSError(errno.ENOSPC, "x"), "p")) and "kept" in str(
        disk_error(OSError(errno.EIO, "x"), "p", "kept")
    )
    try:
        try: raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as e: raise RuntimeError("could not save") from e
    except RuntimeError as e: assert is_disk_error(e)
    assert not is_disk_error(FileNotFoundError(errno.ENOENT, "x")) and not is_disk_error(None)


def test_lock_excludes_threads_times_out_and_says_so_once(tmp_path):
    said, inside = [], threading.Event()
    def hold():
        with exclusive(tmp_path / "l"): inside.set(); time.sleep(0.4)
    thread = threading.Thread(target=hold)
    thread.start(); inside.wait()
    with pytest.raises(UserError, match="another process"):
        with exclusive(tmp_path / "l", lambda: said.append(1), timeout=0.1): pass
    with exclusive(tmp_path / "l", lambda: said.append(2)): assert said == [1, 2]
    thread.join()


def test_lock_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError):
        with exclusive(Path("/dev/null/x/lock")): pass
