"""Whose commit it is: that of the repository which the running code lies in, and of no other around, below or named
by a variable."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repositories import PLAIN, committed, git

from dclm_nb.core.provenance import has_commit

LIBRARY = Path(__file__).parents[2] / "dclm_nb"
ASK = "import json; from dclm_nb.core.provenance import git_state; print(json.dumps(git_state()))"
NOBODYS = {"commit": None, "dirty": None}


def checkout(folder: Path) -> Path:
    "As much of the project as says where it comes from."
    (folder / "dclm_nb").mkdir(parents=True)
    shutil.copytree(LIBRARY / "core", folder / "dclm_nb" / "core", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dclm_nb" / "__init__.py").write_text("")
    (folder / "settings.ini").write_text("[DEFAULT]\nlib_name = dclm_nb\n")
    (folder / ".gitignore").write_text("__pycache__/\n")
    return folder


def asked(code: Path, where: Path | None = None, ask: str = ASK, **variables) -> dict:
    "What a fresh process with the library in `code` says, started in the folder `where`."
    environment = {**PLAIN, "PYTHONPATH": str(code), **variables}
    command = [sys.executable, "-P", "-c", ask]
    done = subprocess.run(command, cwd=where or code, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def other(tmp_path) -> Path:
    "A repository of somebody else, with a commit."
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    committed(tmp_path / "other")
    return tmp_path / "other"


def test_its_own_commit_is_named_clean_and_dirty(tmp_path):
    here = checkout(tmp_path / "here")
    commit = committed(here)
    assert asked(here) == asked(here, tmp_path) == {"commit": commit, "dirty": False}
    (here / "dclm_nb" / "__init__.py").write_text("# changed")
    assert asked(here) == {"commit": commit, "dirty": True}


@pytest.mark.parametrize("file, dirty", [("figures/page.md", False), ("dclm_nb/__init__.py", True)])
def test_changes_in_a_folder_that_is_left_out_do_not_count(tmp_path, file, dirty):
    here = checkout(tmp_path / "here")
    (here / "figures").mkdir()
    (here / "figures" / "page.md").write_text("old")
    commit = committed(here)
    (here / file).write_text("# changed")
    assert asked(here)["dirty"]
    ask = ASK.replace("git_state()", "git_state(but='figures')")
    assert asked(here, ask=ask) == {"commit": commit, "dirty": dirty}


@pytest.mark.parametrize("file, counts", [
    ("dclm_nb/more.py", True), ("dclm_nb/deep/more.py", True), ("reproduce/dclm/table_99.ipynb", True),
    ("notes.txt", False), ("data/large.bin", False), ("dclm_nb/__pycache__/more.py", False),
])
def test_code_that_no_commit_knows_is_an_uncommitted_change(tmp_path, file, counts):
    here = checkout(tmp_path / "here")
    commit = committed(here)
    (here / file).parent.mkdir(parents=True, exist_ok=True)
    (here / file).write_text("")
    assert asked(here) == {"commit": commit, "dirty": counts}


@pytest.mark.parametrize("inside", ["", "vendor", "vendor/deep"])
@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("trace", [None, "folder", "file"])
def test_the_repository_around_an_unpacked_archive_is_not_ours(other, inside, tracked, trace):
    """Untracked there or tracked, with no `.git` or with what is left of one."""
    here = checkout(other / inside / "dclm")
    if trace == "folder": (here / ".git").mkdir()
    if tracked: committed(other)
    if trace == "file": (here / ".git").write_text("gitdir: ../gone\n")
    assert asked(here) == asked(here, other) == NOBODYS


@pytest.mark.parametrize(
    "names", [("GIT_DIR",), ("GIT_DIR", "GIT_WORK_TREE"), ("GIT_COMMON_DIR",), ("GIT_INDEX_FILE",)]
)
def test_a_variable_that_names_another_repository_is_not_followed(tmp_path, other, names):
    "A hook of git runs with such variables."
    here, places = checkout(tmp_path / "here"), {"GIT_DIR": ".git", "GIT_WORK_TREE": "", "GIT_COMMON_DIR": ".git",
                                                 "GIT_INDEX_FILE": ".git/index"}
    theirs = {name: str(other / places[name]) for name in names}
    assert asked(here, **theirs) == NOBODYS
    commit = committed(here)
    assert asked(here, **theirs) == {"commit": commit, "dirty": False}


def test_a_worktree_and_a_submodule_have_commits_of_their_own(tmp_path, other):
    here = checkout(tmp_path / "here")
    commit = committed(here)
    git(here, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    git(other, "submodule", "add", "-q", str(here), "dclm")
    for place in (tmp_path / "tree", other / "dclm"): assert asked(place) == {"commit": commit, "dirty": False}


@pytest.mark.parametrize("place", ["elsewhere", "here/.venv/lib"])
def test_an_installed_copy_is_not_the_commit_of_the_checkout_it_is_used_in(tmp_path, place):
    here = checkout(tmp_path / "here")
    (here / ".gitignore").write_text("__pycache__/\n.venv/\n")
    committed(here)
    shutil.copytree(here / "dclm_nb", tmp_path / place / "dclm_nb")
    assert asked(tmp_path / place, here) == NOBODYS


def test_a_commit_is_known_where_it_was_made(tmp_path, other):
    here = checkout(tmp_path / "here")
    commit = committed(here)
    assert has_commit(commit, here)
    for wrong in ("f" * 40, "c0ffee", "", None, 7, "--help", "HEAD", git(other, "rev-parse", "HEAD"),
                  git(here, "rev-parse", "HEAD^{tree}")):
        assert not has_commit(wrong, here), wrong
    assert not has_commit(commit, tmp_path) and not has_commit(git(other, "rev-parse", "HEAD"), checkout(other / "x"))


MEMORY = """
import sys
from dclm_nb.core.provenance import give_back, peak_mb, peak_memory
import re
from pathlib import Path
held = lambda: int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
with peak_memory() as first: block = bytearray(300_000_000)
del block
with peak_memory() as second: inside = peak_mb()
print(first() - second() > 200, peak_mb() >= first(), inside < first() - 200)
# pieces of 100 kB among what is kept: freed, and not given back
pieces = [(bytearray(b"x" * 100_000), bytearray(1000)) for _ in range(3000)]
kept = [small for _, small in pieces]
del pieces
before = held()
give_back()
print(before - held() > 200)
# what only refers to itself, as a trainer and its network do
ring = [bytearray(b"x" * 300_000_000)]
ring.append(ring)
before = held()
del ring
give_back()
print(before - held() > 200)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of memory is reset on Linux alone")
def test_a_peak_is_the_whole_process_s_and_what_was_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 5, done.stdout + done.stderr


def test_a_manifest_says_how_many_threads_computed_whatever_was_asked_for():
    ask = "import torch; torch.set_num_threads({n}); from dclm_nb.core.provenance import host; print(host()['threads'])"
    for n in (1, 2):
        done = subprocess.run([sys.executable, "-c", ask.format(n=n)], capture_output=True, text=True)
        assert done.stdout == f"{n}\n", done.stderr
