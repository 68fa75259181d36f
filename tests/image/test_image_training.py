"""Training under faults: killed, full disk, damaged files; and what a run promises: its budget, its average, the same
numbers every time."""
import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import ONE_THREAD, forked, started
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiers import fuzz, nightly

import dclm_nb.core.files as files
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import is_sum
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.config import METHODS, BackboneConfig
from dclm_nb.image.flops import training_flops
from dclm_nb.image.methods import method_loss
from dclm_nb.image.recipes import ImageTrainConfig
from dclm_nb.image.training import FlopBudget, LatentSet, load_weights, rate_factor, step_generator, train
from dclm_nb.learn.keep import mark_steps

STEPS, BATCH = 30, 4
NETWORK = BackboneConfig("next-token", 16, 1, 2, 9, 8, 3, vocab_size=12)
NETWORKS = {
    "next-token": NETWORK,
    "masked-token": dataclasses.replace(NETWORK, method="masked-token"),
    "diffusion": dataclasses.replace(NETWORK, method="diffusion", vocab_size=0, channels=4),
}


def recipe(network: BackboneConfig = NETWORK, steps: float = STEPS, **changes) -> ImageTrainConfig:
    return ImageTrainConfig(
        **{
            "flops": steps * training_flops(network, BATCH),
            "batch_size": BATCH,
            "lr": 5e-3,
            "warmup_steps": 5,
            "marks": (0.3, 1.0),
            "checkpoint_every": 4,
            "accelerator": "cpu",
        }
        | changes
    )


def data_of(network: BackboneConfig = NETWORK) -> LatentSet:
    generator = torch.Generator().manual_seed(9)
    latents = (
        torch.randn(40, network.tokens, network.channels, generator=generator)
        if network.channels
        else torch.randint(network.vocab_size, (40, network.tokens), generator=generator)
    )
    return LatentSet(latents, torch.randint(1, 7, (40, network.caption_length), generator=generator), 7)


# What a child process does. `die` says when it kills itself: "12:step", "3:write" (inside the third checkpoint),
# "mark_0.safetensors:replace" (just before that file appears).
SCRIPT = f"""
import json, os, signal, sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]}
import torch
import test_image_training as t
import dclm_nb.image.training as training

def main(folder, method, die):
    torch.set_num_threads(1)
    when, _, how = die.partition(":")
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)

    class Kill(training.Marks):
        def on_train_batch_end(self, trainer, *rest):
            super().on_train_batch_end(trainer, *rest)
            if how == "step" and trainer.global_step == int(when): kill()

    fsync, replace, count = os.fsync, os.replace, [0]
    def dying_fsync(number):
        name = os.readlink(f"/proc/self/fd/{{number}}")
        count[0] += ".last.ckpt." in name
        if how == "write" and ".last.ckpt." in name and count[0] == int(when):
            os.ftruncate(number, 1000); kill()
        fsync(number)
    def dying_replace(a, b):
        if how == "replace" and str(b).endswith(when): kill()
        replace(a, b)

    training.Marks, os.fsync, os.replace = Kill, dying_fsync, dying_replace
    network = t.NETWORKS[method]
    result = t.train(network, t.recipe(network), t.data_of(network), folder, seed=5)
    t.Path(folder, "result.json").write_text(json.dumps(result))
"""


@pytest.fixture(scope="module")
def run():
    """`run(folder, die, method)`: trains in a process of its own, and says how that ended."""
    with forked(SCRIPT) as call: yield lambda folder, die="", method="next-token": call(str(folder), method, die)


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory) -> dict[str, Path]:
    """A whole run of each method."""
    folders = {method: tmp_path_factory.mktemp("runs") / method for method in METHODS}
    for method, folder in folders.items(): assert run(folder, method=method) == 0
    return folders


def assert_same_run(a: Path, b: Path) -> None:
    """Losses, operations, both sets of weights at every mark; and nothing else is left."""
    names = [sorted(p.name for p in folder.iterdir() if not is_sum(p)) for folder in (a, b)]
    assert names[0] == names[1] == ["mark_0.safetensors", "mark_1.safetensors", "result.json"]
    for name in names[0]: assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_the_whole_run_is_what_was_asked_for(uninterrupted):
    for method, folder in uninterrupted.items():
        result = json.loads((folder / "result.json").read_text())
        assert (result["steps"], len(result["losses"]), [m["step"] for m in result["marks"]]) == (
            STEPS,
            STEPS,
            [9, STEPS],
        )
        assert result["flops"] == result["marks"][-1]["flops"] == STEPS * training_flops(NETWORKS[method], BATCH)
        weights = load_file(folder / "mark_1.safetensors")
        assert not torch.equal(weights["raw.write.weight"], weights["averaged.write.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_killed_at_random_steps(run, uninterrupted, tmp_path, method):
    """Three times, each further on than the checkpoint it came from."""
    for die in sorted(random.Random(method).sample(range(2, STEPS), 3)):
        assert run(tmp_path / "run", f"{die}:step", method) == -signal.SIGKILL
    assert run(tmp_path / "run", method=method) == 0
    assert_same_run(tmp_path / "run", uninterrupted[method])


@pytest.mark.parametrize(
    "die",
    [
        "8:step",
        "2:write",
        "last.ckpt:replace",
        *nightly("1:step", "9:step", f"{STEPS}:step", "1:write", "6:write"),
        *nightly("mark_0.safetensors:replace", "mark_1.safetensors:replace"),
    ],
)
def test_killed_at_the_worst_moments(run, uninterrupted, tmp_path, die):
    assert run(tmp_path / "run", die) == -signal.SIGKILL
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted["next-token"])


def test_killed_by_the_clock(run, uninterrupted, tmp_path):
    """The kill comes from outside, as soon as there is a first checkpoint."""
    child = started(SCRIPT, str(tmp_path / "run"), "next-token", "")
    while child.poll() is None and not (tmp_path / "run" / "last.ckpt").exists(): time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted["next-token"])


def test_a_finished_run_called_again_gives_the_same(run, uninterrupted, tmp_path):
    for _ in range(2): assert run(tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", uninterrupted["next-token"])


@pytest.mark.parametrize("name", ["last.ckpt", "mark_1.safetensors"])
def test_a_full_disk_loses_no_finished_mark_and_the_run_goes_on(tmp_path, uninterrupted, monkeypatch, name):
    replace, seen = os.replace, []

    def full(source, target):
        if str(target).endswith(name) and (tmp_path / "mark_0.safetensors").exists(): raise OSError(28, os.strerror(28))
        seen.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(UserError, match="disk is full"): train(NETWORK, recipe(), data_of(), tmp_path, seed=5)
    assert "mark_0.safetensors" in seen and "last.ckpt" in seen and not list(tmp_path.glob(".*.tmp"))
    whole = uninterrupted["next-token"]
    assert (tmp_path / "mark_0.safetensors").read_bytes() == (whole / "mark_0.safetensors").read_bytes()
    monkeypatch.undo()
    result = train(NETWORK, recipe(), data_of(), tmp_path, seed=5)
    assert (
        result == json.loads((whole / "result.json").read_text())
        and (tmp_path / "mark_1.safetensors").read_bytes() == (whole / "mark_1.safetensors").read_bytes()
    )


class Stop(Exception): pass


def interrupted(folder: Path, at: int = 10, **changes) -> None:
    """Leaves a run of seed 5 in `folder`, stopped at a step."""
    class Stopping(LatentSet):
        asked = 0

        def batch(self, *rest):
            self.asked += 1
            if self.asked == at: raise Stop
            return super().batch(*rest)

    whole = data_of()
    with pytest.raises(Stop):
        train(NETWORK, recipe(**changes), Stopping(whole.latents, whole.captions, whole.null_id), folder, seed=5)


@pytest.mark.parametrize("at", [1, 7, 9, 12, 23, 29])
def test_a_loss_that_is_no_number_ends_the_run_wherever_it_falls(tmp_path, at):
    """Losses are read several at once: also just before a mark, before a checkpoint and in the last steps the run
    fails, names the step, and no checkpoint holds the damage."""
    network = NETWORKS["diffusion"]
    whole = data_of(network)

    class Broken(LatentSet):
        asked = 0

        def batch(self, *rest):
            self.asked += 1
            latents, captions = super().batch(*rest)
            return latents * (math.nan if self.asked == at else 1), captions

    with pytest.raises(UserError, match=f"diverged at step {at}: "):
        train(network, recipe(network), Broken(whole.latents, whole.captions, whole.null_id), tmp_path, seed=5)
    if (last := tmp_path / "last.ckpt").exists():
        assert all(
            torch.isfinite(t).all()
            for t in torch.load(last, weights_only=True)["state_dict"].values()
            if t.is_floating_point()
        )


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path, content):
    interrupted(tmp_path)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(UserError, match="last.ckpt has .* bytes instead of .*remove it"):
        train(NETWORK, recipe(), data_of(), tmp_path, seed=5)


class Bomb:
    def __reduce__(self): return os.mkdir, ("exploded",)


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="cannot be read"): train(NETWORK, recipe(), data_of(), tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "note lost"])
@pytest.mark.parametrize(
    "changes, seed, what", [({"lr": 1e-3}, 5, "train.lr"), ({"steps": 40}, 5, "train.flops"), ({}, 6, "seed")]
)
def test_an_interrupted_run_is_not_continued_as_another(tmp_path, changes, seed, what, noted):
    interrupted(tmp_path)
    if not noted: (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match=rf"holds another run \(different {what}\)"):
        train(NETWORK, recipe(**changes), data_of(), tmp_path, seed=seed)


@pytest.mark.parametrize("part", ["latents", "captions", "null_id"])
def test_a_run_on_other_pictures_is_another_run(tmp_path, part):
    interrupted(tmp_path)
    data = data_of()
    if part == "null_id": data.null_id -= 1
    else: getattr(data, part)[-1, -1] += 1
    with pytest.raises(UserError, match=r"holds another run \(different latents\)"):
        train(NETWORK, recipe(), data, tmp_path, seed=5)


@fuzz(200)
@given(steps=st.integers(1, 10**9), batch=st.integers(1, 4096), above=st.floats(0, 0.999), whole=st.booleans())
def test_a_budget_is_never_exceeded_and_missed_by_less_than_a_step(steps, batch, above, whole):
    """Also beyond 2^53 operations, where a float no longer holds every whole number."""
    cost = training_flops(NETWORK, batch)
    flops = steps * cost + int(above * cost)
    budget = FlopBudget(flops if whole else float(flops), NETWORK, batch)
    assert budget.steps * cost <= budget.budget < (budget.steps + 1) * cost
    if whole: assert budget.steps == steps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1.0, 6.5, 6.999])
def test_what_a_run_spends_is_what_it_ran(tmp_path, method, steps):
    network, ran = NETWORKS[method], []

    class Counting(LatentSet):
        def batch(self, *rest): return ran.append(1) or super().batch(*rest)

    whole = data_of(network)
    result = train(
        network, recipe(network, steps, marks=(1.0,)), Counting(whole.latents, whole.captions, whole.null_id), tmp_path
    )
    assert len(ran) == result["steps"] == len(result["losses"]) == int(steps) and result["flops"] == int(
        steps
    ) * training_flops(network, BATCH)


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_and_its_average_equal_a_plain_one(tmp_path, method):
    """AdamW, warm-up, clipping and the moving average written out; the first average is the first weights."""
    network = NETWORKS[method]
    config = recipe(NETWORKS[method], 12, decay=0.3, ema=0.8)
    data = data_of(NETWORKS[method])
    result = train(network, config, data, tmp_path, seed=5)
    plain, averaged, losses = Backbone(network, 5), None, []
    optimizer = torch.optim.AdamW(
        plain.parameters(), lr=config.lr, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    for step in range(12):
        for group in optimizer.param_groups: group["lr"] = config.lr * rate_factor(step, 12, config)
        generator = step_generator(5, step)
        loss = method_loss(plain, *data.batch(BATCH, config.caption_drop, generator), config.settings, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), config.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        now = [p.detach().clone() for p in plain.parameters()]
        averaged = now if averaged is None else [0.8 * a + 0.2 * p for a, p in zip(averaged, now)]
    assert result["losses"] == pytest.approx(losses, abs=2e-5)
    for kept, expected in ((False, list(plain.parameters())), (True, averaged)):
        found = load_weights(tmp_path / "mark_1.safetensors", network, averaged=kept)
        for a, b in zip(found.parameters(), expected, strict=True): assert torch.allclose(a, b, atol=2e-5)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 300), st.floats(0, 0.99))
def test_the_rate_rises_stays_and_falls(steps, warmup, decay):
    config = dataclasses.replace(recipe(), warmup_steps=warmup, decay=decay)
    rates = [rate_factor(step, steps, config) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[:top + 1] == sorted(rates[:top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8, unique=True).map(sorted), st.integers(1, 3000))
def test_marks_fall_on_different_steps_of_the_run_or_are_refused(shares, steps):
    try: at = mark_steps(tuple(shares), steps)
    except UserError: return
    assert at == sorted(set(at)) and 1 <= at[0] and at[-1] <= steps and len(at) == len(shares)


def test_captions_are_dropped_as_often_as_asked_and_pictures_keep_theirs():
    data = LatentSet(torch.arange(50)[:, None], torch.arange(50)[:, None] + 100, null_id=7)
    latents, captions = data.batch(20_000, 0.1, step_generator(0, 0))
    dropped = captions[:, 0] == 7
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.01) and torch.equal(
        captions[~dropped], latents[~dropped] + 100
    )
    assert len(latents.unique()) == 50


def test_two_steps_or_two_ranks_never_see_the_same_chance():
    draws = {
        tuple(torch.rand(2, generator=step_generator(seed, step, rank)).tolist())
        for seed in range(3)
        for step in range(20)
        for rank in range(3)
    }
    assert len(draws) == 180


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_weights_that_are_not_of_this_network_are_refused(tmp_path, content):
    result = train(NETWORK, recipe(steps=2), data_of(), tmp_path)
    path = tmp_path / result["marks"][-1]["file"]
    if content is not None: path.write_bytes(content)
    other = NETWORK if content is not None else dataclasses.replace(NETWORK, width=32)
    said = "does not hold the weights" if content is None else "bytes instead of"
    with pytest.raises(UserError, match=said) as caught: load_weights(path, other)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError): load_weights(tmp_path / "none.safetensors", NETWORK)


DDP = f"""
import sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]}
import test_image_training as t
config = t.recipe(lr=2e-2, steps=40, strategy="ddp", devices=2)
if __name__ == "__main__":
    result = t.train(t.NETWORK, config, t.data_of(), sys.argv[1], seed=5)
    if t.os.environ.get("LOCAL_RANK", "0") == "0": print(t.json.dumps(result))
    try: t.train(t.NETWORK, t.dataclasses.replace(config, batch_size=3), t.data_of(), sys.argv[1] + "-odd")
    except t.UserError as error: print(error)
"""


def test_two_processes_train_together(tmp_path):
    """Gloo on the CPU: the budget of one run is shared, the marks are written once, and the loss falls."""
    script = tmp_path / "ddp.py"
    script.write_text(DDP)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (
        result["steps"] == 40
        and result["flops"] <= recipe(steps=40).flops
        and sum(result["losses"][-10:]) < sum(result["losses"][:10])
    )
    assert (
        sorted(p.name for p in (tmp_path / "run").glob("[!.]*")) == ["mark_0.safetensors", "mark_1.safetensors"]
        and "cannot be shared by 2" in done.stdout
    )
    alone = train(NETWORK, recipe(lr=2e-2, steps=40), data_of(), tmp_path / "alone", seed=5)
    assert result["losses"] != alone["losses"], "each process draws half the batch with its own chance"


@pytest.mark.parametrize("method", METHODS)
def test_mixed_precision_trains_and_clips(tmp_path, method):
    """What `gpu` and the assumed paper scale ask for: 32-bit weights, near those of a run in 32 bits."""
    network, runs = NETWORKS[method], {}
    for precision in ("bf16-mixed", "32-true"):
        runs[precision] = train(
            network, recipe(network, 6, precision=precision, clip_norm=0.1), data_of(network), tmp_path / precision
        )
    assert runs["bf16-mixed"]["losses"] == pytest.approx(runs["32-true"]["losses"], rel=0.05)
    assert all(
        t.dtype == torch.float32
        for t in load_file(tmp_path / "bf16-mixed" / "mark_1.safetensors").values()
        if t.is_floating_point()
    )


RANKED = '''
import os, sys
import torch
from dclm_nb.core.store import RunStore

def job(config, seed, folder):
    from dclm_nb.image.flops import training_flops
    from dclm_nb.image.recipes import ImageTrainConfig, backbone_config
    from dclm_nb.image.training import LatentSet, train
    torch.set_num_threads(1)
    network, draw = backbone_config("diffusion", "nano", 16, 20, 5, 8), torch.Generator().manual_seed(0)
    data = LatentSet(torch.randn(64, 16, 8, generator=draw), torch.randint(1, 19, (64, 5), generator=draw), 19)
    recipe = ImageTrainConfig(10 * training_flops(network, 8), 8, accelerator="cpu", devices="auto")
    return train(network, recipe, data, folder, seed)

print("rank", os.environ["RANK"], "has", RunStore(sys.argv[1]).run(job, {}).result["steps"], "steps", flush=True)
'''


@pytest.mark.nightly
def test_a_training_through_the_store_under_torchrun_is_made_by_rank_0_alone(tmp_path):
    "Lightning would join a process group of two, in which nobody else arrives, if it saw the launch."
    (tmp_path / "ranked.py").write_text(RANKED)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "ranked.py"),
        str(tmp_path / "store"),
    ]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(f"rank {rank} has 10 steps" in done.stdout for rank in (0, 1))
