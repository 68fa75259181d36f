"""The whole chain of Table 4 at smoke scale: killed while it trains, or at several stages from the first on, it ends in
the table of an uninterrupted run, and a script needs no guard."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dclm_nb.core.paths import runs_dir
from dclm_nb.studies.dclm.filter_tables import frame_of
from dclm_nb.studies.dclm.profiles import profile
from dclm_nb.studies.dclm.quality_filters import run_study

SCRIPT = """
import sys
from dclm_nb.core.store import RunStore
from dclm_nb.studies.dclm.filter_tables import frame_of
from dclm_nb.studies.dclm.profiles import profile
from dclm_nb.studies.dclm.quality_filters import run_study
study = run_study(profile("smoke").study, seeds=(0,), workers=2, store=RunStore(sys.argv[1]))
frame_of(study).to_csv(sys.argv[2], index=False)
"""


def start(folder: Path, table: Path) -> subprocess.Popen:
    (script := folder / "study.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "runs"), str(table)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finished(folder: Path) -> int:
    return len(list((folder / "runs").glob("[0-9a-f]*/manifest.json")))


def is_working(folder: Path) -> bool:
    "Whether a run was begun and has not ended."
    work = folder / "runs" / ".work"
    return work.is_dir() and any(work.iterdir())


def kill_when(process: subprocess.Popen, condition) -> bool:
    "SIGKILL the whole process group once `condition()` holds; False if the process ended before."
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if condition():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.05)
    return False


def ends_in(folder: Path) -> str:
    "The table that the same command makes of what is left."
    last = start(folder, folder / "table.csv")
    assert last.wait(timeout=300) == 0, last.stderr.read().decode()
    return (folder / "table.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    "The table of a study that nobody killed, from the store that all tests share."
    table = tmp_path_factory.mktemp("whole") / "table.csv"
    frame_of(run_study(profile("smoke").study, seeds=(0,), workers=0)).to_csv(table, index=False)
    return table.read_text()


@pytest.mark.daily                                                  # the next one kills there, too
def test_killed_while_it_trains_the_table_is_the_same(whole, tmp_path):
    "The pool and its judges are there already, so that the kill meets the trainings."
    for manifest in runs_dir().glob("[0-9a-f]*/manifest.json"):
        if json.loads(manifest.read_text())["name"].startswith("curation/"):
            shutil.copytree(manifest.parent, tmp_path / "runs" / manifest.parent.name)
    given = finished(tmp_path)
    assert kill_when(
        start(tmp_path, tmp_path / "table.csv"), lambda: finished(tmp_path) > given and is_working(tmp_path)
    )
    assert ends_in(tmp_path) == whole


@pytest.mark.nightly
def test_killed_at_several_stages_the_table_is_the_same(whole, tmp_path):
    kills = 0
    for done in (0, 2, 6):
        kills += kill_when(
            start(tmp_path, tmp_path / "table.csv"), lambda: finished(tmp_path) >= done and is_working(tmp_path)
        )
    assert kills >= 2, "the study ended before it could be killed"
    assert ends_in(tmp_path) == whole


def test_every_recipe_is_probed_with_every_instrument(whole):
    rows = {
        line.split(",bits_per_byte")[0].split("table-4,")[1] for line in whole.splitlines() if "bits_per_byte" in line
    }
    assert len(rows) == 6 and any("control" in row for row in rows)
