"""What a version stands for: which edits the check names, what may move, bumping, and the real lock of this
checkout."""
import importlib
import json
import subprocess
import sys

import pytest
import yaml

from dclm_nb.core import fingerprint, runs_lock
from dclm_nb.core.errors import UserError
from dclm_nb.core.identity import Identity, claim
from dclm_nb.core.runs import declared, run
from dclm_nb.core.runs_lock import Lock, bump, check, find_runs, locked_again
from dclm_nb.core.store import Recipe, RunStore

STUDY = '''"A study."
from dclm_nb.core.runs import run
from toylib.steps import step
@run("toy/walk", version=1, libraries=("numpy",))
def walk(config, seed, folder):
    "Walk."
    return {"x": step(config["x"])}

@run("toy/rest", version=3)
def rest(config, seed, folder): return {"x": 0}
'''
STEPS = "RATE = 2\ndef step(x): return x + RATE\ndef unused(x): return x\n"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package `toylib` that counts as this library; `library.write(...)` writes its files, `library.root` is its
    checkout."""
    monkeypatch.setattr(fingerprint, "PACKAGE", "toylib")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    class Library:
        root = tmp_path
        def write(self, **files):
            folder = tmp_path / "toylib"
            folder.mkdir(exist_ok=True)
            for name, text in {"__init__": "", **files}.items():
                (folder / f"{name}.py").unlink(missing_ok=True)
                if text is not None: (folder / f"{name}.py").write_text(text)
            fingerprint._parsed.cache_clear()
            for name in [n for n in sys.modules if n.split(".")[0] == "toylib"]: del sys.modules[name]
            importlib.invalidate_caches()
            return find_runs()
        def lock(self):
            lock, found = Lock({}, {}), find_runs()
            for name in found: lock = locked_again(lock, found, name, "")
            lock.write(tmp_path)
            return lock
        def problems(self): return [str(finding) for finding in check(tmp_path)]
    yield Library()
    for name in [n for n in sys.modules if n.split(".")[0] == "toylib"]: del sys.modules[name]


def test_same_version_other_code_is_named_by_definition(library):
    library.write(study=STUDY, steps=STEPS)
    library.lock()
    assert library.problems() == []
    library.write(study=STUDY, steps=STEPS.replace("RATE = 2", "RATE = 3"))
    assert library.problems() == ["toy/walk: same version (1), other code (steps.RATE changed)"]
    library.write(study=STUDY, steps=STEPS.replace("x + RATE", "x + RATE + more()") + "def more(): return 0\n")
    assert library.problems() == ["toy/walk: same version (1), other code (steps.more new, steps.step changed)"]
    library.write(study=STUDY, steps=STEPS.replace("x + RATE", "x + 2"))
    assert library.problems() == ["toy/walk: same version (1), other code (steps.step changed, steps.RATE gone)"]


@pytest.mark.parametrize(
    "study, steps",
    [
        (STUDY.replace('"Walk."', '"It walks."'), STEPS),
        (STUDY, STEPS.replace("unused(x): return x", "unused(x): return -x")),
        (STUDY, STEPS + "# a comment\n"),
        (STUDY.replace(', libraries=("numpy",)', ""), STEPS),
    ],
    ids=["docstring", "what it does not reach", "comment", "its libraries"],
)
def test_harmless_edits_are_no_finding(library, study, steps):
    library.write(study=STUDY, steps=STEPS)
    library.lock()
    library.write(study=study, steps=steps)
    assert library.problems() == []


def test_moving_is_free_for_lock_and_key(library):
    library.write(study=STUDY, steps=STEPS)
    key = Recipe.of(importlib.import_module("toylib.study").walk, {"x": 1}, 5).key
    library.lock()
    library.write(study=None, steps=None, walks=STUDY.replace("toylib.steps", "toylib.strides"), strides=STEPS)
    assert library.problems() == []
    assert Recipe.of(importlib.import_module("toylib.walks").walk, {"x": 1}, 5).key == key


def test_renaming_the_function_or_its_helpers_keeps_the_key(library):
    library.write(study=STUDY, steps=STEPS)
    before = Recipe.of(importlib.import_module("toylib.study").walk, {"x": 1}).key
    library.write(
        study=STUDY.replace("def walk", "def stroll").replace("step", "stride"),
        strides=STEPS.replace("def step", "def stride"),
    )
    assert Recipe.of(importlib.import_module("toylib.study").stroll, {"x": 1}).key == before


def test_new_unlocked_and_declared_versions(library):
    library.write(study=STUDY, steps=STEPS)
    assert library.problems() == ["toy/rest: not in runs.lock yet", "toy/walk: not in runs.lock yet"]
    library.lock()
    library.write(study=STUDY.replace("version=3", "version=4"), steps=STEPS)
    assert library.problems() == ["toy/rest: version 4 is declared, version 3 is locked"]
    assert bump("toy/rest", "a longer rest", library.root).declared.version == 4 and library.problems() == []
    library.write(study=STUDY.replace("version=3", "version=2"), steps=STEPS)
    with pytest.raises(UserError, match="was version 4 and is declared as 2"): bump("toy/rest", root=library.root)


def test_bump_writes_the_notebook_and_the_module(library):
    notebook = library.root / "nbs" / "study.ipynb"
    notebook.parent.mkdir()
    cell = {"cell_type": "code", "id": "walk", "metadata": {}, "source": STUDY.splitlines(keepends=True)}
    notebook.write_text(json.dumps({"cells": [cell]}))
    library.write(study="# AUTOGENERATED! DO NOT EDIT! File to edit: ../nbs/study.ipynb.\n" + STUDY, steps=STEPS)
    library.lock()
    library.write(steps=STEPS.replace("RATE = 2", "RATE = 3"))
    bump("toy/walk", "steps are longer", library.root)
    fingerprint._parsed.cache_clear()
    assert find_runs()["toy/walk"].declared.version == 2 and library.problems() == []
    assert (
        '@run(\\"toy/walk\\", version=2' in notebook.read_text()
        and '@run(\\"toy/rest\\", version=3' in notebook.read_text()
    )
    assert yaml.safe_load((library.root / "runs.lock").read_text())["toy/walk"]["history"] == [
        "version 2: steps are longer"
    ]
    with pytest.raises(UserError, match="did you mean 'toy/walk'"): bump("toy/wakl", root=library.root)


def test_while_one_run_is_unsettled_its_definitions_can_still_be_named(library):
    both = STUDY.replace('return {"x": 0}', 'return {"x": step(0)}')
    library.write(study=both, steps=STEPS)
    library.lock()
    library.write(study=both, steps=STEPS.replace("RATE = 2", "RATE = 3"))
    assert len(library.problems()) == 2
    bump("toy/walk", root=library.root)
    assert library.problems() == ["toy/rest: same version (3), other code (steps.RATE changed)"]
    bump("toy/rest", root=library.root)
    assert library.problems() == []


def test_one_edit_is_one_line_of_the_definitions(library):
    library.write(study=STUDY, steps=STEPS)
    library.lock()
    before = (library.root / "runs.definitions").read_text().splitlines()
    library.write(study=STUDY, steps=STEPS.replace("RATE = 2", "RATE = 3"))
    bump("toy/walk", root=library.root)
    after = (library.root / "runs.definitions").read_text().splitlines()
    assert (
        len(before) == len(after)
        and sum(a != b for a, b in zip(before, after)) == 1
        and sorted(l.split()[-1] for l in after[1:]) == [l.split()[-1] for l in after[1:]]
    )


def test_two_branches_that_bump_different_runs_merge_by_themselves(library, tmp_path):
    library.write(study=STUDY.replace("toy/rest", "toy/wait"), steps=STEPS)
    library.lock()
    lock, sides = tmp_path / "runs.lock", {"base": (tmp_path / "runs.lock").read_text()}
    for name, reason in (("toy/wait", "a longer wait"), ("toy/walk", "longer steps")):
        library.write(study=STUDY.replace("toy/rest", "toy/wait"), steps=STEPS)
        lock.write_text(sides["base"])
        bump(name, reason, tmp_path)
        sides[name] = lock.read_text()
    for name, text in sides.items(): (tmp_path / name.replace("/", "-")).write_text(text)
    merged = subprocess.run(
        ["git", "merge-file", "-p", "toy-wait", "base", "toy-walk"], cwd=tmp_path, capture_output=True, text=True
    )
    assert merged.returncode == 0
    assert {name: entry["version"] for name, entry in yaml.safe_load(merged.stdout).items()} == {
        "toy/wait": 4,
        "toy/walk": 2,
    }


def test_definitions_of_two_branches_side_by_side_can_be_read_and_are_put_right(library):
    "What git's union merge leaves where both have changed one definition."
    library.write(study=STUDY, steps=STEPS)
    library.lock()
    path = library.root / "runs.definitions"
    line = next(text for text in path.read_text().splitlines() if text.endswith("steps.RATE"))
    path.write_text(path.read_text() + "00000000 steps.RATE\n")
    assert library.problems() == []
    bump("toy/rest", root=library.root)
    assert [text for text in path.read_text().splitlines() if text.endswith("steps.RATE")] == [line]


def test_a_name_is_declared_once_and_written_out(library):
    with pytest.raises(UserError, match="toy/rest is declared twice, by toylib.other.*toylib.study"):
        library.write(study=STUDY, other=STUDY.replace("toy/walk", "toy/run"), steps=STEPS)
    with pytest.raises(UserError, match="must be written out"):
        library.write(study=STUDY.replace("version=3", "version=VERSION"), other=None, steps=STEPS)


def test_a_cut_lock_is_one_line(library):
    library.write(study=STUDY, steps=STEPS)
    for text in ("<<<<<<< HEAD\n", "toy/walk: 3\n", "- a\n"):
        (library.root / "runs.lock").write_text(text)
        with pytest.raises(UserError, match="restore them with git checkout"): check(library.root)


def test_the_lock_of_this_checkout_agrees_with_its_code():
    assert [str(f) for f in check()] == []


def test_every_run_function_of_this_library_is_declared():
    "A run function has the signature of one, and says so in its docstring."
    import ast
    from pathlib import Path
    functions = {(run.module, run.function) for run in find_runs().values()}
    package = Path(runs_lock.__file__).parents[1]
    for path in package.rglob("*.py"):
        if path.name == "smoke.py": continue                    # procedures that show runs the same are none
        module = ".".join(["dclm_nb", *path.relative_to(package).with_suffix("").parts])
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (ast.get_docstring(node) or "").startswith("Run: "):
                assert (module, node.name) in functions


# The key and the manifest

@run("toy/double", version=1, libraries=("numpy", "no-such-package"))
def double(config, seed, folder): return {"x": 2 * config["x"]}

@run("toy/double", version=2, libraries=("numpy", "no-such-package"))
def double_again(config, seed, folder): return {"x": 2 * config["x"]}


def test_name_and_version_make_the_key_and_not_the_code():
    keys = [Recipe.of(fn, {"x": 1}).key for fn in (double, double_again)]
    assert keys[0] != keys[1] and keys[0] == Identity.of("toy/double", 1, {"x": 1}).key
    assert declared(double).version == 1 and double({"x": 2}, 0, None) == {"x": 4}


def test_libraries_are_in_the_manifest_and_in_why_and_count_when_strict(tmp_path, monkeypatch):
    from dclm_nb.core import runs
    store = RunStore(tmp_path)
    made = store.run(double, {"x": 1})
    assert (
        made.manifest["libraries"]["no-such-package"] == "not installed"
        and made.manifest["name"] == "toy/double"
        and made.manifest["version"] == 1
    )
    assert "test_runs_lock.double" in " ".join(made.manifest["code"])
    monkeypatch.setattr(runs, "_version", lambda name: "99.0")
    assert store.run(double, {"x": 1}).key == made.key
    lines = store.why(double, {"x": 1, "y": 2})
    assert (
        f"version of numpy: {made.manifest['libraries']['numpy']} -> 99.0 (decides results; part of the key only if "
        "strict)"
        in lines
        and "config.y: (absent) -> 2" in lines
    )
    monkeypatch.setenv("DCLM_NB_STRICT", "1")
    strict = store.run(double, {"x": 1})
    assert strict.key != made.key and store.run(double, {"x": 1}).key == strict.key
    assert any(line.startswith("version: 1 -> 2") for line in store.why(double_again, {"x": 1}))


# Whose folder is it?

def test_a_folder_is_claimed_once(tmp_path):
    mine = Identity.of("toy/training", 1, {"model": {"width": 8}, "train": {"lr": 0.1}}, {"tokens": "aa"}, 3)
    for _ in range(2): claim(tmp_path / "run.json", mine)
    others = {
        "train.lr": Identity.of("toy/training", 1, {"model": {"width": 8}, "train": {"lr": 0.2}}, {"tokens": "aa"}, 3),
        "tokens, seed": Identity.of(
            "toy/training", 1, {"model": {"width": 8}, "train": {"lr": 0.1}}, {"tokens": "bb"}, 4
        ),
    }
    for what, other in others.items():
        with pytest.raises(UserError, match=rf"holds another run \(different {what}\); choose an empty folder"):
            claim(tmp_path / "run.json", other)
    (tmp_path / "run.json").write_text("{cut")
    with pytest.raises(UserError, match="nobody knows whose the folder is"): claim(tmp_path / "run.json", mine)


def test_equal_content_is_one_identity_in_any_order():
    a = Identity.of("a/b", 1, {"x": 1, "y": [1.5, None]}, {"p": "1", "q": "2"}, 3)
    assert a.key == Identity.of("a/b", 1, {"y": (1.5, None), "x": 1}, {"q": "2", "p": "1"}, 3).key
    variants = [
        Identity.of(*parts)
        for parts in (
            ("a/c", 1, {"x": 1}),
            ("a/b", 2, {"x": 1}),
            ("a/b", 1, {"x": 2}),
            ("a/b", 1, {"x": 1.0}),
            ("a/b", 1, {"x": 1}, {"p": "1"}),
            ("a/b", 1, {"x": 1}, {}, 1),
            ("a/b", 1, {"x": 1}, {}, 0, {"torch": "2"}),
        )
    ]
    assert len({v.key for v in variants}) == len(variants)
