"""A file or folder is one of this machine: an address, however it is spelled, is refused by every function that takes
a path, and no folder `s3:` is made."""
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dclm_nb
from dclm_nb.core.addresses import is_address
from dclm_nb.core.doors import _hint, held
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import atomic_write
from dclm_nb.core.given import as_folder, as_path, briefly
from dclm_nb.core.paths import data_dir, home

ADDRESSES = ["s3://bucket/out", "https://me:p4ss@h.org/out?t=s3cr3t", "HTTPS://h.org/x", "https:/h.org/x", "hf://a/b",
             "gs://b/x", "abfs://c@account/x", "git+ssh://me@h.org/x", "file:///x", r"https:\\/\\/h.org\\/x",
             "https%3A%2F%2Fh.org%2Fx", " s3://bucket/out"]
# a list of them may hold addresses: they are fetched
FETCHED = {("curation.pipeline", "curate", "warcs")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_neither_path_nor_folder(address, monkeypatch):
    assert is_address(address) and is_address(Path(address))
    for given in (address, Path(address)):
        for take in (as_path, as_folder):
            with pytest.raises(UserError, match="out must be .* on this machine, not the address") as said:
                take("out", given)
            assert "p4ss" not in str(said.value) and "s3cr3t" not in str(said.value)
    monkeypatch.setenv("DCLM_NB_HOME", address)
    for place in (home, data_dir):
        with pytest.raises(UserError, match="DCLM_NB_HOME"): place()


PATHS = ["a/b", "/a/b", "C:/a", "C:", "a:b", "a?b=c", "./s3:/x", "x.y/z", "~/a", "a@b/c", "50%/x"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_stays_one(path): assert not is_address(path) and as_path("it", path) == Path(path)


def doors_with_paths():
    "(module, function, parameter) of every door that takes a path."
    for found in pkgutil.walk_packages(dclm_nb.__path__, "dclm_nb."):
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", []):
            public = getattr(module, name)
            call = public if inspect.isfunction(public) else getattr(public, "__init__", None)
            if not hasattr(call, "holds"): continue
            for parameter, told in inspect.unwrap(call).__annotations__.items():
                if "Path" in str(told) and parameter != "return":
                    yield found.name.removeprefix("dclm_nb."), name, parameter, call


def test_every_door_refuses_it():
    tried = 0
    for module, name, parameter, call in doors_with_paths():
        if (module, name, parameter) in FETCHED: continue
        known = vars(inspect.getmodule(inspect.unwrap(call)))
        hint = _hint(inspect.unwrap(call).__annotations__[parameter], known)
        with pytest.raises(UserError, match="not the address|must be a list") as said:
            held(parameter, "s3://me:p4ss@bucket/x?s3cr3t", hint)
        assert "p4ss" not in str(said.value), (module, name)
        tried += 1
    assert tried > 60


def savers() -> dict:
    "Functions that write, and have no door."
    from dclm_nb.drawing.film_files import write_film_files
    from dclm_nb.exhibits.runner import reproduce
    from dclm_nb.image.codecs import fit_codec
    from dclm_nb.image.latent_shards import encode_shards
    from dclm_nb.image.training import train as train_image
    from dclm_nb.lm.config import OpenLMConfig
    from dclm_nb.lm.data import write_token_folder
    from dclm_nb.lm.model import OpenLM
    from dclm_nb.lm.training import TrainConfig, train as train_lm
    from dclm_nb.papers.catalogue import get_exhibit
    from dclm_nb.lm.checkpoints import save_model
    from dclm_nb.site.build import build_site
    from dclm_nb.video.clips import write_clips
    config = OpenLMConfig(16, 1, 2, vocab_size=12, seq_len=8)
    noise = np.random.default_rng(0).integers(0, 255, (64, 3, 16, 16), np.uint8)
    return {
        "codec": lambda to: fit_codec("pca-4", torch.from_numpy(noise)).save(to),
        "tokens": lambda to: write_token_folder(to, np.zeros((2, 4), int), 12),
        "lm": lambda to: save_model(config, OpenLM(config).state_dict(), to),
        "train lm": lambda to: train_lm(config, TrainConfig(64, 2, 1e-3, 1, 0.1), "tokens", to),
        "train image": lambda to: train_image(None, None, None, to),
        "latents": lambda to: encode_shards([], None, None, None, to),
        "site": lambda to: build_site(to),
        "film": lambda to: write_film_files(noise[:2], to, 8),
        "clips": lambda to: write_clips("film.mp4", [], to),
        "reproduce": lambda to: reproduce(get_exhibit("table-1", "dclm"), out_dir=to),
        "atomic": lambda to: atomic_write(to, b"x"),
    }


@pytest.mark.parametrize("name", savers())
def test_what_writes_refuses_it(name):
    for address in ("s3://bucket/out", "https://me:p4ss@h.org/out?t=s3cr3t"):
        with pytest.raises(UserError) as said: savers()[name](address)
        assert "on this machine" in str(said.value) or name == "atomic"
        assert "p4ss" not in str(said.value) and "s3cr3t" not in str(said.value)


def test_an_address_in_a_line_that_is_cut_short_shows_no_login():
    for value in ("https://me:p4ssp4ssp4ssp4ss@h.org/a/long/way/x?t=s3cr3t", Path("https:/me:p4ss@h.org/a/long/way/x")):
        for said in map(briefly, (value, [value], {"x": value})): assert "p4ss" not in said and "s3cr3t" not in said
