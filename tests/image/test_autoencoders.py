"""Learned codecs: the four bottlenecks, training that survives a kill, collapse that is noticed, and a pretrained
one."""
import builtins
import dataclasses
import json
import warnings

import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.image.autoencoders import (
    AutoencoderTraining,
    ConvCodec,
    DiffusersKL,
    autoencoder_config,
    build_autoencoder,
    check_usage,
    codebook_usage,
    pretrained_kl,
    train_autoencoder,
)
from dclm_nb.image.codecs import Codec, load_codec, psnr
from dclm_nb.image.config import ASSUMED_AUTOENCODER, LATENTS, AutoencoderConfig
from dclm_nb.image.scenes import SceneSpec, scene_set

IMAGES = scene_set(40, SceneSpec(size=24, cells=3, smallest=5, largest=6)).images
TINY = dict(size=24, width=8, steps=6, batch=4, codes=16, levels=(4, 3))


def need_quantisers(latents: str = "fsq"):
    if latents in ("lfq", "fsq"):
        pytest.importorskip(
            "vector_quantize_pytorch", reason="vector-quantize-pytorch is not installed (pip install 'dclm_nb[image]')"
        )


def untrained(latents: str, **settings) -> ConvCodec:
    need_quantisers(latents)
    config = AutoencoderConfig(latents, **{**TINY, **settings})
    return ConvCodec(f"conv-{latents}", config, build_autoencoder(config), 0.1, 2.0)


@pytest.mark.parametrize("latents", LATENTS)
def test_every_kind_is_a_codec_and_comes_back_from_disk(tmp_path, latents):
    codec = untrained(latents)
    assert (
        isinstance(codec, Codec)
        and codec.tokens == 36
        and (codec.channels == 0) == (codec.vocab_size > 0) == (codec.kind == "discrete")
    )
    features = codec.encode(IMAGES)
    assert features.shape == ((40, 36, 8) if latents == "kl" else (40, 36)) and features.dtype == (
        torch.float32 if latents == "kl" else torch.int64
    )
    codec.save(tmp_path)
    same = load_codec(tmp_path, size=24, kind=codec.kind)
    assert same.fingerprint() == codec.fingerprint() and same.config == codec.config
    assert torch.equal(same.encode(IMAGES), features) and torch.equal(same.decode(features), codec.decode(features))
    assert same.decode(features).dtype == torch.uint8 and same.decode(features).shape == IMAGES.shape


@pytest.mark.parametrize("latents", LATENTS[1:])
def test_what_training_hears_is_what_the_ids_stand_for(latents):
    network = untrained(latents).network
    features = network.to_latent(torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0)))
    latents, _ = network.bottleneck(features, torch.Generator())
    assert torch.allclose(latents, network.bottleneck.decode(network.bottleneck.encode(features)), atol=1e-6)


@pytest.mark.parametrize("latents", LATENTS)
def test_gradients_reach_the_encoder_through_every_bottleneck(latents):
    need_quantisers(latents)
    network = build_autoencoder(AutoencoderConfig(latents, **TINY))
    pictures = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    again, _ = network(pictures, torch.Generator().manual_seed(0))
    again.square().mean().backward()
    assert network.encoder[0].weight.grad.abs().sum() > 0


def test_tokens_run_row_by_row_and_go_back_to_their_places():
    network = untrained("kl", factor=8).network
    pictures = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = network.to_latent(pictures)
    assert torch.equal(features[:, 1 * 3 + 2], network.encoder(pictures)[:, :, 1, 2])
    latents = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.to_pixels(latents), network.decoder(latents.reshape(2, 3, 3, 8).permute(0, 3, 1, 2)))


def test_the_seed_decides_and_the_global_state_does_not():
    config = AutoencoderConfig("vq", **TINY)
    state = torch.random.get_rng_state()
    first = build_autoencoder(config, 1).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    again, other = build_autoencoder(config, 1).state_dict(), build_autoencoder(config, 2).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first) and not torch.equal(
        first["bottleneck.codebook"], other["bottleneck.codebook"]
    )


def test_training_lowers_the_error_and_measures_one_scale(tmp_path):
    codec = train_autoencoder(IMAGES, AutoencoderConfig("kl", **{**TINY, "steps": 60, "batch": 8}), 0, tmp_path)
    latents, report = codec.encode(IMAGES), json.loads((tmp_path / "training.json").read_text())
    assert abs(latents.mean()) < 1e-4 and abs(latents.std() - 1) < 1e-4
    assert len(report["losses"]) == 60 and report["losses"][-1] < report["losses"][0] / 2
    assert (
        report["psnr"] == psnr(IMAGES, codec.decode(latents))
        and load_codec(tmp_path).fingerprint() == codec.fingerprint()
    )
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == ["codec.json", "codec.safetensors", "training.json"]


@pytest.mark.parametrize("latents", ["kl", "vq"])
def test_a_killed_training_continues_to_the_same_weights(tmp_path, monkeypatch, latents):
    config = AutoencoderConfig(latents, **{**TINY, "steps": 10})
    whole = train_autoencoder(IMAGES, config, 3, tmp_path / "whole")
    step = AutoencoderTraining.training_step

    def killed(self, batch, index):
        if self.global_step == 7: raise KeyboardInterrupt("killed")
        return step(self, batch, index)
    monkeypatch.setattr(AutoencoderTraining, "training_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)): train_autoencoder(IMAGES, config, 3, tmp_path / "killed")
    assert not (tmp_path / "killed" / "codec.json").exists()
    steps = []
    monkeypatch.setattr(
        AutoencoderTraining,
        "training_step",
        lambda self, batch, index: (steps.append(self.global_step), step(self, batch, index))[1],
    )
    again = train_autoencoder(IMAGES, config, 3, tmp_path / "killed")
    # saved every second step
    assert steps == [6, 7, 8, 9]
    assert again.fingerprint() == whole.fingerprint()
    assert json.loads((tmp_path / "killed" / "training.json").read_text()) == json.loads(
        (tmp_path / "whole" / "training.json").read_text()
    )


def test_the_beginning_of_another_training_is_not_continued(tmp_path, monkeypatch):
    config, step = AutoencoderConfig("kl", **TINY), AutoencoderTraining.training_step

    def killed(self, batch, index):
        if self.global_step == 4: raise RuntimeError("the machine went away")
        return step(self, batch, index)
    monkeypatch.setattr(AutoencoderTraining, "training_step", killed)
    with pytest.raises(RuntimeError, match="went away"): train_autoencoder(IMAGES, config, 0, tmp_path)
    monkeypatch.undo()
    for images, settings, seed in (
        (IMAGES, config, 1),
        (IMAGES.flip(0), config, 0),
        (IMAGES, dataclasses.replace(config, lr=1e-4), 0),
    ):
        with pytest.raises(UserError, match="holds another run"): train_autoencoder(images, settings, seed, tmp_path)


def test_divergence_names_the_step(tmp_path, monkeypatch):
    forward = type(build_autoencoder(AutoencoderConfig(**TINY))).forward
    monkeypatch.setattr(
        "dclm_nb.image.autoencoders.Autoencoder.forward",
        lambda self, *a: (forward(self, *a)[0] * float("nan"), torch.zeros(())),
    )
    with pytest.raises(UserError, match="diverged at step 0"):
        train_autoencoder(IMAGES, AutoencoderConfig(**TINY), 0, tmp_path)


def test_a_collapsed_codebook_is_an_error_and_an_idle_one_a_warning(tmp_path, monkeypatch):
    codec = untrained("vq", codes=256)
    codec.network.bottleneck.codebook.fill_(1.0)
    with pytest.raises(UserError, match="collapsed"): check_usage(codec, IMAGES)
    codec.network.bottleneck.codebook[7] = -1.0
    codec.network.bottleneck.encode = lambda features: 7 * (features[..., 0] > features[..., 0].median()).long()
    with pytest.warns(UserWarning, match="only 2 of 256"): assert check_usage(codec, IMAGES).used == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.network.bottleneck.encode = lambda features: (
            torch.arange(features.shape[0] * features.shape[1]).reshape(features.shape[:2]) % 256
        )
        assert check_usage(codec, IMAGES).used == 256


def test_a_training_that_collapses_leaves_no_codec(tmp_path, monkeypatch):
    one_code = lambda self, features: torch.zeros(features.shape[:-1], dtype=torch.long)
    monkeypatch.setattr("dclm_nb.image.autoencoders.VQ.encode", one_code)
    with pytest.raises(UserError, match="collapsed"):
        train_autoencoder(IMAGES, AutoencoderConfig("vq", **TINY), 0, tmp_path)
    assert not (tmp_path / "codec.json").exists()


def test_perplexity_counts_codes_by_how_evenly_they_are_used():
    assert codebook_usage(torch.zeros(9, dtype=torch.long), 4).perplexity == 1
    even, uneven = torch.arange(4).repeat(25), torch.tensor([0] * 97 + [1, 2, 3])
    assert abs(codebook_usage(even, 8).perplexity - 4) < 1e-9 and 1 < codebook_usage(uneven, 8).perplexity < 1.3
    for ids in (torch.empty(0, dtype=torch.long), torch.tensor([8]), torch.tensor([-1])):
        with pytest.raises(UserError): codebook_usage(ids, 8)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(latents="gan"), "kind of latents"),
        (dict(factor=3), "power of two"),
        (dict(factor=1), "power of two"),
        (dict(size=30), "do not shrink"),
        (dict(width=12), "multiple of 8"),
        (dict(latents="lfq", codes=100), "power of two"),
        (dict(latents="fsq", levels=()), "at least 3"),
        (dict(steps=0), "steps"),
        (dict(lr=-1.0), "lr"),
        (dict(channels=0), "channels"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, words):
    with pytest.raises(UserError, match=words): AutoencoderConfig(**settings)


def test_small_large_and_assumed_build_on_the_meta_device():
    for sized in (AutoencoderConfig(width=16), AutoencoderConfig(size=32, width=64, blocks=2), ASSUMED_AUTOENCODER):
        for latents in ("kl", "vq"):
            config = dataclasses.replace(sized, latents=latents)
            with torch.device("meta"): network = build_autoencoder(config)
            assert (
                network.to_latent(torch.empty(1, 3, config.size, config.size, device="meta")).shape[1]
                == (config.size // config.factor) ** 2
            )
    assert (256 // ASSUMED_AUTOENCODER.factor) ** 2 == 256


def test_a_name_says_which_latents_and_the_rest_is_as_given():
    config = AutoencoderConfig(size=24, width=16, levels=(8, 5, 5, 5), steps=7)
    assert autoencoder_config("conv-kl-6", config) == dataclasses.replace(config, channels=6)
    assert autoencoder_config("conv-lfq-64", config) == dataclasses.replace(config, latents="lfq", codes=64)
    assert autoencoder_config("conv-fsq-240", config) == dataclasses.replace(config, latents="fsq", levels=(8, 6, 5))
    for name in ("conv-fsq-7", "pca-8"):
        with pytest.raises(UserError, match="unknown learned codec"): autoencoder_config(name, config)


def test_without_the_extra_the_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] in ("vector_quantize_pytorch", "diffusers"): raise ImportError(name)
        return real(name, *rest, **more)
    monkeypatch.setattr(builtins, "__import__", without)
    for latents in ("lfq", "fsq"):
        with pytest.raises(UserError, match=r"dclm_nb\[image\]"): build_autoencoder(AutoencoderConfig(latents))
    with pytest.raises(UserError, match=r"dclm_nb\[image\]"): pretrained_kl("anything")


# --- diffusers
# ----------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tiny_vae():
    """An AutoencoderKL of the pretrained one's form with random weights: factor 8, four channels."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (pip install 'dclm_nb[image]')")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.AutoencoderKL(
            block_out_channels=(8,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
        )


PICTURES = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_pretrained_codec_is_the_model_itself_with_its_own_scale(tiny_vae):
    codec = DiffusersKL("tiny", 32, tiny_vae)
    assert isinstance(codec, Codec) and (codec.tokens, codec.channels, codec.kind) == (4, 16, "continuous")
    assert DiffusersKL("tiny", 256, tiny_vae).tokens == 256
    with torch.no_grad():
        latents = tiny_vae.encode(PICTURES.float() / 127.5 - 1).latent_dist.mean
        again = ((tiny_vae.decode(latents).sample + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    tokens = codec.encode(PICTURES)
    # the second token is the upper right quarter
    assert torch.allclose(tokens[:, 1].reshape(3, 4, 2, 2), 0.18215 * latents[:, :, :2, 2:], atol=1e-5)
    assert (codec.decode(tokens).int() - again.int()).abs().max() <= 1
    with pytest.raises(UserError, match="16 pixels"): DiffusersKL("tiny", 40, tiny_vae)


def test_shift_factor_is_applied_both_ways(tiny_vae):
    plain = DiffusersKL("tiny", 32, tiny_vae)
    settings = plain.settings()
    codec = DiffusersKL.from_parts(
        settings | {"config": settings["config"] | {"shift_factor": 0.5, "scaling_factor": 2.0}}, plain.tensors()
    )
    assert torch.allclose(codec.encode(PICTURES), (plain.encode(PICTURES) / 0.18215 - 0.5) * 2, atol=1e-4)
    assert (codec.decode(codec.encode(PICTURES)).int() - plain.decode(plain.encode(PICTURES)).int()).abs().max() <= 1


def test_a_folder_of_diffusers_is_loaded_and_kept_as_a_codec(tmp_path, tiny_vae):
    tiny_vae.save_pretrained(tmp_path / "vae", safe_serialization=True)
    codec = pretrained_kl(str(tmp_path / "vae"), size=32)
    assert codec.name == "vae" and torch.equal(
        codec.encode(PICTURES), DiffusersKL("tiny", 32, tiny_vae).encode(PICTURES)
    )
    codec.save(tmp_path / "codec")
    same = load_codec(tmp_path / "codec", size=32, kind="continuous")
    assert same.fingerprint() == codec.fingerprint() and torch.equal(same.encode(PICTURES), codec.encode(PICTURES))


def test_pickled_or_missing_weights_are_refused(tmp_path, monkeypatch, tiny_vae):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_vae.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    for folder in (tmp_path / "pickled", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no autoencoder .* could be loaded"): pretrained_kl(str(folder), size=32)
