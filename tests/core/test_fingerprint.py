"""Which edits make another run: by definition, across modules, through every way of importing."""
import importlib
import sys
import time
from functools import partial, wraps
from pathlib import Path

import pytest

from dclm_nb.core import fingerprint
from dclm_nb.core.doors import door
from dclm_nb.core.errors import UserError
from dclm_nb.core.fingerprint import code_of, normalised
from dclm_nb.core.identity import canonical, hash_of

FILES = {
    "__init__.py": "",
    "model.py": '''"Models."
from dataclasses import dataclass
WIDTH = 4
TABLE = {}
TABLE["a"] = 1
@dataclass
class Config:
    "A config."
    layers: int = 2  # few
class Model:
    def __init__(self, config): self.config = config
    def forward(self, x):
        """Forward."""
        return x * WIDTH * self.scaled()
    def scaled(self): return TABLE["a"]
def unused(): return 0
''',
    "steps.py": '''from toypkg import model as m
from .model import Config
REGISTRY = {}
def register(f):
    REGISTRY[f.__name__] = f
    return f
@register
def sgd(x): return x - 1
@register
def adam(x): return x - 2
def make(): return m.Model(Config())
def draw(run): return "picture"
''',
    "study.py": '''"A study."
import toypkg.steps
from toypkg.steps import make
def train(config, seed, folder):
    "Train."
    from toypkg.late import late
    model = make()
    return {"x": toypkg.steps.register(late(model.forward(1)))}
def frame(runs): return [r for r in runs]
''',
    "late.py": "from toypkg.model import *\ndef late(x): return x\n",
}
EDITS = [  # file, old, new, does it count?
    ("model.py", '"Models."', '"Better models."', False),
    ("model.py", "# few", "# still few", False),
    ("model.py", '"""Forward."""', '"""Forwards."""', False),
    ("model.py", "def unused(): return 0", "def unused(): return 0\n\n\n", False),
    ("steps.py", 'return "picture"', 'return "plot"', False),
    ("study.py", "return [r for r in runs]", "return list(runs)", False),
    ("study.py", '"Train."', '"Train it."', False),
    ("model.py", "x * WIDTH * self.scaled()", "(x\n          * WIDTH * self.scaled())", False),
    ("model.py", "WIDTH = 4", "WIDTH = 5", True),
    ("model.py", "layers: int = 2", "layers: int = 3", True),
    ("model.py", 'TABLE["a"] = 1', 'TABLE["a"] = 2', True),
    ("model.py", "return x * WIDTH", "return x + WIDTH", True),
    ("model.py", 'scaled(self): return TABLE', 'scaled(self): return 2 * TABLE', True),
    ("steps.py", "x - 2", "x - 3", True),
    ("steps.py", "m.Model(Config())", "m.Model(None)", True),
    ("late.py", "late(x): return x", "late(x): return -x", True),
    ("study.py", "make()\n", "make() or None\n", True),
]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `toypkg` that counts as this library; `package(file, old, new)` writes it with one edit and gives the
    code of its training."""
    monkeypatch.setattr(fingerprint, "PACKAGE", "toypkg")
    monkeypatch.syspath_prepend(tmp_path)
    # an edit of the same size in the same second would be read from the old byte code
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "toypkg"
    folder.mkdir()
    def write(file=None, old="", new=""):
        for name, text in FILES.items(): (folder / name).write_text(text.replace(old, new) if name == file else text)
        fingerprint._parsed.cache_clear()
        for name in [n for n in sys.modules if n.split(".")[0] == "toypkg"]: del sys.modules[name]
        importlib.invalidate_caches()
        return code_of(importlib.import_module("toypkg.study").train)
    yield write
    for name in [n for n in sys.modules if n.split(".")[0] == "toypkg"]: del sys.modules[name]


@pytest.mark.parametrize("file, old, new, counts", EDITS, ids=[f"{f}:{o[:20]}" for f, o, _, _ in EDITS])
def test_edits(package, file, old, new, counts):
    assert old in FILES[file]
    before, after = package(), package(file, old, new)
    assert (before != after) == counts


def test_what_is_reached_has_readable_names(package):
    code = package()
    assert {
        "toypkg.study.train",
        "toypkg.steps.make",
        "toypkg.steps.register",
        "toypkg.model.Model",
        "toypkg.model.WIDTH",
        "toypkg.late.late",
    } <= set(code)
    assert "toypkg.steps.draw" not in code and "toypkg.study.frame" not in code


def test_a_module_passed_around_counts_as_a_whole(package):
    before = package("late.py", "return x", "import toypkg.steps as s; return getattr(s, 'draw')")
    assert "toypkg.steps.draw" in before


def test_plumbing_does_not_count():
    def uses(config, seed, folder):
        from dclm_nb.core.files import atomic_write
        from dclm_nb.core.store import RunStore
        from dclm_nb.core.seeds import seed_for
        atomic_write(folder / "x", str(seed_for(seed)))
        return {"store": RunStore.__name__}
    names = set(code_of(uses))
    assert "dclm_nb.core.seeds.seed_for" in names and not any("core.files" in n or "core.store" in n for n in names)


def test_a_door_is_the_function_behind_it():
    from dclm_nb.core.statistics import aa_test
    code = code_of(aa_test)
    assert code == code_of(aa_test.__wrapped__) and "dclm_nb.core.statistics.aa_test" in code

    @door
    def typed(config: dict, seed: int, folder: Path): return {"made": _pong(seed)}
    around = wraps(typed)(lambda *given: typed(*given) | {"more": 1})
    assert any(name.endswith("_ping") for name in code_of(typed))
    with pytest.raises(UserError, match="lambda or holds variables"): code_of(around)


def test_closures_lambdas_and_partials_are_refused():
    rate = 0.1
    def closure(config, seed, folder): return {"rate": rate}
    for bad in (closure, lambda config, seed, folder: {}, partial(hash_of, "x"), print, "text"):
        with pytest.raises(UserError): code_of(bad)


def test_recursion_and_cycles_end():
    def f(config, seed, folder): return _ping(3)
    assert any(name.endswith("_pong") for name in code_of(f))

def _ping(n): return n and _pong(n - 1)
def _pong(n): return n and _ping(n - 1)


@pytest.mark.parametrize(
    "old, new",
    [("x * WIDTH", "x + WIDTH"), ("WIDTH = 4", "WIDTH = 40"), ("layers: int = 2", "layers: int = 2; more: int = 1")],
)
def test_a_module_edited_behind_the_process_is_refused_until_it_is_reloaded(package, tmp_path, old, new):
    package()
    train = sys.modules["toypkg.study"].train
    (tmp_path / "toypkg" / "model.py").write_text(FILES["model.py"].replace(old, new) + "\n")
    # fields of a class body are not seen: functions, methods and constants are
    if "layers" in old: assert code_of(train)
    else:
        with pytest.raises(UserError, match="toypkg.model was edited"): code_of(train)
        importlib.reload(sys.modules["toypkg.model"])
        assert code_of(train)


def test_cheap_enough_to_ask_for_every_run():
    from dclm_nb.core import sources, statistics
    fingerprint._parsed.cache_clear(), fingerprint._text.cache_clear()
    times = []
    for _ in range(5):
        start = time.process_time()
        code_of(statistics.aa_test)
        times.append(time.process_time() - start)
    assert min(times) < 0.005 and times[0] < 0.25 and sources, "first asks parse; later ones only look"


def test_canonical_text():
    import numpy as np
    assert canonical({"b": 1, "a": [True, None, 1.5, "é"]}) == '{"a":[true,null,1.5,"\\u00e9"],"b":1}'
    assert canonical({"n": np.int64(3), "x": np.float32(0.5)}) == '{"n":3,"x":0.5}'
    for bad, field in (
        ({"a": {"b": [1, {2}]}}, "a.b[1]"),
        ({"lr": float("inf")}, "lr"),
        ({"m": {1: 2}}, "m"),
        ({"p": Path("x")}, "p"),
        ({"a": np.zeros(2)}, "a"),
    ):
        with pytest.raises(UserError) as caught: canonical(bad)
        assert f"config field {field} " in str(caught.value)


def test_normalised_keeps_meaning():
    assert normalised("class A:\n  'doc'\n") == "class A:\n    pass"
    assert normalised("x = 'not a docstring'") != normalised("x = 'another'")
    assert normalised("def f():\n  return 'doc'") == "def f():\n    return 'doc'"
