"""Several processes of one launch want one run: rank 0 makes it, the others wait, also for the news that there will be
none."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dclm_nb.core.ranks import place

JOB = '''
import json, os, sys, time
from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore

def job(config, seed, folder):
    rank, world = (os.environ.get(name, "-") for name in ("RANK", "WORLD_SIZE"))
    with open(os.environ["JOB_LOG"], "a") as f: f.write(f"rank {rank} of {world}\\n")
    time.sleep(config.get("pause", 0))
    if os.environ.get("JOB_FAILS") == "user": raise UserError("the pool is empty: give a WARC")
    if os.environ.get("JOB_FAILS") == "bug": raise ZeroDivisionError("a bug")
    return {"made": config["n"]}

if __name__ == "__main__":
    time.sleep(float(os.environ.get("JOB_LATE", 0)))
    store, config = RunStore(sys.argv[1]), json.loads(sys.argv[2])
    force, runs = config.get("force", False), range(config.get("runs", 1))
    try: print(json.dumps([store.run(job, {**config, "n": n}, force=force).result for n in runs]))
    except UserError as e: print(e, file=sys.stderr); sys.exit(2)
'''


@pytest.fixture
def launch(tmp_path, monkeypatch):
    "`launch(config)` starts the job as rank 0 and rank 1; with `slurm`, as srun names them."
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "log.txt").touch()
    monkeypatch.setenv("JOB_LOG", str(tmp_path / "log.txt"))
    started = []
    def start(config, names=("RANK", "WORLD_SIZE"), late=(0, 0), ranks=(0, 1), **more):
        command = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "store"), json.dumps(config)]
        environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "DCLM_NB_BEGAN")}
        found = [
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**environment, names[0]: str(r), names[1]: "2", "JOB_LATE": str(late[r]), **more},
            )
            for r in ranks
        ]
        started.extend(found)
        return found
    start.log = lambda: (tmp_path / "log.txt").read_text().splitlines()
    start.store = tmp_path / "store"
    yield start
    for process in started:
        if process.poll() is None: process.kill()
        process.communicate()


def ends(process, seconds=60):
    "(exit code, what it printed, what it complained of)."
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out.strip(), err.strip()


@pytest.mark.parametrize(
    "names, late",
    [
        (("RANK", "WORLD_SIZE"), (0, 0)),
        (("SLURM_PROCID", "SLURM_NTASKS"), (0, 0)),
        (("RANK", "WORLD_SIZE"), (0.7, 0)),
        (("RANK", "WORLD_SIZE"), (0, 0.7)),
    ],
    ids=["torchrun", "srun", "rank 0 is late", "rank 1 is late"],
)
def test_rank_0_makes_each_run_alone_and_both_have_the_results(launch, names, late):
    first, second = launch({"pause": 0.1, "runs": 4}, names, late)
    assert ends(first) == ends(second) == (0, json.dumps([{"made": n} for n in range(4)]), "")
    assert launch.log() == ["rank - of -"] * 4                             # what is called does not see the launch


@pytest.mark.parametrize("late", [(0, 0), (0.7, 0), (0, 0.7)], ids=["together", "rank 0 is late", "rank 1 is late"])
def test_where_rank_0_fails_the_others_end_with_one_line(launch, late):
    first, second = launch({"pause": 0.2}, late=late, JOB_FAILS="user")
    assert ends(first) == (2, "", "the pool is empty: give a WARC")
    code, out, err = ends(second)
    assert (
        (code, out) == (2, "")
        and len(err.splitlines()) == 1
        and err.startswith("rank 0 could not make __main__.job (")
        and err.endswith("the pool is empty: give a WARC")
    )


def test_a_bug_of_rank_0_is_one_line_for_the_others(launch):
    first, second = launch({}, JOB_FAILS="bug")
    assert "Traceback" in ends(first)[2]
    code, _, err = ends(second)
    assert code == 2 and len(err.splitlines()) == 1 and err.endswith("ZeroDivisionError a bug")


def test_a_killed_rank_0_ends_the_others_too(launch):
    first, second = launch({"pause": 60})
    end = time.monotonic() + 30
    while not launch.log():
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.5)                                                        # rank 1 has seen that somebody is at work
    first.send_signal(signal.SIGKILL)
    code, _, err = ends(second)
    assert code == 2 and len(err.splitlines()) == 1 and "rank 0 ended without making __main__.job" in err


def test_after_a_failure_the_next_launch_is_not_told_of_it(launch):
    for process in launch({}, JOB_FAILS="user", TORCHELASTIC_RUN_ID="one"): assert ends(process)[0] == 2
    for process in launch({}, late=(1.0, 0), TORCHELASTIC_RUN_ID="two"): assert ends(process)[0] == 0
    assert launch.log() == ["rank - of -"] * 2


def test_a_rank_0_that_never_comes(launch):
    _, _, err = ends(launch({}, ranks=(1,), DCLM_NB_RANK_WAIT="0.5")[0])
    assert "rank 0 has not begun to make __main__.job" in err and len(err.splitlines()) == 1


def test_force_makes_it_once_more_and_nobody_takes_the_old_one(launch):
    config = {"pause": 0.3, "force": True}
    for _ in range(2):
        for process in launch(config): assert ends(process)[0] == 0
    assert len(launch.log()) == 2 and len(list((launch.store / ".aside").iterdir())) == 1


def test_torchrun_itself(launch, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "job.py"),
        str(launch.store),
        json.dumps({"pause": 0.2, "runs": 2}),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(json.dumps([{"made": 0}, {"made": 1}])) == 2 and launch.log() == ["rank - of -"] * 2


def test_a_single_process_of_a_batch_script_is_no_follower(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert place() == (0, 1)
