"""Calls in processes of their own, which may kill themselves. Importing torch takes seconds: one server imports once
and forks for every call."""
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SERVE = """

import json, os, sys, traceback
for line in sys.stdin:
    child = os.fork()
    if not child:
        try: main(*json.loads(line))
        except BaseException: traceback.print_exc(); sys.stderr.flush(); os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

ONCE = """

import json, sys
main(*json.loads(sys.argv[1]))
"""
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def started(script: str, *arguments) -> subprocess.Popen:
    """A process of its own that calls the `main` of `script` once, for the test to kill."""
    return subprocess.Popen(
        [sys.executable, "-c", script + ONCE, json.dumps(arguments)],
        env=ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def forked(script: str) -> Iterator[Callable[..., int]]:
    """A function that calls the `main` of `script` with JSON values, each time in a new process, and returns 0, or -9
    if that killed itself."""
    with tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(
            [sys.executable, "-c", script + SERVE],
            env=ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

        def call(*arguments) -> int:
            server.stdin.write(json.dumps(arguments) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            errors.seek(0)
            assert code in (0, -signal.SIGKILL), errors.read()[-3000:]
            return code

        try: yield call
        finally:
            server.stdin.close()
            server.wait()


def marked(name: str, value: str) -> list[int]:
    "Processes that have this variable in their environment."
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try: variables = (place / "environ").read_bytes().split(b"\0")
        except OSError: continue
        if f"{name}={value}".encode() in variables: found.append(int(place.name))
    return found
