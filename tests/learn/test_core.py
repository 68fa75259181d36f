"""Parts of the training core under faults: tables with holes, damaged or malicious checkpoints, full disks, losses that
are no numbers, two processes."""
import dataclasses
import json
import math
import os
import subprocess
import sys

import pytest
import torch
from forked import ONE_THREAD
from torch import nn

import dclm_nb.core.files as files
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.core.identity import Identity
from dclm_nb.learn.keep import Marks
from dclm_nb.learn.checkpoints import tidy
from dclm_nb.learn.keep import WholeCheckpoints
from dclm_nb.learn.fit import RUN, FitConfig, fit
from dclm_nb.learn.losses import LossTable, first_diverged
from dclm_nb.learn.objective import Objective, OptimConfig
from dclm_nb.learn.steps import SeededSteps


class Line(Objective):
    def losses(self, batch):
        x, y = batch
        return {"loss": (self.network(x) - y).square().mean()}


def points(step: int, rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(size, 1, generator=torch.Generator().manual_seed(1000 * step + rank))
    return x, 3 * x + 1


def line(rate: float = 0.1, **more) -> Line:
    torch.manual_seed(0)
    return Line(nn.Linear(1, 1), lambda step: rate, OptimConfig(**more))


CONFIG = FitConfig(20, accelerator="cpu", log_every=4, checkpoint_every=6)
WHOSE = Identity.of("demo/line", 1, {"recipe": {"rate": 0.1, "steps": 20}}, {"points": "3fa9"}, seed=0)


# --- the loss table

def test_a_table_with_a_hole_is_refused(tmp_path):
    table = LossTable(tmp_path / "losses.csv", ("step", "loss"))
    table.start(0)
    table.append([{"step": step, "loss": 1.0} for step in range(5)])
    table.start(3)
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 4
    with pytest.raises(UserError, match="3 whole rows and the checkpoint is at step 5"): table.start(5)


@pytest.mark.parametrize("second", ["1,", "1\n", "1,2.0", "0,1.0\n", "1,1.0,3\n", "\n"])
def test_a_row_that_is_not_whole_is_no_row(tmp_path, second):
    table = LossTable(tmp_path / "losses.csv", ("step", "loss"))
    table.path.write_text("step,loss\n0,1.0\n" + second)
    with pytest.raises(UserError, match="losses.csv has 1 whole rows and the checkpoint is at step 2"): table.start(2)


def test_a_table_gives_back_every_bit(tmp_path):
    table = LossTable(tmp_path / "losses.csv", ("step", "loss"))
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist()
    table.start(0)
    table.append([{"step": step, "loss": value} for step, value in enumerate(values)])
    assert table.column("loss") == values
    with pytest.raises(UserError, match="unknown column of losses 'los' .did you mean 'loss'"): table.column("los")


def test_the_first_bad_row_is_named():
    rows = [{"step": 6, "loss": 1.0}, {"step": 7, "loss": math.inf}, {"step": 8, "loss": math.nan}]
    assert first_diverged(rows, ("loss",)) is rows[1] and first_diverged(rows[:1], ("loss",)) is None


# --- checkpoints

def test_a_damaged_or_malicious_checkpoint_is_refused(tmp_path):
    class Evil:
        def __reduce__(self): return (os.system, (f"touch {tmp_path}/ran",))
    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    (tmp_path / "half.ckpt").write_bytes(b"half a checkpoint")
    for name in ("evil.ckpt", "half.ckpt"):
        with pytest.raises(UserError, match="cannot be read") as caught:
            WholeCheckpoints().load_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("when", ["write", "replace"])
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch, when):
    path, full = tmp_path / "last.ckpt", OSError(28, os.strerror(28))
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def fail(*_, **__): raise full
    if when == "replace": monkeypatch.setattr(files.os, "replace", fail)
    else: monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match="disk is full"): WholeCheckpoints().save_checkpoint({"step": 2}, path)
    monkeypatch.undo()
    assert WholeCheckpoints().load_checkpoint(path) == {"step": 1}
    assert sorted(os.listdir(tmp_path)) == [".last.ckpt.sum", "last.ckpt"]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    """torch hides what the system said in an error of its own."""
    class Full:
        def write(self, data): raise OSError(28, os.strerror(28))
        def flush(self): pass
    with pytest.raises(UserError, match="disk is full"), files.whole_file(tmp_path / "last.ckpt"):
        torch.save({"weights": torch.zeros(10)}, Full())
    assert not (tmp_path / "last.ckpt").exists()


def test_tidy_takes_what_it_is_told_and_what_was_cut_short(tmp_path):
    for name in ("last.ckpt", "losses.csv", ".last.ckpt.1.a.tmp", "kept.tmp"): (tmp_path / name).touch()
    tidy(tmp_path, "last.ckpt", "never there")
    assert sorted(os.listdir(tmp_path)) == ["kept.tmp", "losses.csv"]


# --- runs

def test_a_run_and_what_it_leaves(tmp_path):
    fitted = fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)
    assert sorted(os.listdir(tmp_path)) == [
        ".last.ckpt.sum", ".run.json.sum", "last.ckpt", "losses.csv", "run.json"
    ]
    assert len(fitted.losses()) == 20 and set(fitted.weights()) == {"weight", "bias"} and fitted.seconds > 0
    again = fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)  # nothing is left to do
    assert again.losses() == fitted.losses() and again.seconds == fitted.seconds
    assert all(torch.equal(again.weights()[name], tensor) for name, tensor in fitted.weights().items())


OTHERS = [
    (Identity.of("demo/line", 1, {"recipe": {"rate": 0.1, "steps": 20}}, {"points": "3fa9"}, seed=1), "seed"),
    (Identity.of("demo/line", 1, {"recipe": {"rate": 0.2, "steps": 20}}, {"points": "3fa9"}, seed=0), "recipe.rate"),
    (Identity.of("demo/line", 1, {"recipe": {"rate": 0.1, "steps": 20}}, {"points": "77"}, seed=0), "points"),
    (Identity.of("demo/line", 2, {"recipe": {"rate": 0.1, "steps": 20}}, {"points": "3fa9"}, seed=0), "version"),
]


@pytest.mark.parametrize("other, what", OTHERS)
@pytest.mark.parametrize("noted", [True, False], ids=["noted", "note lost"])
def test_nobody_goes_on_from_the_work_of_another(tmp_path, other, what, noted):
    """Neither in its folder nor, where the folder's note is gone, from its checkpoint."""
    fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)
    if not noted: (tmp_path / RUN).unlink()
    with pytest.raises(UserError, match=rf"holds another run \(different {what}\)"):
        fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, other)


def test_a_checkpoint_that_says_not_whose_it_is_is_nobodys(tmp_path):
    fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)
    last = tmp_path / "last.ckpt"
    torch.save({k: v for k, v in torch.load(last, weights_only=True).items() if k != "identity"}, last)
    sum_beside(last).unlink()
    with pytest.raises(UserError, match="last.ckpt in .* holds another run .different name"):
        fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)


@pytest.mark.parametrize(
    "how, workers", [({}, 2), ({"log_every": 7}, 0), ({"checkpoint_every": 1}, 1), ({"tensorboard": True}, 0)]
)
def test_how_a_run_is_watched_and_who_draws_does_not_matter(tmp_path, how, workers):
    plain = fit(line(), SeededSteps(points, 20, 8), CONFIG, tmp_path, WHOSE)
    (tmp_path / "other").mkdir()
    other = fit(
        line(), SeededSteps(points, 20, 8, workers), dataclasses.replace(CONFIG, **how), tmp_path / "other", WHOSE
    )
    assert other.losses() == plain.losses()


def test_a_batch_is_drawn_once_and_only_what_the_run_needs(tmp_path):
    asked = []
    fit(line(), SeededSteps(lambda *where: asked.append(where) or points(*where), 20, 8), CONFIG, tmp_path, WHOSE)
    assert asked == [(step, 0, 8) for step in range(20)]


@pytest.mark.parametrize("at", [0, 5, 11, 19])
def test_a_loss_that_is_no_number_ends_the_run_and_ruins_nothing(tmp_path, at):
    def broken(step, rank, size):
        x, y = points(step, rank, size)
        return x, y * (math.nan if step == at else 1)
    marks = Marks(tmp_path, (0.3, 0.6, 1.0), 20)
    with pytest.raises(UserError, match=f"diverged at step {at}: "):
        fit(line(), SeededSteps(broken, 20, 8), CONFIG, tmp_path, WHOSE, callbacks=[marks])
    kept = [*tmp_path.glob("mark_*"), *tmp_path.glob("last.ckpt")]
    assert len(kept) == sum(step <= at for step in marks.at) + (at >= 6)
    if (last := tmp_path / "last.ckpt").exists():
        state = torch.load(last, weights_only=True)["state_dict"]
        assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(UserError, match="a batch of 9 cannot be shared by 1 devices and 2 micro-batches"):
        fit(line(), SeededSteps(points, 20, 9), dataclasses.replace(CONFIG, grad_accumulation=2), tmp_path, WHOSE)


def test_a_recipe_says_what_it_has():
    class Recipe: precision, devices, lr = "bf16-mixed", 4, 1.0
    assert FitConfig.of(Recipe, steps=3) == FitConfig(3, precision="bf16-mixed", devices=4)
    assert FitConfig.of(Recipe, steps=3, devices=2).devices == 2


TWO = """
import json, sys
sys.path[:0] = {paths}
import dataclasses
from pathlib import Path
import test_core as t
if __name__ == "__main__":
    config = dataclasses.replace(t.CONFIG, strategy="ddp", devices=2)
    fitted = t.fit(t.line(), t.SeededSteps(t.points, 20, 8), config, Path(sys.argv[1]), t.WHOSE)
    losses = fitted.losses()
    fitted.finish("losses.csv")
    if fitted.leads: print(json.dumps(losses))
"""


def test_two_processes_share_a_batch_and_tell_its_loss(tmp_path):
    """The curve is that of one process with both shares; each process knows it before one of them tidies up."""
    script = tmp_path / "two.py"
    here = os.path.dirname(__file__)
    script.write_text(TWO.replace("{paths}", repr([here, os.path.dirname(here)])))
    (tmp_path / "run").mkdir(), (tmp_path / "alone").mkdir()
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(next(row for row in done.stdout.splitlines() if row.startswith("[")))
    both = lambda step, rank, size: tuple(torch.cat(part) for part in zip(points(step, 0, 4), points(step, 1, 4)))
    alone = fit(line(), SeededSteps(both, 20, 8), CONFIG, tmp_path / "alone", WHOSE)
    assert told == pytest.approx(alone.losses(), abs=1e-5) and not (tmp_path / "run" / "losses.csv").exists()
