"""What the environment says is read in one way, and a wrong word is one line."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.core.ranks import place
from dclm_nb.core.runs import is_strict
from dclm_nb.core.switches import check_launch, is_first_here, is_on, number_in

READS = r'environ(?:\.get\(|\[)"(DCLM_NB_\w+|LOCAL_RANK|RANK|WORLD_SIZE)"(?!\] =)'
LIBRARY = Path(__file__).parents[2] / "dclm_nb"
NUMBERS = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_PORT",
           "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODEID", "JSM_NAMESPACE_RANK"]


@pytest.mark.parametrize("word, on", [
    ("1", True), ("yes", True), ("TRUE", True), ("on", True), (" 1 ", True), ("0", False), ("no", False), ("", False),
    ("False", False), ("off", False), (None, False),
])
def test_a_switch(word, on, monkeypatch):
    for name in ("DCLM_NB_OFFLINE", "DCLM_NB_STRICT"):
        monkeypatch.delenv(name, raising=False)
        if word is not None: monkeypatch.setenv(name, word)
    assert is_on("DCLM_NB_OFFLINE") is is_strict() is on


@pytest.mark.parametrize("word", ["maybe", "2", "-1", "yess", "\u0661"])
def test_another_word_is_refused(word, monkeypatch):
    monkeypatch.setenv("DCLM_NB_STRICT", word)
    with pytest.raises(UserError, match="DCLM_NB_STRICT must be"): is_strict()


@pytest.mark.parametrize("word", ["abc", "nan", "-1"])
def test_a_wait_that_is_no_number(word, monkeypatch):
    monkeypatch.setenv("DCLM_NB_RANK_WAIT", word)
    with pytest.raises(UserError, match="DCLM_NB_RANK_WAIT"): number_in("DCLM_NB_RANK_WAIT", 600)
    monkeypatch.setenv("DCLM_NB_RANK_WAIT", "")
    assert number_in("DCLM_NB_RANK_WAIT", 600) == 600


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_LOCALID", "MASTER_PORT"])
@pytest.mark.parametrize("word", ["abc", "-1", "1.0", "\u0661", "1 2"])
def test_a_launcher_that_gives_no_number(name, word, monkeypatch):
    monkeypatch.setenv(name, word)
    for read in (place, is_first_here, check_launch):
        with pytest.raises(UserError, match=name): read()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("word", ["", " "])
def test_an_empty_number_of_a_launcher_is_not_set(name, word, monkeypatch):
    for read in (place, is_first_here, check_launch):
        monkeypatch.setenv(name, word)
        assert read() in ((0, 1), True, None) and name not in os.environ


def test_the_numbers_of_a_launch_that_is_whole_stay(monkeypatch):
    for name, word in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_PROCID": ""}.items():
        monkeypatch.setenv(name, word)
    assert place() == (1, 2) and not is_first_here() and os.environ["LOCAL_RANK"] == "1"


def test_a_library_stumbles_over_no_empty_number():
    """Lightning reads them as it is loaded, and writes them down as numbers."""
    code = "from dclm_nb.core.switches import check_launch; check_launch(); import lightning"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env=os.environ | dict.fromkeys(NUMBERS, ""))
    assert found.returncode == 0, found.stderr


def test_switches_are_read_in_one_place():
    """So that all are read in one way: the others are paths, or given on as they are."""
    texts = {"DCLM_NB_HOME", "DCLM_NB_PROGRESS", "DCLM_NB_EVAL_DATA", "DCLM_NB_RELEASED_ORIGINALS"}
    for file in LIBRARY.rglob("*.py"):
        read = re.findall(READS, file.read_text())
        assert file.name == "switches.py" or set(read) <= texts, (file, read)


@pytest.mark.parametrize("odd, says", [
    ({"LOCAL_RANK": "abc"}, "LOCAL_RANK"), ({"WORLD_SIZE": "x", "RANK": "0"}, "WORLD_SIZE"), ({"RANK": ""}, "none"),
    (dict.fromkeys(NUMBERS, ""), "none"),
])
def test_a_command_says_it_in_a_line(odd, says):
    found = subprocess.run([sys.executable, "-m", "dclm_nb", "train-image", "--shards", "none", "--out", "out"],
                           capture_output=True, text=True, env=os.environ | odd)
    assert found.returncode == 2 and found.stderr.count("\n") == 1 and says in found.stderr, found.stderr


DRAW = """
import sys
from dclm_nb.core.scratch import scratch
from dclm_nb.drawing.style import styled
with scratch():
    with styled() as plt: plt.figure()
"""


@pytest.mark.parametrize("odd", [
    {"HOME": "/proc/x"}, {"HOME": "/proc/x", "XDG_CACHE_HOME": "/proc/x", "XDG_CONFIG_HOME": "/proc/x"},
    {"MPLCONFIGDIR": "/proc/x"}, {"XDG_CACHE_HOME": "/proc/x"}, {"MPLCONFIGDIR": "/dev/null/x"},
])
def test_figures_are_drawn_where_nothing_can_be_kept(odd):
    found = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, env=os.environ | odd)
    assert found.returncode == 0 and not found.stderr, found.stderr


def test_a_way_to_draw_that_is_none():
    found = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True,
                           env=os.environ | {"MPLBACKEND": "foo"})
    assert "UserError: MPLBACKEND" in found.stderr.splitlines()[-1], found.stderr


ODD_FOLDERS = [{"MPLCONFIGDIR": "/proc/x"}, *nightly({"MPLCONFIGDIR": "/dev/null/x"}, {"HOME": "/proc/x"})]
HERE = ["reproduce", "figure-3", "--scale", "replay", "--here"]         # draws in the process of the command


def command(*words, **odd) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "dclm_nb", *words], capture_output=True, text=True,
                          env=os.environ | odd)


@pytest.mark.parametrize("odd", ODD_FOLDERS)
def test_a_command_draws_where_nothing_can_be_kept(odd, tmp_path):
    found = command(*HERE, "--out", str(tmp_path), **odd)
    assert found.returncode == 0 and "atplotlib" not in found.stderr and "Traceback" not in found.stderr, found.stderr
    assert (tmp_path / "figure_03.png").is_file()


@pytest.mark.parametrize("words", [HERE, ["reproduce", "table-12"], ["train-image", "--shards", "none"], ["status"]])
@pytest.mark.parametrize("backend", ["foo", *nightly("Qt9Agg", "\U0001f642")])
def test_a_command_says_that_a_way_to_draw_is_none(words, backend, tmp_path):
    out = ["--out", str(tmp_path / "out")] if words != ["status"] else []
    found = command(*words, *out, MPLBACKEND=backend)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1) and "MPLBACKEND" in found.stderr, found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("backend", ["tkagg", *nightly("", "agg", "Agg", "svg", "module://no.such")])
def test_a_way_to_draw_that_is_one(backend, tmp_path):
    """A window is never opened: a command writes files."""
    found = command(*HERE, "--out", str(tmp_path), MPLBACKEND=backend)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("odd", ODD_FOLDERS)
def test_a_library_that_draws_complains_of_no_folder(odd):
    """Lightning loads matplotlib, where a command never draws itself."""
    found = command("train-image", "--shards", "none", **odd)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1), found.stderr
