"""Exported models: what is loaded is what was saved, or it is refused in one line; drawing is a function of model,
captions and seed."""
import json
import os
import pickle

import numpy as np
import pytest
import torch

import dclm_nb.core.files as files
from dclm_nb.core.errors import UserError
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.captions import CaptionVocabulary
from dclm_nb.image.checkpoints import ImageModel, load_image_model, sample, save_image_model
from dclm_nb.image.codecs import fit_codec
from dclm_nb.image.config import METHODS, BackboneConfig
from dclm_nb.image.flow import FlowSettings
from dclm_nb.image.masked import MaskedSettings
from dclm_nb.image.methods import MethodSettings, Sampling
from dclm_nb.image.scenes import scene_set

SCENES = scene_set(200)
VOCABULARY = CaptionVocabulary.of(SCENES.captions)
CODECS = {"continuous": fit_codec("pca-8", SCENES.images), "discrete": fit_codec("vq-64", SCENES.images)}
CAPTIONS = ["a red circle left of a blue square", "three green triangles"]


def model_of(method: str, seed: int = 0, **changes) -> ImageModel:
    codec = CODECS["continuous" if method == "diffusion" else "discrete"]
    config = BackboneConfig(
        method,
        16,
        1,
        2,
        codec.tokens,
        len(VOCABULARY),
        VOCABULARY.length,
        channels=codec.channels,
        vocab_size=codec.vocab_size,
        **changes,
    )
    network = Backbone(config, seed)
    with torch.no_grad(): network.write.weight.mul_(30)
    return ImageModel(
        network.eval(),
        codec,
        VOCABULARY,
        MethodSettings(FlowSettings(shift=2.5), MaskedSettings("arccos", 3.0)),
        Sampling(steps=3, guidance=1.5, temperature=0.8, cache=False),
    )


@pytest.fixture
def saved(tmp_path): return save_image_model(model_of("next-token"), tmp_path / "model")


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_model_is_the_saved_one_and_draws_the_same(method, positions, tmp_path):
    model = model_of(method, positions=positions)
    again = load_image_model(save_image_model(model, tmp_path / "model"))
    assert (again.network.config, again.vocabulary, again.settings, again.sampling) == (
        model.network.config,
        model.vocabulary,
        model.settings,
        model.sampling,
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.network.state_dict().values(), again.network.state_dict().values(), strict=True)
    )
    assert again.codec.fingerprint() == model.codec.fingerprint() and not again.network.training
    assert torch.equal(sample(again, CAPTIONS, seed=4), sample(model, CAPTIONS, seed=4))


def test_saving_twice_writes_the_same_bytes(tmp_path):
    folders = [save_image_model(model_of("diffusion"), tmp_path / name) for name in "ab"]
    names = sorted(str(p.relative_to(folders[0])) for p in folders[0].rglob("*") if p.is_file())
    assert {"model.json", "model.safetensors"} <= set(names) and all(
        (folders[0] / n).read_bytes() == (folders[1] / n).read_bytes() for n in names
    )


@pytest.mark.parametrize("method", METHODS)
def test_drawing_depends_on_seed_and_captions_and_on_nothing_else(method):
    model = model_of(method)
    torch.manual_seed(1)
    first = sample(model, CAPTIONS, seed=0)
    state = torch.get_rng_state()
    assert first.shape == (2, 3, 24, 24) and first.dtype == torch.uint8
    assert torch.equal(sample(model, tuple(CAPTIONS), seed=0), first) and torch.equal(torch.get_rng_state(), state), (
        "the global state of chance is neither read nor moved"
    )
    assert not torch.equal(sample(model, CAPTIONS, seed=1), first)
    assert torch.equal(sample(model, CAPTIONS[0]), sample(model, CAPTIONS[:1])), "one caption is a list of one"
    assert not torch.equal(sample(model, CAPTIONS, sampling=Sampling(steps=9, guidance=6.0)), first)
    assert sample(model, CAPTIONS * 3, batch_size=4).shape[0] == 6


@pytest.mark.parametrize(
    "captions, said",
    [
        ("a mauve circle left of a blue square", "unknown word 'mauve'"),
        ("", "empty caption"),
        ([], "nothing to draw"),
        (["three green triangles", "of a"], "empty caption"),
        ("a red circle left of a blue square above three green circles below two squares", "say it shorter"),
    ],
)
def test_captions_that_cannot_be_drawn_are_refused_in_one_line(captions, said):
    with pytest.raises(UserError, match=said) as caught: sample(model_of("next-token"), captions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "captions",
    [None, 3, b"a red circle", [None], ["three green triangles", 3], [["three green triangles"]], np.zeros(2)],
)
def test_what_is_no_string_is_refused_in_one_line(captions):
    with pytest.raises(UserError, match="must be a |a caption is a string|list of texts") as caught:
        sample(model_of("next-token"), captions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, None, "8"])
def test_a_batch_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match="batch"): sample(model_of("next-token"), CAPTIONS, batch_size=wrong)


def test_known_words_that_are_no_sentence_of_the_scenes_are_drawn():
    """A vocabulary knows words; what a sentence is, only the scenes know."""
    assert sample(model_of("next-token"), iter(["blue blue blue", "left"])).shape == (2, 3, 24, 24)


@pytest.mark.parametrize("size", [0, 7, 100, 1000, -1])
def test_a_truncated_file_is_refused(saved, size):
    with open(saved / "model.safetensors", "r+b") as file: file.truncate(size if size >= 0 else file.seek(0, 2) - 1)
    with pytest.raises(UserError, match="damaged.*export it again"): load_image_model(saved)


@pytest.mark.parametrize("where", [0.0, 0.5, 0.9999])
def test_a_flipped_bit_is_refused_wherever_it_is(saved, where):
    weights = bytearray((saved / "model.safetensors").read_bytes())
    weights[int(where * len(weights))] ^= 1
    (saved / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="damaged"): load_image_model(saved)


class Bomb:
    def __reduce__(self): return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["model.safetensors", "codec/codec.safetensors", "model.json"])
def test_a_pickle_is_never_opened(saved, name, monkeypatch):
    monkeypatch.chdir(saved)
    (saved / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError): load_image_model(saved)
    assert not (saved / "exploded").exists()


@pytest.mark.parametrize("kept", ["", "[]", "null", "{}", "{\"network\": 3", "\xff"])
def test_a_record_that_is_none_is_refused(saved, kept):
    (saved / "model.json").write_bytes(kept.encode("latin-1"))
    with pytest.raises(UserError): load_image_model(saved)


@pytest.mark.parametrize("key", ["network", "weights", "codec", "vocabulary", "settings", "sampling"])
def test_a_record_without_one_of_its_parts_or_with_another_in_its_place_is_refused(saved, key):
    record = json.loads((saved / "model.json").read_text())
    for broken in ({k: v for k, v in record.items() if k != key}, record | {key: 3}, record | {key: {"no": "such"}}):
        (saved / "model.json").write_text(json.dumps(broken))
        with pytest.raises(UserError) as caught: load_image_model(saved)
        assert "\n" not in str(caught.value)


def test_a_record_of_another_network_is_refused(saved):
    record = json.loads((saved / "model.json").read_text())
    for changes in (
        {"width": 32},
        {"n_layers": 2},
        {"positions": "learned"},
        {"n_heads": 3},
        {"method": "masked-token"},
    ):
        (saved / "model.json").write_text(json.dumps(record | {"network": record["network"] | changes}))
        with pytest.raises(UserError): load_image_model(saved)


def test_a_codec_of_another_training_is_refused_and_the_same_one_is_accepted(saved):
    other = fit_codec("vq-64", scene_set(200, seed=1).images)
    with pytest.raises(UserError, match="not the one"): load_image_model(saved, codec=other)
    assert load_image_model(saved, codec=CODECS["discrete"]).codec is CODECS["discrete"]
    other.save(saved / "codec")
    with pytest.raises(UserError, match="not the one"): load_image_model(saved)


def test_parts_that_do_not_fit_each_other_make_no_model():
    model = model_of("next-token")
    with pytest.raises(UserError, match="does not fit"): ImageModel(model.network, CODECS["continuous"], VOCABULARY)
    with pytest.raises(UserError, match="vocabulary"):
        ImageModel(model.network, model.codec, CaptionVocabulary.of(["a red circle"]))


def test_a_folder_without_a_model_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="no model in"): load_image_model(folder)


def test_a_save_that_stops_half_way_never_leaves_a_wrong_model(saved, monkeypatch):
    """The new weights are on disk, the new record is not: the old record does not name these weights."""
    replace = os.replace

    def full(source, target):
        if str(target).endswith("model.json"): raise OSError(28, os.strerror(28))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(UserError, match="disk is full"): save_image_model(model_of("next-token", seed=1), saved)
    with pytest.raises(UserError, match="damaged"): load_image_model(saved)
    monkeypatch.undo()
    save_image_model(model_of("next-token", seed=1), saved)
    assert torch.equal(
        load_image_model(saved).network.write.weight, model_of("next-token", seed=1).network.write.weight
    )
    assert not list(saved.glob(".*.tmp"))


def test_weights_that_are_no_numbers_are_not_exported(tmp_path):
    model = model_of("next-token")
    with torch.no_grad(): model.network.write.bias[0] = float("nan")
    with pytest.raises(UserError, match="not numbers"): save_image_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
