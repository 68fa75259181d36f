"""Every command that writes into a folder: what decides its result, and what becomes of a folder that is there.

A command or an option that is new fails here until it is in the table."""
import inspect
from dataclasses import fields, replace

import pytest
import typer.main

from dclm_nb.cli import app, main
from dclm_nb.curation.pipeline import CurationConfig, run_key
from dclm_nb.curation.warc import Page, write_warc
from dclm_nb.image import launch
from dclm_nb.image.scenes import SceneSpec, scene_set
from dclm_nb.image.webdata import write_shard

# What a folder is to a command: "key" (a folder of its own for each input, below the one named), "owned" (of one input;
# another is refused by name), "replaced" (made at every call, so that what lies there is never believed).
FOLDERS = {
    "reproduce": "replaced",
    "curate": "key",
    "curate video": "key",
    "train-image": "owned",
    "train video": "owned",
    "sample video": "replaced",
    "site": "replaced",
}

# {command: (options that decide, options that do not)}
OPTIONS = {
    "reproduce": ({"exhibit", "paper", "scale", "seeds", "force", "strict"}, {"out", "limit", "here"}),
    "curate": ({"warc", "extraction", "lists", "classifier", "faithful", "keep"}, {"out", "executor", "workers"}),
    "curate video": ({"films", "config"}, {"out", "executor", "workers"}),
    "train-image": ({"shards", "method", "size", "codec", "devices", "resolution", "pictures", "seed"}, {"out"}),
    "train video": ({"data", "stage", "start", "config", "size", "seed"}, {"out"}),
    "sample video": ({"model", "caption", "image", "seed", "steps", "guidance", "fps_id", "motion_bucket_id",
                      "elevation"}, {"out"}),
    "site": (set(), {"out"}),
}


def commands(command, name: str = "") -> dict:
    found = {name: command} if name else {}
    for word, inner in getattr(command, "commands", {}).items(): found |= commands(inner, f"{name} {word}".strip())
    return found


def test_every_command_with_a_folder_is_in_the_table():
    found = {name: {p.name for p in c.params} - {"help"} for name, c in commands(typer.main.get_command(app)).items()}
    assert {name for name, options in found.items() if "out" in options} == set(FOLDERS) == set(OPTIONS)
    for name, (deciding, free) in OPTIONS.items(): assert found[name] == deciding | free and not deciding & free, name


GIVEN = {
    "reproduce": ["table-4", "--paper", "dclm"],
    "curate": ["--warc", "none.warc.gz"],
    "curate video": ["none"],
    "train-image": ["--shards", "none"],
    "train video": ["none", "--stage", "i2v"],
    "sample video": ["none"],
    "site": [],
}


@pytest.mark.parametrize("address", ["s3://bucket/out", "https://me:p4ss@h.org/out?t=s3cr3t", "gs:/bucket/out", "hf://a/b"])
@pytest.mark.parametrize("command", GIVEN)
def test_an_address_is_no_folder(command, address, tmp_path, monkeypatch, capsys):
    assert set(GIVEN) == set(FOLDERS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended: main([*command.split(), *GIVEN[command], "--out", address])
    said = capsys.readouterr()
    assert ended.value.code == 2 and "address" in said.err and len(said.err.strip().splitlines()) == 1, said
    assert "--out" in said.err and not any(secret in said.err for secret in ("p4ss", "s3cr3t"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for i in range(2): write_shard(folder / f"{i}.tar", scene_set(3, SceneSpec(), seed=i))
    return sorted(folder.glob("*.tar"))


def test_each_option_of_train_image_is_another_training(shards, tmp_path):
    given = dict(method="next-token", size="nano", shards=shards, out=tmp_path, codec="vq-16", devices=1, resolution=24,
                 pictures=512, seed=0)
    others = dict(method="masked-token", size="micro", shards=shards[:1], codec="vq-32", devices=2, resolution=16,
                  pictures=256, seed=1)
    assert set(others) == OPTIONS["train-image"][0] == set(inspect.signature(launch._whose).parameters) - {"out"}
    whose = launch._whose(**given)
    for name, value in others.items():
        other = launch._whose(**given | {name: value})
        named, = other.differences(whose.as_dict())
        assert named == ("1.tar" if name == "shards" else name)
    assert launch._whose(**given) == whose


def test_each_option_of_curate_is_another_folder(tmp_path):
    page = lambda number: [Page("http://a.example/", str(number).encode())]
    warcs = [str(write_warc(tmp_path / f"{number}.warc.gz", page(number))) for number in range(2)]
    config = CurationConfig()
    others = [replace(config, extraction="trafilatura"), replace(config, lists="original"),
              replace(config, classifier="none"), replace(config, faithful=False), replace(config, keep_fraction=0.5)]
    assert {"extraction", "lists", "classifier", "faithful"} <= {f.name for f in fields(CurationConfig)}
    keys = [run_key(config, warcs[:1]), run_key(config, warcs), *(run_key(other, warcs[:1]) for other in others)]
    assert len(set(keys)) == len(OPTIONS["curate"][0]) + 1 and keys[0] == run_key(config, warcs[:1])
