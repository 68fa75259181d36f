"""What the core adds to a training changes no bit of it: each kind of model against its loop written out, without
Lightning, loss table, checkpoints or marks. (One thread; the loops name the same fused optimiser and clipping, so this
holds on any processor.)"""
import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dclm_nb.core.seeds import seed_for
from dclm_nb.image.autoencoders import build_autoencoder, train_autoencoder
from dclm_nb.image.config import AutoencoderConfig
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.config import METHODS, BackboneConfig
from dclm_nb.image.flops import training_flops
from dclm_nb.image.methods import method_loss
from dclm_nb.image.recipes import ImageTrainConfig
from dclm_nb.image.training import LatentSet, step_generator, train
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.data import BatchStream, TokenShards, write_token_folder
from dclm_nb.lm.loss import language_model_loss
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.schedule import learning_rate
from dclm_nb.lm.training import train as train_language_model

STEPS = 20


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def step_of(network, optimizer, rate: float, loss: torch.Tensor, clip: float) -> float:
    """One plain optimiser step; the norm of the gradient before clipping."""
    for group in optimizer.param_groups: group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return norm.item()


# --- language

LANGUAGE = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
RECIPE = TrainConfig(
    tokens=STEPS * 8 * 16,
    batch_size=8,
    lr=1e-2,
    warmup_steps=5,
    weight_decay=0.1,
    accelerator="cpu",
    log_every=3,
    checkpoint_every=7,
    tensorboard=False,
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 64, (60, 17))
    return write_token_folder(tmp_path_factory.mktemp("data") / "tokens", ids, vocab_size=64, shards=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_language(tokens, tmp_path, workers):
    train_language_model(LANGUAGE, dataclasses.replace(RECIPE, num_workers=workers), tokens, tmp_path, seed=3)
    model, shards, rows = OpenLM(LANGUAGE, 3), TokenShards(tokens), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    for step, chosen in zip(range(STEPS), BatchStream(len(shards), 8, 3)):
        batch, rate = torch.from_numpy(shards.rows(chosen)), learning_rate(step, 1e-2, 5, STEPS)
        parts = language_model_loss(model.hidden(batch[:, :-1]), model.head.weight, batch[:, 1:], 1e-4, 4096)
        norm = step_of(model, optimizer, rate, parts.total, 1.0)
        rows.append((step, (step + 1) * 8 * 16, rate, parts.cross_entropy.item(), parts.z_term.item(), norm))
    table = (tmp_path / "losses.csv").read_text().splitlines()
    assert table[0] == "step,tokens,lr,cross_entropy,z_term,gradient_norm"
    assert table[1:] == [",".join(map(str, row)) for row in rows]
    kept, plain = load_file(tmp_path / "model.safetensors"), model.state_dict()
    assert kept.keys() == plain.keys() and all(torch.equal(kept[name], plain[name]) for name in plain)
    losses = pd.read_csv(tmp_path / "losses.csv").cross_entropy
    assert json.loads((tmp_path / "result.json").read_text())["last_loss"] == losses.iloc[-1] == rows[-1][3]


# --- pictures

NEXT = BackboneConfig("next-token", 16, 1, 2, 9, 8, 3, vocab_size=12)
NETWORKS = {
    "next-token": NEXT,
    "masked-token": dataclasses.replace(NEXT, method="masked-token"),
    "diffusion": dataclasses.replace(NEXT, method="diffusion", vocab_size=0, channels=4),
}


def latent_set(network: BackboneConfig) -> LatentSet:
    chance = torch.Generator().manual_seed(9)
    shape = (40, network.tokens)
    ids = lambda: torch.randint(network.vocab_size, shape, generator=chance)
    latents = torch.randn(*shape, network.channels, generator=chance) if network.channels else ids()
    return LatentSet(latents, torch.randint(1, 7, (40, network.caption_length), generator=chance), 7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_pictures(tmp_path, method, precision):
    """Both sets of weights, at a mark inside the run and at its end; noise is drawn on behind the batch."""
    network = NETWORKS[method]
    data = latent_set(network)
    config = ImageTrainConfig(
        (STEPS + 0.4) * training_flops(network, 4),
        batch_size=4,
        lr=5e-3,
        warmup_steps=5,
        decay=0.3,
        ema=0.8,
        marks=(0.3, 1.0),
        checkpoint_every=7,
        accelerator="cpu",
        precision=precision,
    )
    result = train(network, config, data, tmp_path, seed=5)
    model, losses, kept = Backbone(network, 5), [], []
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    for step in range(STEPS):
        chance = step_generator(5, step)
        batch = data.batch(4, 0.1, chance)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = method_loss(model, *batch, config.settings, chance)
        rate = 5e-3 * min(1.0, (step + 1) / 5, (STEPS - step) / max(1, 0.3 * STEPS))
        step_of(model, optimizer, rate, loss, 1.0)
        averaged.update_parameters(model)
        losses.append(round(loss.item(), 6))
        if step + 1 not in (6, STEPS): continue
        both = {"raw": model.state_dict(), "averaged": averaged.module.state_dict()}
        kept.append({f"{kind}.{name}": t.clone() for kind, state in both.items() for name, t in state.items()})
    assert result["losses"] == losses and result["flops"] == STEPS * training_flops(network, 4)
    for mark, expected in enumerate(kept):
        found = load_file(tmp_path / f"mark_{mark}.safetensors")
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


# --- codecs

@pytest.mark.parametrize("latents", ["kl", "vq"])
def test_codecs(tmp_path, latents):
    images = torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    config = AutoencoderConfig(latents, size=16, width=8, steps=STEPS, batch=4, codes=16)
    codec = train_autoencoder(images, config, 3, tmp_path)
    network, losses = build_autoencoder(config, 3), []
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    for step in range(STEPS):
        named = lambda purpose: torch.Generator().manual_seed(seed_for(purpose, 3, step))
        chosen = torch.randint(40, (4,), generator=named("autoencoder batch"))
        pictures = images[chosen].float() / 127.5 - 1
        again, penalty = network(pictures, named("autoencoder noise"))
        error = F.mse_loss(again, pictures)
        rate = 2e-3 * min((step + 1) / max(1, STEPS // 20), 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        step_of(network, optimizer, rate, error + penalty, 1.0)
        losses.append(error.item())
    assert json.loads((tmp_path / "training.json").read_text())["losses"] == losses
    kept, plain = codec.network.state_dict(), network.state_dict()
    assert all(torch.equal(kept[name], plain[name]) for name in plain)
