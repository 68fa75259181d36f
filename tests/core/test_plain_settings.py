"""Settings hold Python's own numbers, whatever kind of number was given: a training ends with writing them down."""
import dataclasses
import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest
import torch

from dclm_nb.lm.checkpoints import save_model
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.data import TokenShards, write_token_folder
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.training import train

ROOMS = ("lm", "learn", "image", "video", "curation")
BY_HAND = {"OpenLMConfig", "TrainConfig", "ICLTask", "MixingSettings", "UNetSettings"}      # guarded without a door
NEEDED = {      # what has no default
    "OpenLMConfig": dict(width=16, n_layers=1, n_heads=2), "ICLTask": dict(name="a", type="multiple_choice"),
    "TrainConfig": dict(tokens=32, batch_size=2, lr=1e-3, warmup_steps=0, weight_decay=0.0),
    "FitConfig": dict(steps=10), "OptimConfig": {}, "Watch": dict(fps=2.0, threshold=1.0),
    "MotionScale": dict(middle=1.0, spread=1.0), "NoiseLevels": dict(mean=0.0, std=1.0),
    "Training": dict(steps=2, batch_size=2), "CrawlSize": dict(share=0.5, worthless=1, planted=1, foreign=1, shards=1),
    "BackboneConfig": dict(method="diffusion", width=24, n_layers=1, n_heads=3, tokens=4, caption_words=8,
                           caption_length=3, channels=3),
    "ImageTrainConfig": dict(flops=1e10), "PictureReader": dict(size=24),
    "Rule": dict(measure="motion", limit=0.5), "CaptionModel": dict(name="a", model="b"),
    "Words": dict(words=("a", "b"), length=3), "CaptionVocabulary": dict(words=("a", "b"), length=3),
}
NO_SETTINGS = {         # they hold arrays, networks or files
    "TokenScores", "BanLists", "ImageModel", "JudgeSuite", "MethodSettings", "PaperScale", "Question", "Measuring",
    "NetworkPlan", "ShardSource", "Size",
}


def settings() -> dict[str, type]:
    found = {}
    for room in ROOMS:
        package = importlib.import_module(f"dclm_nb.{room}")
        for part in pkgutil.iter_modules(package.__path__, f"dclm_nb.{room}."):
            module = importlib.import_module(part.name)
            for name in getattr(module, "__all__", ()):
                kind = getattr(module, name)
                if not (inspect.isclass(kind) and dataclasses.is_dataclass(kind)): continue
                if hasattr(kind.__init__, "holds") or name in BY_HAND: found[name] = kind
    return found


SETTINGS = settings()
KINDS = {
    "numpy": lambda x: {bool: np.bool_, int: np.int64, float: np.float64, str: np.str_}[type(x)](x),
    "arrays": np.array,
    "tensors": lambda x: np.str_(x) if isinstance(x, str) else torch.tensor(x, dtype=DTYPES[type(x)]),
}
DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}


def as_other(value: object, kind: str) -> object:
    if type(value) in (bool, int, float, str): return KINDS[kind](value)
    if type(value) is tuple: return tuple(as_other(one, kind) for one in value)
    return value


def test_the_settings_of_every_room_are_found():
    assert BY_HAND <= set(SETTINGS) and len(SETTINGS) > 40 and NO_SETTINGS & set(SETTINGS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(set(SETTINGS) - NO_SETTINGS))
def test_settings_are_the_same_with_numbers_of_other_libraries(name, kind):
    right = SETTINGS[name](**NEEDED.get(name, {}))
    plain = {field.name: getattr(right, field.name) for field in dataclasses.fields(right) if field.init}
    found = SETTINGS[name](**{key: as_other(value, kind) for key, value in plain.items()})
    assert found == right
    written = lambda one: json.dumps(dataclasses.asdict(one), sort_keys=True, default=repr)
    assert written(found) == written(right)


CONTEXTS = np.arange(90).reshape(10, 9) % 12


@pytest.mark.parametrize("number", [np.int32, np.int64, np.array, torch.tensor])
def test_a_training_with_numbers_of_numpy_has_its_result(number, tmp_path):
    tokens = write_token_folder(tmp_path / "tokens", CONTEXTS, number(12), number(0), number(1))
    assert TokenShards(tokens).vocab_size == 12 and json.loads((tokens / "manifest.json").read_text())["eot_id"] == 0
    config = OpenLMConfig(number(16), number(1), 2, vocab_size=number(12), seq_len=number(8))
    recipe = TrainConfig(tokens=number(32), batch_size=number(2), lr=np.float32(1e-3), warmup_steps=number(0),
                         weight_decay=number(0), tensorboard=np.bool_(False))
    train(config, recipe, tokens, tmp_path / "run", number(0))
    assert json.loads((tmp_path / "run/result.json").read_text())["steps"] == 2


def test_a_model_with_numbers_of_numpy_is_saved(tmp_path):
    config = OpenLMConfig(np.int64(16), 1, np.int32(2), vocab_size=12, seq_len=8)
    save_model(config, OpenLM(config, np.uint32(0)).state_dict(), tmp_path / "model")
    assert any((tmp_path / "model").iterdir())
