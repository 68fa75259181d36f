"""The project itself in another place: a path with spaces, a folder that nobody may write, and the next Pythons."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("dclm_nb", "nbs", "reproduce", "figures", "settings.ini", "setup.py", "Makefile", "runs.lock",
         "runs.definitions", "constraints.txt", "data-requirements.txt", "README.md")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A copy of the project in a folder with spaces and an emoji."""
    folder = tmp_path_factory.mktemp("place") / "my papers (new) 🙂"
    folder.mkdir()
    for part in PARTS:
        source, results = ROOT / part, shutil.ignore_patterns("_out")
        if source.is_dir(): shutil.copytree(source, folder / part, ignore=results)
        elif source.exists(): shutil.copy(source, folder / part)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    places = {"PYTHONPATH": str(folder), "DCLM_NB_HOME": str(folder / ".dclm nb")}
    environment = {**os.environ, **places, "DCLM_NB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", "dclm_nb", *words], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("line", [
    "status --paper dclm", "claims --paper tradeoffs", "budget figure-3", "reproduce figure-3 --scale replay",
    "reproduce table-d --paper tradeoffs --scale smoke --here", "pages --paper tradeoffs", "runs", "report",
])
def test_a_project_in_a_path_with_spaces(elsewhere, line):
    done = run(elsewhere, *line.split())
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout[-1500:] + done.stderr[-1500:]


def test_what_was_reproduced_there_lies_there(elsewhere):
    assert run(elsewhere, "reproduce", "figure-3", "--scale", "replay", "--here").returncode == 0
    page = elsewhere / "reproduce" / "_out" / "dclm" / "figure_03" / "replay" / "figure_03.md"
    assert page.read_text() == page.read_text().replace(str(ROOT), "")


@pytest.mark.parametrize("target", ["help", "reproduce-table-4", "status", "bless", "test", "faults"])
def test_make_in_a_path_with_spaces(elsewhere, target):
    """Nothing is run: the recipes are read as make would start them."""
    (elsewhere / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("setup.py", "settings.ini", "constraints.txt", "data-requirements.txt"):
        if (elsewhere / name).exists(): os.utime(elsewhere / name, (1, 1))
    (elsewhere / ".venv" / ".ready").touch()
    done = subprocess.run(["make", "-n", target], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0 and "Setting up" not in done.stdout, done.stderr


def _answers(python: str | Path) -> bool:
    """A name on the path may be a script that only says which Python could be had."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def other_pythons() -> dict[str, Path]:
    """Pythons of this machine that the project says it runs on, beside the one that runs here."""
    found = {}
    for version in ("3.11", "3.12", "3.13"):
        places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        here = [Path(place) for place in places if place and _answers(place)]
        if here: found[version] = here[0]
    return found


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_module_compiles_in_every_python(version, tmp_path):
    """What a newer Python warns of today is an error tomorrow."""
    if version not in (known := other_pythons()): pytest.skip(f"no Python {version} on this machine")
    code = ("import pathlib, sys, warnings; warnings.simplefilter('error');\n"
            "for path in pathlib.Path(sys.argv[1]).rglob('*.py'): compile(path.read_bytes(), str(path), 'exec')")
    done = subprocess.run([known[version], "-c", code, str(ROOT / "dclm_nb")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ALONE = ("errors", "seeds", "doors", "given", "files", "paths", "progress", "archives", "identity")


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_core_runs_in_every_python(version, tmp_path):
    """The part that needs no library but filelock, which is Python alone: seeds and doors answer as here."""
    if version not in (known := other_pythons()): pytest.skip(f"no Python {version} on this machine")
    os.symlink(Path(filelock.__file__).parent, tmp_path / "filelock")
    code = f"""
import importlib, sys
sys.path[:0] = {[str(ROOT), str(tmp_path)]!r}
for name in {ALONE!r}:
    try: importlib.import_module("dclm_nb.core." + name)
    except ModuleNotFoundError as missing: print("without", missing.name, file=sys.stderr)
from dclm_nb.core.doors import Count, door
from dclm_nb.core.errors import UserError
from dclm_nb.core.seeds import seed_for
@door
def f(texts: list[str], n: Count = 1, more: "dict[str, int] | None" = None): return n
said = []
for call in (lambda: f("ab"), lambda: f(["a"], 0), lambda: f(["a"], more=[1]), lambda: f(["a"])):
    try: said.append(call())
    except UserError as error: said.append(str(error))
print(seed_for("a", 1), said)
"""
    ask = lambda python: subprocess.run([python, "-c", code], capture_output=True, text=True)
    there = ask(known[version])
    assert there.returncode == 0, there.stderr
    assert there.stdout == ask(sys.executable).stdout
