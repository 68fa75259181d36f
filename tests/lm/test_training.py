"""What `train` promises beside surviving: a plain loop's numbers, two processes, guarded folders, little overhead."""
import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tiers import daily, nightly

from dclm_nb.core.errors import UserError
from dclm_nb.learn.strategies import build_strategy, pure_bf16
from dclm_nb.lm.checkpoints import load_model
from dclm_nb.lm.config import PAPER_SCALES, OpenLMConfig, TrainConfig, lm_config
from dclm_nb.lm.data import BatchStream, TokenShards, write_token_folder
from dclm_nb.lm.loss import plain_loss
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.schedule import learning_rate
from dclm_nb.lm.training import LanguageModelTraining, train

CONFIG = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
RECIPE = TrainConfig(
    tokens=20 * 8 * 16,
    batch_size=8,
    lr=1e-2,
    warmup_steps=5,
    weight_decay=0.1,
    accelerator="cpu",
    log_every=4,
    checkpoint_every=10,
    tensorboard=False,
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 64, (60, 17))
    return write_token_folder(tmp_path_factory.mktemp("data") / "tokens", ids, vocab_size=64, shards=2)


def plain_loop(tokens, recipe: TrainConfig, seed: int) -> tuple[OpenLM, list[float]]:
    """The same training without Lightning, checkpoints, chunks or reports."""
    shards, model, losses = TokenShards(tokens), OpenLM(CONFIG, seed), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=recipe.weight_decay)
    for step, rows in zip(range(20), BatchStream(len(shards), recipe.batch_size, seed)):
        batch = torch.from_numpy(shards.rows(rows))
        for group in optimizer.param_groups: group["lr"] = learning_rate(step, recipe.lr, recipe.warmup_steps, 20)
        optimizer.zero_grad()
        parts = plain_loss(model(batch[:, :-1]), batch[:, 1:], recipe.z_loss)
        parts.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        losses.append(parts.cross_entropy.item())
    return model, losses


def test_equals_a_plain_loop(tokens, tmp_path):
    result = train(CONFIG, RECIPE, tokens, tmp_path / "run", seed=3)
    model, losses = plain_loop(tokens, RECIPE, seed=3)
    curve = pd.read_csv(tmp_path / "run" / "losses.csv")
    assert curve.cross_entropy.tolist() == pytest.approx(losses, abs=1e-5)
    for a, b in zip(load_model(tmp_path / "run").parameters(), model.parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert result["last_loss"] == curve.cross_entropy.iloc[-1] and result["loss"] == pytest.approx(
        curve.cross_entropy[-2:].mean()
    )
    assert (tmp_path / "run" / result["checkpoint"]).is_file() and result["tokens"] == 20 * 8 * 16


@pytest.mark.parametrize("changes", [{"grad_accumulation": 4}, {"loss_chunk": 7}])
def test_how_a_batch_is_cut_does_not_matter(tokens, tmp_path, changes):
    train(CONFIG, dataclasses.replace(RECIPE, **changes), tokens, tmp_path / "run", seed=3)
    _, losses = plain_loop(tokens, RECIPE, seed=3)
    assert pd.read_csv(tmp_path / "run" / "losses.csv").cross_entropy.tolist() == pytest.approx(losses, abs=1e-5)


TWO_PROCESSES = """
import sys, torch
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.training import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    config = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
    recipe = TrainConfig(
        tokens=20 * 8 * 16, batch_size=8, lr=1e-2, warmup_steps=5, weight_decay=0.1, accelerator="cpu", log_every=4,
        checkpoint_every=6, tensorboard=False, strategy="ddp", devices=2, grad_accumulation=int(sys.argv[3]),
    )
    print(train(config, recipe, sys.argv[1], sys.argv[2], seed=3))
"""


@pytest.mark.parametrize("accumulation", [*daily(1), *nightly(2)])
def test_two_processes_equal_one(tokens, tmp_path, accumulation):
    """`ddp` over gloo: each process has half of every batch, and the curve is that of the whole batch."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, str(script), str(tokens), str(tmp_path / "run"), str(accumulation)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _, losses = plain_loop(tokens, RECIPE, seed=3)
    curve = pd.read_csv(tmp_path / "run" / "losses.csv")
    assert curve.step.tolist() == list(range(20)) and curve.cross_entropy.tolist() == pytest.approx(losses, abs=1e-5)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 20


def test_fsdp_is_configured_as_the_paper_says():
    """FSDP needs GPUs; what can be checked here is what it is asked to do."""
    policy = pure_bf16()
    assert (policy.param_dtype, policy.reduce_dtype, policy.buffer_dtype) == (torch.bfloat16,) * 3
    assert {name: t.precision for name, (_, t) in PAPER_SCALES.items()} == {
        "400M-1x": "bf16-mixed",
        "1B-1x": "bf16-mixed",
        "3B-1x": "bf16-pure",
        "7B-1x": "bf16-pure",
        "7B-2x": "bf16-pure",
    }
    if not torch.cuda.is_available():
        recipe, blocks = lm_config("7B-1x")[1], LanguageModelTraining.blocks
        with pytest.raises(UserError, match="needs GPUs"): build_strategy(recipe.strategy, recipe.precision, blocks)


def test_tensorboard_gets_the_curve(tokens, tmp_path):
    train(CONFIG, dataclasses.replace(RECIPE, tensorboard=True), tokens, tmp_path / "run", seed=3)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curve = pd.read_csv(tmp_path / "run" / "losses.csv")
    points = events.Scalars("cross_entropy")
    assert [p.step for p in points] == curve.step.tolist()
    assert [p.value for p in points] == pytest.approx(curve.cross_entropy.tolist(), rel=1e-6)


def test_a_finished_folder_is_not_trained_again(tokens, tmp_path):
    first = train(CONFIG, RECIPE, tokens, tmp_path / "run", seed=3)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    assert train(CONFIG, dataclasses.replace(RECIPE, log_every=1), tokens, tmp_path / "run", seed=3) == first
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("what", ["seed", "model", "recipe", "tokens"])
def test_another_runs_folder_is_refused(tokens, tmp_path, what):
    train(CONFIG, RECIPE, tokens, tmp_path / "run", seed=3)
    other = (
        write_token_folder(tmp_path / "other", np.zeros((30, 17), int), vocab_size=64) if what == "tokens" else tokens
    )
    config = dataclasses.replace(CONFIG, qk_norm=False) if what == "model" else CONFIG
    recipe = dataclasses.replace(RECIPE, lr=2e-2) if what == "recipe" else RECIPE
    with pytest.raises(UserError, match="holds another run"):
        train(config, recipe, other, tmp_path / "run", seed=4 if what == "seed" else 3)


def test_a_diverged_run_names_its_step_and_keeps_no_ruined_checkpoint(tokens, tmp_path):
    wild = dataclasses.replace(RECIPE, lr=1e6, clip_norm=1e9, checkpoint_every=1, log_every=5)
    with pytest.raises(UserError, match=r"diverged: at step \d+ .*lower lr"):
        train(CONFIG, wild, tokens, tmp_path / "run", seed=3)
    last = tmp_path / "run" / "last.ckpt"
    if last.exists():
        assert all(torch.isfinite(t).all() for t in torch.load(last, weights_only=True)["state_dict"].values())
    assert not (tmp_path / "run" / "result.json").exists()


def test_initial_weights_do_not_depend_on_anything_drawn_before():
    torch.manual_seed(1); a = OpenLM(CONFIG, seed=2)
    torch.manual_seed(9); torch.rand(100); b = OpenLM(CONFIG, seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
