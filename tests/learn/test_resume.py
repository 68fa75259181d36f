"""Killed with SIGKILL at a step, inside a checkpoint or just before a file appears, and called again: as if nothing had
happened, whether batches are drawn when they are needed or by a process that runs ahead."""
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forked import forked

from dclm_nb.core.errors import UserError
from dclm_nb.image.config import METHODS

STEPS = 30

# What the child processes share. `die` says when one kills itself: "12:step" (before that step is saved), "12:draw" (in
# the process that draws), "3:save" (in the middle of the third checkpoint), "last.ckpt:replace" (just before that file
# appears).
DYING = """
import os, signal, sys
from pathlib import Path
import lightning as L
import torch
import dclm_nb.learn.fit as learn

def dying(die):
    torch.set_num_threads(1)
    when, _, how = die.partition(":")
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)

    class Kill(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if how == "step" and trainer.global_step == int(when): kill()

    build, save, replace, count = learn.build_trainer, torch.save, os.replace, [0]
    learn.build_trainer = lambda how, objective, folder, callbacks: build(how, objective, folder, [Kill(), *callbacks])

    def dying_save(value, file, *rest, **more):
        count[0] += 1
        if how == "save" and count[0] == int(when): file.write(b"half a checkpoint"); file.flush(); kill()
        return save(value, file, *rest, **more)

    def dying_replace(a, b):
        if how == "replace" and str(b).endswith(when): kill()
        replace(a, b)

    torch.save, os.replace = dying_save, dying_replace
"""

CORE = DYING + """
from dclm_nb.core.identity import Identity
from dclm_nb.learn.keep import Marks
from dclm_nb.learn.checkpoints import save_weights
from dclm_nb.learn.objective import Objective
from dclm_nb.learn.rates import cosine_rate
from dclm_nb.learn.steps import SeededSteps

WHOSE = Identity.of("demo/noisy", 1)

class Noisy(Objective):
    measured = ("loss", "gradient_norm")
    def losses(self, batch):
        (x, y), chance = batch
        return {"loss": (self.network(x) - y - torch.randn(y.shape, generator=chance)).square().mean()}

class Draw:
    def __init__(self, die): self.die = die
    def __call__(self, number, rank, size):
        if self.die == f"{number}:draw": os.kill(os.getpid(), signal.SIGKILL)
        chance = torch.Generator().manual_seed(100 * number + rank)
        x = torch.rand(size, 3, generator=chance)
        return (x, x.sum(1, keepdim=True)), chance

def main(folder, die, workers, accumulation):
    dying(die)
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    torch.manual_seed(4)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
    objective = Noisy(network, lambda step: cosine_rate(step, 1e-2, 5, 30), ema=0.9)
    config = learn.FitConfig(30, accelerator="cpu", log_every=3, checkpoint_every=4, grad_accumulation=accumulation)
    data = SeededSteps(Draw(die), 30, batch_size=8, workers=workers)
    fitted = learn.fit(objective, data, config, folder, WHOSE, callbacks=[Marks(folder, (0.3, 1.0), 30)])
    save_weights(folder / "end.safetensors", network=network)
    fitted.finish("last.ckpt")
"""

PICTURES = DYING + f"""
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}
import json
import test_same_numbers as same
from dclm_nb.image.flops import training_flops
from dclm_nb.image.recipes import ImageTrainConfig
from dclm_nb.image.training import train

def main(folder, die, workers, method):
    dying(die)
    network = same.NETWORKS[method]
    config = ImageTrainConfig(
        30 * training_flops(network, 4), batch_size=4, lr=5e-3, warmup_steps=5, marks=(0.3, 1.0), checkpoint_every=4,
        accelerator="cpu",
    )
    result = train(network, config, same.latent_set(network), folder, seed=5, workers=workers)
    Path(folder, "result.json").write_text(json.dumps(result))
"""


def assert_same_files(a: Path, b: Path) -> None:
    """The same names with the same bytes."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (a, b)]
    assert names[0] == names[1]
    for name in names[0]: assert (a / name).read_bytes() == (b / name).read_bytes(), name


# --- the core by itself

@pytest.fixture(scope="module")
def run():
    """`run(folder, die, workers, accumulation)`: trains in a process of its own, and says how that ended."""
    with forked(CORE) as call:
        yield lambda folder, die="", workers=0, accumulation=1: call(str(folder), die, workers, accumulation)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run(folder) == 0
    return folder


def test_the_whole_run_is_what_was_asked_for(whole):
    rows = (whole / "losses.csv").read_text().splitlines()
    assert rows[0] == "step,lr,loss,gradient_norm" and [int(row.split(",")[0]) for row in rows[1:]] == list(range(30))
    assert sorted(p.name for p in whole.glob("[!.]*")) == [
        "end.safetensors", "losses.csv", "mark_0.safetensors", "mark_1.safetensors", "run.json",
    ]


# Before the first checkpoint; where one is due; at a mark; behind it; on the last step.
@pytest.mark.parametrize("step, workers", [(1, 0), (4, 0), (9, 0), (17, 0), (STEPS, 0), (4, 1), (17, 1), (STEPS, 1)])
def test_killed_at_a_step(run, whole, tmp_path, step, workers):
    assert run(tmp_path / "run", f"{step}:step", workers) == -signal.SIGKILL
    assert run(tmp_path / "run", workers=workers) == 0
    assert_same_files(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "die, workers",
    [
        ("1:save", 0),
        ("3:save", 1),
        ("8:save", 0),
        ("losses.csv:replace", 0),
        ("last.ckpt:replace", 1),
        ("mark_1.safetensors:replace", 0),
    ],
)
def test_killed_while_writing(run, whole, tmp_path, die, workers):
    assert run(tmp_path / "run", die, workers) == -signal.SIGKILL
    assert run(tmp_path / "run", workers=workers) == 0
    assert_same_files(tmp_path / "run", whole)


def test_who_draws_may_change_between_two_starts(run, whole, tmp_path):
    for die, workers in (("7:step", 2), ("3:save", 0), ("14:step", 1)):
        assert run(tmp_path / "run", die, workers) == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_files(tmp_path / "run", whole)


def test_with_micro_batches(run, tmp_path):
    assert run(tmp_path / "whole", accumulation=2) == 0
    assert run(tmp_path / "cut", "10:step", 1, 2) == -signal.SIGKILL
    assert run(tmp_path / "cut", "", 1, 2) == 0
    assert_same_files(tmp_path / "cut", tmp_path / "whole")


def test_a_worker_that_dies_ends_the_run_and_the_next_call_goes_on(whole, tmp_path):
    script = CORE + "\nmain(*sys.argv[1:3], int(sys.argv[3]), 1)\n"
    begin = lambda die: subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run"), die, "1"], capture_output=True, text=True, timeout=120
    )
    assert begin("15:draw").returncode == 1  # whatever torch says of a worker that is gone
    assert begin("").returncode == 0
    assert_same_files(tmp_path / "run", whole)


# --- pictures, whose noise is drawn on behind the batch

@pytest.fixture(scope="module")
def pictures():
    with forked(PICTURES) as call: yield call


@pytest.mark.parametrize("method", METHODS[::2])
def test_pictures_drawn_ahead(pictures, tmp_path, method):
    assert pictures(str(tmp_path / "whole"), "", 0, method) == 0
    for die in sorted(random.Random(method).sample(range(2, STEPS), 2)):
        assert pictures(str(tmp_path / "cut"), f"{die}:step", 1, method) == -signal.SIGKILL
    assert pictures(str(tmp_path / "cut"), "", 1, method) == 0
    assert_same_files(tmp_path / "cut", tmp_path / "whole")


def test_a_checkpoint_of_another_version_is_one_line():
    from torch import nn
    from dclm_nb.learn.objective import Objective
    objective = Objective(nn.Linear(2, 1), lambda step: 0.1)
    objective.on_load_checkpoint({"state_dict": objective.state_dict()})
    objective.on_load_checkpoint({})                                    # a strategy that loads the weights by itself
    with pytest.raises(UserError, match="another version"):
        objective.on_load_checkpoint({"state_dict": {"model.weight": None}})
