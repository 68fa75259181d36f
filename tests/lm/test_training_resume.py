"""A run that is killed with SIGKILL, at any step or in the middle of a checkpoint, ends as if it had not been."""
import json

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import forked, started
from safetensors.torch import load_file
from tiers import nightly

from dclm_nb.lm.data import write_token_folder

STEPS, BATCH, SEQ = 30, 4, 16
CONTEXTS = 50  # a pass is 12.5 batches: 30 steps are 2.4 passes, and passes end inside batches

# What a child process does. `die` says when it kills itself: "12:step", "3:save" (in the middle of the third
# checkpoint), "losses.csv:replace" (just before that file appears).
SCRIPT = """
import os, signal, torch
import lightning as L
import dclm_nb.learn.fit as learn
import dclm_nb.lm.training as training
from dclm_nb.lm.config import OpenLMConfig, TrainConfig

def main(tokens, folder, die, options):
    torch.set_num_threads(1)
    die_at, _, how = die.partition(":")
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)

    class Kill(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if how == "step" and trainer.global_step == int(die_at): kill()

    build = learn.build_trainer
    learn.build_trainer = lambda how, objective, f, callbacks: build(how, objective, f, [*callbacks, Kill()])
    save, replace, count = torch.save, os.replace, [0]

    def dying_save(value, file, *a, **k):
        count[0] += 1
        if how == "save" and count[0] == int(die_at):
            file.write(b"half a checkpoint"); file.flush(); kill()
        return save(value, file, *a, **k)

    def dying_replace(a, b):
        if how == "replace" and str(b).endswith(die_at): kill()
        replace(a, b)

    torch.save, os.replace = dying_save, dying_replace
    config = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
    recipe = dict(
        tokens=30 * 4 * 16, batch_size=4, lr=1e-2, warmup_steps=5, weight_decay=0.1, accelerator="cpu", log_every=3,
        checkpoint_every=4, tensorboard=False,
    )
    training.train(config, TrainConfig(**(recipe | options)), tokens, folder, seed=5)
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    rng = np.random.default_rng(1)
    return write_token_folder(
        tmp_path_factory.mktemp("data") / "tokens", rng.integers(0, 64, (CONTEXTS, SEQ + 1)), vocab_size=64, shards=3
    )


@pytest.fixture(scope="module")
def run(tokens):
    """`run(folder, die, **options)`: trains in a process of its own, and says how that ended."""
    with forked(SCRIPT) as call: yield lambda folder, die="", **options: call(str(tokens), str(folder), die, options)


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run(folder) == 0
    return folder


def assert_same_run(a: Path, b: Path, optimiser: bool = True) -> None:
    assert (a / "losses.csv").read_bytes() == (b / "losses.csv").read_bytes()
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    results = [json.loads((f / "result.json").read_text()) for f in (a, b)]
    timed = ("seconds", "tokens_per_second", "share_of_peak")
    assert {k: v for k, v in results[0].items() if k not in timed} == {
        k: v for k, v in results[1].items() if k not in timed
    }
    if not optimiser: return
    states = [torch.load(f / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"] for f in (a, b)]
    assert states[0].keys() == states[1].keys() and len(states[0])
    for i, moments in states[0].items():
        for name, value in moments.items(): assert torch.equal(value, states[1][i][name]), (i, name)


def test_the_whole_run_is_what_was_asked_for(uninterrupted):
    rows = (uninterrupted / "losses.csv").read_text().splitlines()
    assert len(rows) == STEPS + 1 and [int(r.split(",")[0]) for r in rows[1:]] == list(range(STEPS))
    assert int(rows[-1].split(",")[1]) == STEPS * BATCH * SEQ


def test_twice_the_same(run, uninterrupted, tmp_path):
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


# Before the first checkpoint; on one, in the second pass; in the third. The rest at night: between checkpoints, on a
# report, on the last step.
@pytest.mark.parametrize("step", [1, 12, 27, *nightly(4, 6, 11, 15, 23, 30)])
def test_killed_at_a_step(run, uninterrupted, tmp_path, step):
    assert run(tmp_path / "run", f"{step}:step") == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("number", [5, *nightly(1, 2, 8)])
def test_killed_while_writing_a_checkpoint(run, uninterrupted, tmp_path, number):
    assert run(tmp_path / "run", f"{number}:save") == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    "file", ["last.ckpt", "result.json", *nightly("run.json", "losses.csv", "config.json", "model.safetensors")]
)
def test_killed_just_before_a_file_appears(run, uninterrupted, tmp_path, file):
    assert run(tmp_path / "run", f"{file}:replace") == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.nightly
def test_killed_again_and_again(run, uninterrupted, tmp_path):
    for die in ("5:step", "2:save", "9:step", "13:step", "3:save", "29:step"):
        assert run(tmp_path / "run", die) == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


def test_killed_by_the_clock(run, tokens, uninterrupted, tmp_path):
    """The kill comes from outside, as soon as the run has a first checkpoint."""
    child = started(SCRIPT, str(tokens), str(tmp_path / "run"), "", {})
    while child.poll() is None and not (tmp_path / "run" / "last.ckpt").exists(): time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted)


def test_with_micro_batches(run, tmp_path):
    """Accumulated gradients: killed inside, resumed, and equal to themselves; and close to the run without."""
    options = {"grad_accumulation": 2}
    assert run(tmp_path / "whole", **options) == 0
    assert run(tmp_path / "cut", "10:step", **options) == -signal.SIGKILL
    assert run(tmp_path / "cut", **options) == 0
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_workers_do_not_change_the_run(run, uninterrupted, tmp_path):
    assert run(tmp_path / "run", "14:step", num_workers=2) == -signal.SIGKILL
    assert run(tmp_path / "run", num_workers=2) == 0
    assert_same_run(tmp_path / "run", uninterrupted)


def test_nothing_is_left_behind(run, uninterrupted, tmp_path):
    assert run(tmp_path / "run", "2:save", keep_checkpoint=False) == -signal.SIGKILL
    assert run(tmp_path / "run", keep_checkpoint=False) == 0
    assert_same_run(tmp_path / "run", uninterrupted, optimiser=False)
    assert sorted(p.name for p in (tmp_path / "run").glob("[!.]*")) == [
        "config.json",
        "losses.csv",
        "model.safetensors",
        "result.json",
        "run.json",
    ]
    assert set(load_file(tmp_path / "run" / "model.safetensors")) == set(load_file(uninterrupted / "model.safetensors"))
