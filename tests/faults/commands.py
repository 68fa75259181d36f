"""The commands themselves, as somebody starts them in a shell, and what they leave."""
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MOVING = {"logs", "heartbeat", "tensorboard", "ipython"}        # belongs to a clock or to a process


def command(*words, **environment) -> list:
    """What to start."""
    return [sys.executable, "-m", "dclm_nb", *map(str, words)]


def surroundings(**more) -> dict:
    return {**os.environ, "DCLM_NB_OFFLINE": "1", **more}


def run(*words, timeout: float = 300, cwd=None, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=timeout, cwd=cwd,
                          env=surroundings(**environment))


def start(*words, **environment) -> subprocess.Popen:
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, env=surroundings(**environment))


def entries_of(folder: Path) -> int:
    """How many files and folders lie below `folder`, also while another process makes and removes them (`Path.rglob`
    raises where a folder goes away between its listing and its opening; `os.walk` goes on)."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def kill_at(entries: int, out: Path, *words, patience: float = 300, **environment) -> bool:
    """Start, and kill -9 the command and all that it started when so many files and folders lie in `out`; False if it
    had ended before. No clock decides, so that a busy machine tries the same as a quiet one."""
    process, until = start(*words, **environment), time.monotonic() + patience
    while process.poll() is None and entries_of(out) < entries and time.monotonic() < until:
        time.sleep(0.005)
    alive = process.poll() is None
    try: os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError: pass
    process.communicate()
    return alive


def left_by(folder: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """{file: hash} of what a command left, without what belongs to a clock, without files whose names end in one of
    `but`, and without litter, which has tests of its own."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not MOVING & set(path.relative_to(folder).parts)
        and not path.name.removesuffix(".sum").endswith(but)
        and not path.name.endswith((".lock", ".tmp"))
    }
