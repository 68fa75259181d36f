"What the front door says it would do."
import os
import shutil
import subprocess

import pytest

from dclm_nb.core.paths import project_root

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")


def would_run(*words: str) -> str:
    "The commands of a target, without running them; the environment counts as set up."
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PORT")}
    command = ["make", "-n", "-o", ".venv/.ready", "PYTHON=python3", *words]
    return subprocess.run(command, cwd=project_root(), env=env, capture_output=True, text=True, check=True).stdout


def test_the_lab_starts_in_the_root_where_all_notebooks_are():
    assert f"--ServerApp.root_dir='{project_root()}'" in would_run("lab") and "--port" not in would_run("lab")


def test_the_lab_takes_a_port_and_no_other():
    assert "--port=8890 --ServerApp.port_retries=0" in would_run("lab", "PORT=8890")


def test_the_lab_starts_as_root_too():
    assert ("--allow-root" in would_run("lab")) == (os.getuid() == 0)
