"""One folder belongs to one training: another input is refused by its name, an equal one continues, and what was
damaged in between is made again or named."""
import json
import shutil

import pytest
import torch
from damages import DAMAGES, harm

import dclm_nb.image.launch as launch
from dclm_nb.core.errors import UserError
from dclm_nb.image.checkpoints import load_image_model
from dclm_nb.image.codecs import fit_codec
from dclm_nb.image.scenes import SceneSpec, scene_set
from dclm_nb.image.webdata import write_shard

SETTINGS = dict(method="next-token", size="nano", codec="vq-16", devices=1, resolution=16, pictures=256, seed=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for i, n in enumerate((20, 12)): write_shard(folder / f"{i:05d}.tar", scene_set(n, SceneSpec(), seed=i))
    return folder


@pytest.fixture(scope="module")
def kept(shards, tmp_path_factory):
    "A folder in which a model was trained."
    out = tmp_path_factory.mktemp("kept") / "out"
    launch.train_image(shards=str(shards), out=out, **SETTINGS)
    return out


def copied(folder, to): return shutil.copytree(folder, to)


def another_codec(shards, tmp_path, name="vq-16", seed=1):
    fit_codec(name, scene_set(30, SceneSpec(), seed=seed).images).save(tmp_path / "codec")
    return dict(codec=str(tmp_path / "codec"))


def another_shard(shards, tmp_path):
    copied(shards, tmp_path / "shards")
    write_shard(tmp_path / "shards" / "00001.tar", scene_set(12, SceneSpec(), seed=7))
    return dict(shards=str(tmp_path / "shards"))


def a_shard_more(shards, tmp_path):
    copied(shards, tmp_path / "shards")
    write_shard(tmp_path / "shards" / "00002.tar", scene_set(5, SceneSpec(), seed=7))
    return dict(shards=str(tmp_path / "shards"))


OTHERS = {
    "codec": lambda *_: dict(codec="vq-32"),
    "a codec's folder": another_codec,
    "method": lambda *_: dict(method="masked-token"),
    "size": lambda *_: dict(size="micro"),
    "resolution": lambda *_: dict(resolution=24),
    "pictures": lambda *_: dict(pictures=512),
    "seed": lambda *_: dict(seed=1),
    "devices": lambda *_: dict(devices=2),
    "00001.tar": another_shard,
    "00002.tar": a_shard_more,
    "00000.tar": lambda shards, _: dict(shards=str(shards / "00001.tar")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_input_is_refused_by_its_name(shards, kept, tmp_path, what):
    given = SETTINGS | dict(shards=str(shards)) | OTHERS[what](shards, tmp_path)
    before = (kept / "model" / "model.safetensors").read_bytes()
    named = "codec" if "codec" in what else what
    with pytest.raises(UserError, match=rf"the folder out holds another training \(different .*{named}.*; choose"):
        launch.train_image(out=kept, **given)
    assert (kept / "model" / "model.safetensors").read_bytes() == before


def test_the_same_input_is_the_same_training_wherever_it_lies(shards, kept, tmp_path, monkeypatch):
    given = SETTINGS | dict(shards=str(copied(shards, tmp_path / "moved")))
    monkeypatch.setattr(launch, "train", None)                      # nothing is trained again
    assert launch.train_image(out=kept, **given) == kept / "model"


@pytest.mark.parametrize("other", ["model", "codec", "00001.tar", "00002.tar"])
def test_a_folder_of_an_earlier_version_is_not_taken_for_another(shards, kept, tmp_path, other):
    "It says neither of what it is made nor has it sums."
    out = copied(kept, tmp_path / "out")
    for path in (out / "run.json", out / "latents" / "_shards.json", *out.rglob(".*.sum")): path.unlink()
    if other != "model": (out / "model" / "model.json").unlink()
    more, said = {}, "latents of another shard, 00002.tar"
    if other == "model": said = "holds a model and does not say of which training"
    elif other == "codec": more, said = another_codec(shards, tmp_path, "vq-32"), "holds the codec vq-16"
    elif other == "00001.tar": more, said = another_shard(shards, tmp_path), "made of another 00001.tar"
    else: (out / "latents" / "00002.npy").write_bytes((out / "latents" / "00001.npy").read_bytes())
    with pytest.raises(UserError, match=rf"{said}.*choose another folder"):
        launch.train_image(out=out, **(SETTINGS | dict(shards=str(shards)) | more))


def test_a_training_of_an_earlier_version_goes_on(shards, kept, tmp_path):
    out = copied(kept, tmp_path / "out")
    for path in (out / "run.json", out / "latents" / "_shards.json", *out.rglob(".*.sum")): path.unlink()
    shutil.rmtree(out / "model")
    for path in (out / "latents").glob("0*.json"):                  # as it was written: the counts alone
        path.write_text(json.dumps(json.loads(path.read_text())["counts"]))
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    assert (out / "model" / "model.safetensors").read_bytes() == (kept / "model" / "model.safetensors").read_bytes()


FILES = ["vocabulary.json", "codec/codec.json", "codec/codec.safetensors", "latents/00000.npy", "latents/00001.json",
         "latents/_shards.json", "training/mark_{last}.safetensors"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_what_was_damaged_before_the_end_is_made_again(shards, kept, tmp_path, monkeypatch, file, how):
    out = copied(kept, tmp_path / "out")
    marks = sorted((out / "training").glob("mark_*"))
    for path in (out / "model" / "model.json", *(marks if "training" not in file else ())): path.unlink()
    harm(out / file.format(last=len(marks) - 1), how)
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    for name in ("vocabulary.json", "codec/codec.json", "latents/00000.npy", "model/model.safetensors"):
        assert (out / name).read_bytes() == (kept / name).read_bytes()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["model/model.json", "model/model.safetensors", "model/codec/codec.json"])
def test_a_damaged_model_is_written_again_from_its_last_weights(shards, kept, tmp_path, monkeypatch, file, how):
    out = copied(kept, tmp_path / "out")
    harm(out / file, how)
    monkeypatch.setattr(launch, "train", None)
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    mine, theirs = (load_image_model(folder / "model").network.state_dict() for folder in (out, kept))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("how", ["cut", "zeros", "empty", "foreign"])
@pytest.mark.parametrize("file", ["run.json", "latents/_set.json"])
def test_a_damaged_note_of_whose_the_folder_is_is_one_line(shards, kept, tmp_path, file, how):
    out = copied(kept, tmp_path / "out")
    (out / "model" / "model.json").unlink()
    for path in (out / "training").glob("mark_*"): path.unlink()
    harm(out / file, how)
    with pytest.raises(UserError, match=f"{file.split('/')[-1]} .*remove the folder and start again"):
        launch.train_image(out=out, shards=str(shards), **SETTINGS)


def _flip(out, other): harm(out / "model/model.safetensors", "one bit")
def _another_model(out, other): shutil.rmtree(out / "model"), shutil.copytree(other / "model", out / "model")
def _another_vocabulary(out, other): shutil.copy(other / "vocabulary.json", out / "vocabulary.json")
def _another_codec(out, other): shutil.rmtree(out / "codec"), shutil.copytree(other / "codec", out / "codec")
def _edited(out, other):
    told = (out / "model/model.json").read_text()
    (out / "model/model.json").write_text(told.replace('"guidance": ', '"guidance": 1'))
def _a_file_more(out, other): (out / "model/codec/more.json").write_text("{}")


@pytest.fixture(scope="module")
def other(shards, tmp_path_factory):
    "The same training with another seed, and with other captions."
    out = tmp_path_factory.mktemp("other") / "out"
    launch.train_image(shards=str(shards / "00001.tar"), out=out, **SETTINGS | dict(seed=1))
    return out


@pytest.mark.parametrize("hurt, sums", [
    (_flip, "deleted"), (_another_model, "there"), (_another_vocabulary, "deleted"), (_another_codec, "there"),
    (_edited, "deleted"), (_a_file_more, "there")])
def test_a_finished_training_knows_its_own_files(shards, kept, other, tmp_path, monkeypatch, capsys, hurt, sums):
    out = copied(kept, tmp_path / "out")
    hurt(out, other)
    if sums == "deleted":
        for path in out.rglob(".*.sum"): path.unlink()
    monkeypatch.setattr(launch, "train", None)                      # the last weights are there
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    assert "it is made again" in capsys.readouterr().err
    def own(folder):
        found = (path for where in ("model/*", "model/codec/*", "codec/*") for path in folder.glob(where))
        return {path.relative_to(folder): path.read_bytes() for path in found if path.is_file() and path.name[0] != "."}
    assert own(out) == own(kept)
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    assert "again" not in capsys.readouterr().err, "once is enough"


def test_a_training_that_an_earlier_version_finished_is_taken_with_a_line(shards, kept, tmp_path, monkeypatch, capsys):
    out = copied(kept, tmp_path / "out")
    (out / ".parts.json").unlink()
    monkeypatch.setattr(launch, "train", None)
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    assert "cannot be checked" in capsys.readouterr().err


def test_who_dies_before_the_list_has_not_finished(shards, kept, tmp_path, monkeypatch):
    out = copied(kept, tmp_path / "out")
    (out / ".parts.json").unlink(), (out / "training" / "run.json").write_text("{}")
    harm(out / "model/model.json", "one bit")
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    assert (out / ".parts.json").is_file() and not (out / "training" / "run.json").exists()
    assert (out / "model/model.json").read_bytes() == (kept / "model/model.json").read_bytes()


@pytest.mark.parametrize("moment", ["save_image_model", "note_parts", "tidy"])
@pytest.mark.parametrize("is_done", [False, True])
def test_who_dies_at_a_moment_of_the_end_ends_as_if_nothing_had_been(
    shards, kept, tmp_path, monkeypatch, moment, is_done
):
    "Before a step of the end, and after it."
    out, real = tmp_path / "out", getattr(launch, moment)

    def dying(*what):
        if is_done: real(*what)
        raise KeyboardInterrupt
    with monkeypatch.context() as context:
        context.setattr(launch, moment, dying)
        with pytest.raises(KeyboardInterrupt): launch.train_image(out=out, shards=str(shards), **SETTINGS)
    launch.train_image(out=out, shards=str(shards), **SETTINGS)
    # the seconds of a training stand in two, and the last shards that anybody named in the third
    moving = ("run.json", "losses.csv", "_shards.json")
    files = lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
        if path.is_file() and path.name not in moving and path.suffix not in (".sum", ".lock")
    }
    assert files(out) == files(kept)


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_weights_of_a_training_are_trained_again(shards, tmp_path_factory, how, early={}):
    "The model is whole and is not what would tell: only training makes such a mark."
    given = SETTINGS | dict(shards=str(shards), pictures=512)
    if not early:
        early["out"] = tmp_path_factory.mktemp("early") / "out"
        launch.train_image(out=early["out"], **given)
    out, mark = copied(early["out"], tmp_path_factory.mktemp("again") / "out"), "training/mark_0.safetensors"
    harm(out / mark, how)
    launch.train_image(out=out, **given)
    for name in (mark, "model/model.safetensors", ".parts.json"):
        assert (out / name).read_bytes() == (early["out"] / name).read_bytes()
