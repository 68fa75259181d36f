"""The same result whatever surrounds a command: a strict umask, spaces and emoji in every path, another locale, time
zone, hash seed and folder."""
import os
import stat
import sys

import pytest
from commands import left_by, run
from tiers import nightly

AROUND = {
    "hash seed, time zone, C locale": {"PYTHONHASHSEED": "1", "TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONUTF8": "0",
                                       "PYTHONCOERCECLOCALE": "0"},
    "another hash seed, Turkish, no home": {"PYTHONHASHSEED": "4294967295", "LC_ALL": "tr_TR.UTF-8",
                                            "LANG": "tr_TR.UTF-8", "HOME": "/nonexistent"},
    "optimised, all warnings": {"PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "default"},
}
MOVING = (".manifest.json", ".ipynb")


def reproduced(out, **environment) -> dict:
    done = run("reproduce", "figure-3", "--paper", "dclm", "--scale", "replay", "--here", "--out", out, **environment)
    assert done.returncode == 0, done.stderr
    return left_by(out, MOVING)


def curated(warc, out, cwd=None, **environment) -> dict:
    done = run("curate", "--warc", warc, "--classifier", "none", "--out", out, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return left_by(out)


@pytest.fixture(scope="module")
def plain(warc, tmp_path_factory) -> tuple[dict, dict]:
    """What both commands leave in plain surroundings."""
    folder = tmp_path_factory.mktemp("plain")
    return reproduced(folder / "figure"), curated(warc, folder / "curated")


FIRST, *LATER = AROUND


@pytest.mark.parametrize("around", [FIRST, *nightly(*LATER)])
def test_reproduce_and_curate_leave_the_same_files(plain, warc, tmp_path, around):
    assert reproduced(tmp_path / "figure", **AROUND[around]) == plain[0]
    assert curated(warc, tmp_path / "curated", **AROUND[around]) == plain[1]


@pytest.mark.parametrize("mask", [0o077, *nightly(0o177)])
def test_a_strict_umask_is_kept_and_costs_nothing(plain, warc, tmp_path, mask):
    """Nobody else may read what is left, and we still can."""
    if mask == 0o177 and os.getuid(): pytest.skip("folders that nobody may enter are only for root")
    before = os.umask(mask)
    try: made = curated(warc, tmp_path / "curated"), reproduced(tmp_path / "figure")
    finally: os.umask(before)
    assert made == (plain[1], plain[0])
    for path in (tmp_path / "curated").rglob("*"):
        assert not stat.S_IMODE(path.lstat().st_mode) & mask & 0o777, path


@pytest.mark.parametrize("name", ["a 'b' \"c\"", *nightly("-x 🙂 ü;b$(c)\t%s{0..3}")])
def test_any_path(plain, warc, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    copy = folder / f"{name}.warc.gz"
    copy.write_bytes(warc.read_bytes())
    assert reproduced(folder / "figure") == plain[0]
    assert set(curated(copy, folder / "curated", cwd=folder)) == set(plain[1])


def test_a_home_with_spaces(tmp_path, name="a 🙂 b"):
    line = ("reproduce", "table-d", "--paper", "tradeoffs", "--scale", "smoke", "--here", "--out")
    (tmp_path / name).mkdir()
    done = run(*line, tmp_path / "out", DCLM_NB_HOME=str(tmp_path / name / "home"), TMPDIR=str(tmp_path / name))
    assert done.returncode == 0, done.stderr


def test_this_is_the_python_that_runs(): assert sys.version_info >= (3, 11)
