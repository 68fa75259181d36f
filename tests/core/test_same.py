"""`dclm-nb runs same`: a change that changes nothing is let through, one that changes a digit is not. On a copy of this
library, with a real run."""
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import yaml

import dclm_nb.core.same as core_same
from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import home, project_root
from dclm_nb.core.same import make_again, unequal, without
from dclm_nb.core.store import RunStore


@pytest.fixture
def checkout(tmp_path):
    """A repository with this library in one commit; `edit(old, new)` changes the study of pictures, `ask(...)` calls
    the command there."""
    root, here = tmp_path / "checkout", project_root()
    shutil.copytree(here / "dclm_nb", root / "dclm_nb", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "runs.lock", "runs.definitions"): shutil.copy(here / name, root)

    def git(*args):
        subprocess.run(
            ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t", *args],
            check=True,
            capture_output=True,
        )

    git("init", "-q"), git("add", "-A"), git("commit", "-qm", "before")
    class Checkout:
        folder, lock = root, staticmethod(lambda: yaml.safe_load((root / "runs.lock").read_text()))
        commit = staticmethod(lambda: git("commit", "-qam", "after"))
        @staticmethod
        def edit(old, new, file="studies/tradeoffs/runs.py"):
            path = root / "dclm_nb" / file
            text = path.read_text()
            assert text.count(old) == 1
            path.write_text(text.replace(old, new))
        @staticmethod
        def ask(*arguments):
            environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "DCLM_NB_HOME": str(home())}
            done = subprocess.run(
                [sys.executable, "-c", f"from dclm_nb.cli import main; main({['runs', *arguments]!r})"],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
            )
            return done.returncode, (done.stdout + done.stderr).strip()
    return Checkout()


HARMLESS = 'split, groups = CAPTIONS[captions]', 'split, groups = CAPTIONS[str(captions)]'
HARMFUL = 'seed_for("image study", purpose)', 'seed_for("image  study", purpose)'


def test_equal_results_are_let_through_and_others_are_not(checkout):
    assert checkout.ask("check") == (0, "runs.lock and the code agree")
    checkout.edit(*HARMLESS)
    code, said = checkout.ask("check")
    assert (
        code == 1
        and "image/latents: same version (1), other code (studies.tradeoffs.runs.scenes_for changed)" in said
        and "dclm-nb runs bump NAME" in said
        and "--because" in said
    )
    code, said = checkout.ask("same", "image/latents", "--because", "a name may be any text")
    assert (
        code == 0
        and said.startswith("image/latents: 2 smoke runs equal to the last digit, ")
        and said.endswith("files to the last byte")
    ), said
    history = checkout.lock()["image/latents"]["history"]
    assert history[-1] == "version 1 is the same: a name may be any text"
    assert "image/latents" not in checkout.ask("check")[1] and "image/held-out-loss" in checkout.ask("check")[1]
    checkout.commit()
    checkout.edit(*HARMFUL)
    code, said = checkout.ask("same", "image/latents", "--because", "it looks the same")
    assert (
        code == 2
        and len(said.splitlines()) == 1
        and "image/latents is not what it was: result." in said
        and "dclm-nb runs bump image/latents" in said
    )
    assert checkout.lock()["image/latents"]["history"] == history
    worktrees = subprocess.run(
        ["git", "-C", str(checkout.folder), "worktree", "list"], capture_output=True, text=True
    ).stdout
    assert len(worktrees.splitlines()) == 1


def test_what_cannot_be_shown_is_refused(checkout):
    checkout.edit(*HARMLESS)
    assert "there is nothing to show" in checkout.ask("same", "image/train", "--because", "x")[1]
    # the edit is committed, and the lock was not: no commit has what it names but the first
    checkout.commit()
    lock = checkout.folder / "runs.lock"
    lock.write_text(lock.read_text().replace(checkout.lock()["image/latents"]["code"], "0" * 16))
    code, said = checkout.ask("same", "image/latents", "--because", "x")
    assert code == 2 and "no commit has the code that runs.lock names for image/latents" in said


# Comparing

def walk(config, seed, folder):
    (folder / "told.json").write_text(json.dumps({"x": config["x"], "how": {"seconds": config["s"]}}))
    (folder / "told.csv").write_text(f"step,seconds\n1,{config['s']}\n")
    (folder / "weights.bin").write_bytes(bytes([config["x"]]))
    return {"x": [config["x"]], "seconds": config["s"], "loss": float("nan")}

def uses(config, seed, folder, inputs): return {"x": inputs["walk"].result["x"], "y": inputs["note"]}


def test_clocks_may_differ_and_nothing_else(tmp_path):
    store = RunStore(tmp_path)
    one, later, other = (store.run(walk, c) for c in ({"x": 1, "s": 2.0}, {"x": 1, "s": 3.0}, {"x": 2, "s": 2.0}))
    assert unequal(one, later, ("seconds",)) == [] and unequal(one, one) == []
    assert unequal(one, later) == [
        "result.seconds: 2.0 -> 3.0",
        "the file told.csv differs",
        "the file told.json differs",
    ]
    assert unequal(one, other, ("seconds",)) == [
        "result.x[0]: 1 -> 2",
        "the file told.json differs",
        "the file weights.bin differs",
    ]
    assert without({"a": [{"b": 1, "c": 2}]}, ("b",)) == {"a": [{"c": 2}]}


def packs(config, seed, folder):
    import gzip

    with open(folder / "pool.gz", "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=config["s"]) as packed:
        packed.write(bytes([config["x"]] * 99))
    (folder / "cut.gz").write_bytes(b"no archive")
    (folder / "logs").mkdir()
    (folder / "logs" / f"events.{config['s']}.log").write_text(str(config["s"]))
    return {}


def test_archives_count_by_what_is_in_them_and_logs_do_not_count(tmp_path):
    store = RunStore(tmp_path)
    one, later, other = (store.run(packs, c) for c in ({"x": 1, "s": 2}, {"x": 1, "s": 3}, {"x": 2, "s": 2}))
    assert unequal(one, later, ("logs/*",)) == [] and unequal(one, other, ("logs/*",)) == ["the file pool.gz differs"]
    assert unequal(one, later) == ["the file logs/events.2.log is gone", "the file logs/events.3.log is new"]


def test_a_missing_file_is_said(tmp_path):
    store = RunStore(tmp_path)
    one = store.run(walk, {"x": 1, "s": 2.0})
    less = type(one)(
        one.path, {**one.manifest, "files": {k: v for k, v in one.manifest["files"].items() if k != "weights.bin"}}
    )
    assert unequal(one, less) == ["the file weights.bin is gone"] and unequal(less, one) == [
        "the file weights.bin is new"
    ]


def test_only_the_run_in_question_is_made_again(tmp_path):
    from dclm_nb.studies.tradeoffs.smoke import smoke_floor
    smoke_floor(RunStore(tmp_path / "before"))
    assert make_again("tradeoffs/entropy-floor", tmp_path / "before", tmp_path / "after") == 1
    (made,) = RunStore(tmp_path / "after").list()
    assert (
        made.manifest["name"] == "tradeoffs/entropy-floor"
        and unequal(RunStore(tmp_path / "before").get(made.key), made) == []
    )


def test_a_procedure_for_every_run():
    from dclm_nb.core.runs_lock import find_runs
    from dclm_nb.studies.smoke_runs import SMOKE
    assert set(find_runs()) == set(SMOKE) and all(callable(make) for make in SMOKE.values())


class Named(str):
    "A run that is only its name, and its version."
    code, declared = "", SimpleNamespace(version=1)


def test_those_that_are_the_same_are_locked_and_the_others_named(monkeypatch, tmp_path):
    "One that differs, and one that cannot be tried, keep none of the rest from being locked."
    said = {"image/b": "image/b is not what it was: the file x differs", "image/d": "the code in before fails: no"}
    locked = []

    def shown(run, *places):
        if run in said: raise UserError(said[run])
        return "1 smoke run equal to the last digit"

    def lock_again(lock, found, name, why):
        locked.append((name, why))
        return lock
    names = ["image/a", "image/b", "image/c", "image/d", "image/e"]
    runs = {name: Named(name) for name in names}
    lock = SimpleNamespace(runs=runs, write=lambda root: None)
    monkeypatch.setattr(core_same, "_check_can_be_shown", lambda *what: None)
    monkeypatch.setattr(core_same, "find_runs", lambda: runs)
    monkeypatch.setattr(core_same, "code_before", lambda root, wanted: nullcontext(tmp_path))
    monkeypatch.setattr(core_same, "_shown", shown)
    monkeypatch.setattr(core_same, "locked_again", lock_again)
    monkeypatch.setattr(core_same.Lock, "read", lambda root: lock)
    lines = []
    with pytest.raises(UserError) as error:
        for line in core_same.same(names, "a log was silenced", root=tmp_path): lines.append(line)
    assert [line.split(":")[0] for line in lines] == ["image/a", "image/c", "image/e"]
    assert locked == [(name, "version 1 is the same: a log was silenced") for name in ("image/a", "image/c", "image/e")]
    assert str(error.value) == "; ".join(said.values())
