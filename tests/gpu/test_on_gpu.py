"""What only a GPU can show: the same numbers there as on the processor, mixed precision, interrupted runs, sharding,
and a study whose workers share the GPU. Skipped, with a line, where there is none."""
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import torch._dynamo.utils

from dclm_nb.core.store import RunStore
from dclm_nb.image.autoencoders import autoencoder_config, train_autoencoder
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.checkpoints import load_image_model, sample
from dclm_nb.image.codecs import psnr
from dclm_nb.image.config import LATENTS, METHODS, AutoencoderConfig, BackboneConfig
from dclm_nb.image.flops import training_flops
from dclm_nb.image.launch import train_image
from dclm_nb.image.methods import MethodSettings, Sampling, draw_latents, method_loss
from dclm_nb.image.recipes import ImageTrainConfig
from dclm_nb.image.scenes import SceneSpec, scene_set
from dclm_nb.image.training import LatentSet, load_weights, step_generator, train
from dclm_nb.image.webdata import write_shard
from dclm_nb.learn.device import this_device
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.data import write_token_folder
from dclm_nb.lm.training import train as train_lm
from dclm_nb.studies.tradeoffs.profiles import profile
from dclm_nb.studies.tradeoffs.runs import Question, TrainSpec, StudyRuns

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is found here")

NEXT = BackboneConfig("next-token", 64, 3, 4, 36, 12, 5, vocab_size=64)
NETWORKS = {
    "next-token": NEXT,
    "masked-token": dataclasses.replace(NEXT, method="masked-token"),
    "diffusion": dataclasses.replace(NEXT, method="diffusion", vocab_size=0, channels=8),
}


def opened(config: BackboneConfig) -> Backbone:
    """A network whose gates are open, so that every block has a say."""
    network, generator = Backbone(config).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "modulation" in name or name.startswith("write"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network


def data_of(config: BackboneConfig, n: int = 200) -> LatentSet:
    """Latents that depend on their captions, so that there is something to learn."""
    generator = torch.Generator().manual_seed(9)
    captions = torch.randint(1, 11, (n, config.caption_length), generator=generator)
    if config.channels:
        return LatentSet(
            captions[:, :1, None].float() / 5
            - 1
            + 0.1 * torch.randn(n, config.tokens, config.channels, generator=generator),
            captions,
            11,
        )
    return LatentSet(
        (captions[:, :1] * 5 + torch.randint(0, 3, (n, config.tokens), generator=generator)) % config.vocab_size,
        captions,
        11,
    )


def recipe(config: BackboneConfig, steps: int, **changes) -> ImageTrainConfig:
    return ImageTrainConfig(
        **{
            "flops": steps * training_flops(config, 32),
            "batch_size": 32,
            "lr": 3e-3,
            "warmup_steps": 5,
            "marks": (0.5, 1.0),
            "checkpoint_every": 10,
        }
        | changes
    )


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_those_of_the_processor(method):
    config, found = NETWORKS[method], []
    latents, captions = data_of(config).batch(16, 0.1, step_generator(0, 0))
    for device in ("cpu", this_device()):
        network = opened(config).to(device)
        loss = method_loss(network, latents.to(device), captions.to(device), MethodSettings(), step_generator(0, 1))
        loss.backward()
        found.append([loss.detach().cpu(), *(p.grad.cpu() for p in network.parameters())])
    for a, b in zip(*found, strict=True): assert (a - b).norm() <= 1e-4 * a.norm() + 1e-7


@pytest.mark.parametrize("changes", [{}, {"positions": "learned", "qk_norm": False}])
@pytest.mark.parametrize("guidance, temperature", [(2.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("method", METHODS)
def test_pictures_drawn_are_those_of_the_processor(method, guidance, temperature, changes):
    config = dataclasses.replace(NETWORKS[method], **changes)
    captions, null = torch.randint(1, 11, (8, 5), generator=torch.Generator().manual_seed(2)), torch.full((8, 5), 11)
    drawn = [
        draw_latents(
            opened(config).to(device),
            captions.to(device),
            null.to(device),
            Sampling(8, guidance, temperature),
            MethodSettings(),
            torch.Generator().manual_seed(3),
        ).cpu()
        for device in ("cpu", this_device())
    ]
    same = torch.isclose(*drawn, atol=1e-3) if config.channels else drawn[0] == drawn[1]
    print(f"{method}: {same.float().mean():.2%} the same")
    assert same.float().mean() > 0.95 and len(drawn[0].unique()) > 5


@pytest.mark.parametrize("method", METHODS)
def test_training_follows_the_processor_and_bfloat16_follows_both(method, tmp_path):
    config, losses = NETWORKS[method], {}
    for name, changes in {
        "cpu": {"accelerator": "cpu"},
        "32-true": {},
        "bf16-mixed": {"precision": "bf16-mixed"},
    }.items():
        result = train(config, recipe(config, 40, **changes), data_of(config), tmp_path / name, seed=5)
        losses[name] = result["losses"]
        kept = load_weights(tmp_path / name / result["marks"][-1]["file"], config)
        assert kept.device.type == "cpu" and next(kept.parameters()).dtype == torch.float32
    far = {
        name: max(abs(a - b) / abs(b) for a, b in zip(losses[name], losses["cpu"]))
        for name in ("32-true", "bf16-mixed")
    }
    print(
        f"{method}: furthest from the processor's losses in 40 steps: 32 bits {far['32-true']:.1e}, bfloat16 "
        f"{far['bf16-mixed']:.1e}"
    )
    assert (
        far["32-true"] < 1e-2 and far["bf16-mixed"] < 0.1 and losses["bf16-mixed"][-1] < 0.8 * losses["bf16-mixed"][0]
    )


class Stop(Exception): pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_interrupted_run_goes_on(method, precision, tmp_path):
    config, asked = NETWORKS[method], []

    class Stopping(LatentSet):
        def batch(self, *rest):
            asked.append(1)
            if len(asked) == 25: raise Stop
            return super().batch(*rest)

    whole, settings = data_of(config), recipe(config, 40, precision=precision)
    stopping = Stopping(whole.latents, whole.captions, whole.null_id)
    with pytest.raises(Stop): train(config, settings, stopping, tmp_path / "cut", seed=5)
    cut = train(config, settings, stopping, tmp_path / "cut", seed=5)
    assert len(asked) == 25 + 20, "it goes on from the checkpoint of step 20"
    through = train(config, settings, whole, tmp_path / "through", seed=5)
    print(f"{method}, {precision}: resumed losses {'equal' if cut == through else 'near'}")
    assert (
        cut["losses"] == pytest.approx(through["losses"], rel=1e-3 if precision == "32-true" else 2e-2)
        and cut["steps"] == through["steps"] == 40
    )


@pytest.mark.parametrize("latents", LATENTS)
def test_codecs_train_in_bfloat16_and_encode_as_on_the_processor(latents, tmp_path, monkeypatch):
    if latents in ("lfq", "fsq"): pytest.importorskip("vector_quantize_pytorch")
    scenes = scene_set(400, SceneSpec())
    name = {"kl": "conv-kl-8", "vq": "conv-vq-256", "lfq": "conv-lfq-256", "fsq": "conv-fsq-240"}[latents]
    small = AutoencoderConfig(size=24, width=16, steps=150, batch=16, precision="bf16-mixed")
    codec = train_autoencoder(scenes.images, autoencoder_config(name, small), 0, tmp_path, name)
    there = codec.encode(scenes.images)
    again = codec.decode(there)
    monkeypatch.setattr("dclm_nb.image.autoencoders.this_device", lambda: torch.device("cpu"))
    here = codec.encode(scenes.images)
    same = torch.isclose(here, there, atol=0.02) if codec.kind == "continuous" else here == there
    print(f"{name}: {same.float().mean():.2%} of the latents the same, PSNR {psnr(again, scenes.images):.1f} dB")
    assert there.device.type == "cpu" and same.float().mean() > 0.98 and psnr(again, scenes.images) > 12


def test_from_shards_to_a_model_in_one_call(tmp_path):
    write_shard(tmp_path / "00000.tar", scene_set(300, SceneSpec()))
    for method, codec in (("next-token", "vq-64"), ("diffusion", "pca-8")):
        folder = train_image(
            method, "nano", str(tmp_path), tmp_path / method, codec=codec, resolution=16, pictures=256 * 8
        )
        model = load_image_model(folder)
        assert model.network.device.type == "cpu"
        on_gpu = dataclasses.replace(model, network=model.network.to(this_device()))
        assert sample(on_gpu, ["a red circle left of a blue square"] * 3).shape == (3, 3, 24, 24)


@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_network_trains_to_the_same_losses(method, tmp_path):
    config = NETWORKS[method]
    torch._dynamo.reset(), torch._dynamo.utils.counters.clear()
    plain, compiled = (
        train(config, recipe(config, 30, compile=compile), data_of(config), tmp_path / str(compile), seed=5)
        for compile in (False, True)
    )
    assert (
        compiled["losses"] == pytest.approx(plain["losses"], rel=1e-2)
        and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    )
    load_weights(tmp_path / "True" / compiled["marks"][-1]["file"], config)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_study_whose_workers_share_the_gpu(workers, tmp_path):
    shop = StudyRuns(profile("smoke").study, RunStore(tmp_path), workers)
    setups = [TrainSpec(method, "nano", recipe(NEXT, 1, flops=2e9, batch_size=8)) for method in METHODS]
    asked = [
        Question(setup, run, 0, mark=-1, sampling=Sampling(4))
        for setup, run in zip(setups, shop.train([(setup, 0) for setup in setups]))
    ]
    assert all(0 <= run.result["scores"]["all"] <= 1 for run in shop.judge(asked))


LANGUAGE = OpenLMConfig(64, 2, 2, vocab_size=64, seq_len=32, ffn_width=128)
LM_RECIPE = TrainConfig(
    tokens=30 * 8 * 32,
    batch_size=8,
    lr=3e-3,
    warmup_steps=5,
    weight_decay=0.1,
    log_every=5,
    checkpoint_every=10,
    tensorboard=False,
    grad_accumulation=2,
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 64, (300, 33)) // 8 * 8
    return write_token_folder(tmp_path_factory.mktemp("data") / "tokens", ids, vocab_size=64, shards=2)


@pytest.fixture(scope="module")
def on_the_processor(tokens, tmp_path_factory) -> list[float]:
    folder = tmp_path_factory.mktemp("lm") / "cpu"
    train_lm(LANGUAGE, dataclasses.replace(LM_RECIPE, accelerator="cpu"), tokens, folder, seed=3)
    return pd.read_csv(folder / "losses.csv").cross_entropy.tolist()


@pytest.mark.parametrize(
    "precision, strategy, near",
    [
        ("32-true", "auto", 1e-2),
        ("bf16-mixed", "auto", 0.05),
        ("bf16-true", "auto", 0.2),
        ("bf16-mixed", "ddp", 0.05),
        ("bf16-mixed", "fsdp", 0.05),
        ("bf16-pure", "fsdp", 0.2),
    ],
)
def test_language_models_train_in_every_precision_and_strategy(
    precision, strategy, near, tokens, on_the_processor, tmp_path
):
    result = train_lm(
        LANGUAGE,
        dataclasses.replace(LM_RECIPE, precision=precision, strategy=strategy),
        tokens,
        tmp_path / "run",
        seed=3,
    )
    losses = pd.read_csv(tmp_path / "run" / "losses.csv").cross_entropy.tolist()
    far = max(abs(a - b) / b for a, b in zip(losses, on_the_processor))
    print(
        f"{precision}, {strategy}: furthest from the processor's losses {far:.1e}, {result['tokens_per_second']:,.0f} "
        "tokens/s"
    )
    assert far < near and losses[-1] < losses[0]
