"""From tar shards to a model in one command; latents on disk that training reads as it reads those in memory."""
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import dclm_nb.image.latent_shards as latent_shards
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.image.captions import CaptionVocabulary
from dclm_nb.image.checkpoints import load_image_model, sample
from dclm_nb.image.codecs import SavedCodec, fit_codec
from dclm_nb.image.config import METHODS
from dclm_nb.image.latent_shards import LatentShards, encode_shards
from dclm_nb.image.launch import default_codec, plan, describe_plan, train_image
from dclm_nb.image.recipes import PAPER_SIZES, PaperScale, paper_recipe
from dclm_nb.image.scenes import CaptionedImages, SceneSpec, scene_set
from dclm_nb.image.training import LatentSet, step_generator
from dclm_nb.image.webdata import PictureReader, write_shard

CODECS = {"diffusion": "pca-4", "masked-token": "vq-32", "next-token": "vq-32"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    """Three shards, one of them without a usable picture."""
    folder = tmp_path_factory.mktemp("shards")
    written = [write_shard(folder / f"{i:05d}.tar", scene_set(n, SceneSpec(), seed=i)) for i, n in enumerate((20, 33))]
    empty = scene_set(2, SceneSpec())
    return [*written, write_shard(folder / "00002.tar", CaptionedImages(empty.images, ("", " ")))]


@pytest.fixture(scope="module")
def scenes() -> CaptionedImages:
    parts = [scene_set(n, SceneSpec(), seed=i) for i, n in enumerate((20, 33))]
    return CaptionedImages(torch.cat([p.images for p in parts]), parts[0].captions + parts[1].captions)


@pytest.mark.parametrize("name", ["pca-4", "vq-32"])
def test_a_set_on_disk_gives_the_batches_of_one_in_memory(shards, scenes, tmp_path, name):
    codec, words = fit_codec(name, scenes.images), CaptionVocabulary.of(scenes.captions)
    assert encode_shards(shards, PictureReader(24), codec, words, tmp_path) == {"read": 53, "caption empty": 2}
    stored = LatentShards(tmp_path)
    plain = LatentSet(codec.encode(scenes.images), words.encode(scenes.captions), words.null_id)
    assert len(stored) == 53 and all(isinstance(part, np.memmap) for part in stored.records.parts)
    for step in range(5):
        (a, captions), (b, expected) = (data.batch(16, 0.3, step_generator(0, step)) for data in (stored, plain))
        assert (
            torch.equal(captions, expected)
            and a.dtype == b.dtype
            and torch.allclose(a, b, atol=0 if codec.vocab_size else 4e-3)
        )


def test_encoding_that_was_killed_goes_on_with_the_missing_shard(shards, scenes, tmp_path, monkeypatch):
    codec, words = fit_codec("vq-32", scenes.images), CaptionVocabulary.of(scenes.captions)
    encode, calls = latent_shards.encode_pairs, []
    def dying(*arguments):
        calls.append(1)
        if len(calls) == 2: raise KeyboardInterrupt
        return encode(*arguments)
    monkeypatch.setattr(latent_shards, "encode_pairs", dying)
    with pytest.raises(KeyboardInterrupt): encode_shards(shards, PictureReader(24), codec, words, tmp_path / "cut")
    assert [p.name for p in (tmp_path / "cut").glob("*.npy")] == ["00000.npy"]
    assert encode_shards(shards, PictureReader(24), codec, words, tmp_path / "cut") == encode_shards(
        shards, PictureReader(24), codec, words, tmp_path / "whole"
    )
    assert len(calls) == 2 + 2 + 3
    for shard in shards:
        assert (tmp_path / "cut" / f"{shard.stem}.npy").read_bytes() == (
            tmp_path / "whole" / f"{shard.stem}.npy"
        ).read_bytes()


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_shard_is_named(shards, scenes, tmp_path, content):
    encode_shards(
        shards, PictureReader(24), fit_codec("vq-32", scenes.images), CaptionVocabulary.of(scenes.captions), tmp_path
    )
    path = tmp_path / "00001.npy"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(UserError, match="00001.npy cannot be read.*encode again"): LatentShards(tmp_path)


def test_frequent_words_are_kept_and_the_rest_is_left_out_only_where_that_was_asked_for():
    captions = ["dogs and a dog", "the dog", "the cat", "rare"]
    web = CaptionVocabulary.frequent(captions, 4, 2)
    assert web.words == ("dog", "the") and web.decode(web.encode(["the rare dogs the", "nothing"])) == [
        "the dog",
        "(no caption)",
    ]
    with pytest.raises(UserError, match="unknown word"): CaptionVocabulary(web.words, 2).encode(["the rare"])
    with pytest.raises(UserError, match="at least one"): CaptionVocabulary.frequent(["", "..."], 4, 2)


@pytest.mark.parametrize("method", ["next-token", *nightly("diffusion")])
def test_the_command_trains_nano_on_a_processor_and_then_finds_it_done(shards, tmp_path, method):
    out = tmp_path / "out"
    line = [
        "train-image",
        "--method",
        method,
        "--size",
        "nano",
        "--shards",
        str(shards[0].parent),
        "--out",
        str(out),
        "--codec",
        CODECS[method],
        "--resolution",
        "24",
        "--pictures",
        "512",
        "--devices",
        "1",
    ]
    call = lambda: subprocess.run(
        [sys.executable, "-c", "from dclm_nb.cli import main; main()", *line],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    first = call()
    assert first.returncode == 0, first.stderr
    said = first.stdout.splitlines()
    assert (
        said[0].startswith(f"network   {method}, 2 layers of width 32")
        and "2 steps of 256 pictures" in said[2]
        and said[3] == "pictures  read: 53, caption empty: 2"
        and said[4:] == [f"model     {out / 'model'}"]
    )
    weights = (out / "model" / "model.safetensors").read_bytes()
    assert sample(load_image_model(out / "model"), ["a red circle left of a zebra"]).shape == (1, 3, 24, 24)
    again = call().stdout.splitlines()                              # nothing is read or trained again
    assert again == [*said[:3], f"{said[4]} (it was there already)"]
    assert (out / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.nightly
def test_two_devices_share_a_batch_and_speak_once(shards, tmp_path):
    """Two processes on a processor stand for two GPUs: Lightning starts the same command again."""
    script, out = tmp_path / "main.py", tmp_path / "out"
    script.write_text("from dclm_nb.cli import main\nmain()\n")
    line = [
        "train-image",
        "--size",
        "nano",
        "--shards",
        str(shards[0].parent),
        "--out",
        str(out),
        "--codec",
        "pca-4",
        "--resolution",
        "24",
        "--pictures",
        "512",
        "--devices",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, str(script), *line],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(Path(__file__).parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", ""),
        },
    )
    assert done.returncode == 0, done.stderr
    assert [row.split()[0] for row in done.stdout.splitlines()] == [
        "network",
        "latents",
        "training",
        "pictures",
        "model",
    ] and "devices: 2" in done.stdout
    assert load_image_model(out / "model").network.config.method == "diffusion"


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_of_every_assumed_size_is_its_recipe(method):
    """With latents and words as assumed, `train-image` is `paper_recipe`, but for how it is spread over devices."""

    class Assumed(SavedCodec):
        kind, name, tokens, channels, vocab_size = (
            ("continuous", "kl", 256, 16, 0)
            if method == "diffusion"
            else ("discrete", "lfq", 256, 0, PaperScale().codes)
        )
        def __init__(self): pass                            # there are no weights

    words = CaptionVocabulary(
        tuple(sorted(f"w{i}" for i in range(PaperScale().caption_words - 2))), PaperScale().caption_length, lenient=True
    )
    for size in PAPER_SIZES:
        network, config = plan(method, size, Assumed(), words, PaperScale().pictures)
        assert (network, config.flops, config.lr, config.ema, config.precision) == (
            (recipe := paper_recipe(method, size))[0],
            recipe[1].flops,
            recipe[1].lr,
            recipe[1].ema,
            "bf16-mixed",
        )
        assert "250,000 steps of 256 pictures" in describe_plan(network, config, Assumed())[2]
    assert default_codec(method) == ("stabilityai/sd-vae-ft-mse" if method == "diffusion" else "conv-lfq-16384")


@pytest.mark.parametrize("data, said", [
    ("nowhere", "the shard .*nowhere does not exist"), ("nowhere/*.tar", "no shard matches"),
    ("empty", "no shard matches"), ("other", "hold not one captioned picture")])
def test_shards_that_cannot_be_trained_on_leave_no_folder(tmp_path, data, said):
    for name in ("empty", "other"): (tmp_path / name).mkdir()
    with tarfile.open(tmp_path / "other" / "0.tar", "w") as tar: tar.add(__file__, "0.txt")
    with pytest.raises(UserError, match=said):
        train_image("diffusion", "nano", str(tmp_path / data), tmp_path / "out", "pca-4")
    assert not (tmp_path / "out").exists()
