"""Processor seconds of a run: its own and those of its children, and none for waiting."""
import subprocess
import sys
import time

import pytest

from dclm_nb.core.provenance import cpu_seconds
from dclm_nb.core.store import RunStore

BUSY = 0.4                                          # seconds that a job works
WORK = f"import time\nwhile time.process_time() < {BUSY}: pass"


def own_work():
    end = time.process_time() + BUSY
    while time.process_time() < end: pass


def work_of_a_child(): subprocess.run([sys.executable, "-c", WORK], check=True)


def work_of_a_grandchild():
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}], check=True)"
    subprocess.run([sys.executable, "-c", code], check=True)


def waiting(): time.sleep(BUSY)


class Pool:
    "A child that works when it is told to and lives on, as a warm pool does."
    CODE = ("import sys, time\nfor line in sys.stdin:\n    end = time.process_time() + float(line)\n"
            "    while time.process_time() < end: pass\n    print('done', flush=True)")

    def __enter__(self):
        self.child = subprocess.Popen([sys.executable, "-c", self.CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        return self

    def work(self, seconds: float = BUSY):
        self.child.stdin.write(f"{seconds}\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"

    def __exit__(self, *error):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


def spent(job) -> float:
    began = cpu_seconds()
    job()
    return cpu_seconds() - began


@pytest.mark.parametrize("job", [own_work, work_of_a_child, work_of_a_grandchild])
def test_work_counts_whoever_does_it(job): assert BUSY * 0.9 <= spent(job) < BUSY + 0.6


def test_waiting_costs_nothing(): assert spent(waiting) < BUSY / 2


def test_a_child_that_lives_on_counts_while_it_works_and_not_again_when_it_ends():
    with Pool() as pool:
        pool.work()
        assert BUSY * 0.9 <= spent(pool.work) < BUSY + 0.3
        before = cpu_seconds()
    assert cpu_seconds() - before < BUSY / 2


def test_a_run_records_processor_seconds_beside_those_of_the_clock(tmp_path):
    def slow(config, seed, folder):
        work_of_a_child()
        waiting()
        return {}
    told = RunStore(tmp_path).run(slow, {}).manifest
    assert BUSY * 0.9 <= told["cpu_s"] < told["wall_s"] and told["wall_s"] >= 2 * BUSY
