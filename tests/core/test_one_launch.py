"""The same training started twice: the second launch waits for the first, says so, and finds the work done. A killed
one blocks nobody, and the ranks of one launch are not kept from each other."""
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dclm_nb.core.ranks import one_launch

HOLDER = """
import sys, time
from dclm_nb.core.ranks import one_launch
with one_launch(sys.argv[1]):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    "Another process that works in the folder until it is killed."
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()


def entering(folder, order) -> threading.Thread:
    def enter():
        with one_launch(folder): order.append("in")
    (thread := threading.Thread(target=enter)).start()
    return thread


def test_the_second_waits_says_so_and_a_killed_one_blocks_nobody(holder, tmp_path, capsys):
    thread = entering(tmp_path, order := [])
    time.sleep(0.5)
    assert order == [] and "another process is working in" in capsys.readouterr().err
    os.kill(holder.pid, signal.SIGKILL)
    thread.join(10)
    assert order == ["in"] and not list(tmp_path.iterdir())                 # no file is left behind


@pytest.mark.parametrize("rank", ["RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"])
def test_later_ranks_of_a_launch_pass(holder, tmp_path, monkeypatch, rank):
    monkeypatch.setenv(rank, "1"), monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("SLURM_NTASKS", "2")
    thread = entering(tmp_path, order := [])
    thread.join(5)
    assert order == ["in"]


def test_an_error_inside_lets_the_next_one_in(tmp_path):
    with pytest.raises(ValueError), one_launch(tmp_path): raise ValueError
    with one_launch(tmp_path): pass


def test_one_network_is_trained_once_by_four_threads(tmp_path, monkeypatch):
    "All of them get the same result, and only one of them has trained."
    from dclm_nb.lm import training
    from dclm_nb.lm.config import OpenLMConfig, TrainConfig
    from dclm_nb.lm.data import write_token_folder
    config = OpenLMConfig(16, 1, 2, vocab_size=12, seq_len=8)
    recipe = TrainConfig(tokens=32, batch_size=2, lr=1e-3, warmup_steps=0, weight_decay=0.0, tensorboard=False)
    write_token_folder(tmp_path / "tokens", np.arange(90).reshape(10, 9) % 12, 12)
    fits, real, results = [], training.fit, []
    monkeypatch.setattr(training, "fit", lambda *given: (fits.append(1), real(*given))[1])
    train = lambda: results.append(training.train(config, recipe, tmp_path / "tokens", tmp_path / "out"))
    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(fits) == 1 and len(results) == 4 and all(result == results[0] for result in results)
