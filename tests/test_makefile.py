"What the front door says it would do."
import os
import re
import shutil
import subprocess

import pytest

from dclm_nb.core.paths import project_root

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")


def would_run(*words: str) -> str:
    "The commands of a target, without running them; the environment counts as set up."
    return said("make", "-n", "-o", ".venv/.ready", "PYTHON=python3", *words)


def said(*command: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PORT")}
    return subprocess.run(command, cwd=project_root(), env=env, capture_output=True, text=True, check=True).stdout


def test_the_lab_starts_in_the_root_where_all_notebooks_are():
    assert f"--ServerApp.root_dir='{project_root()}'" in would_run("lab") and "--port" not in would_run("lab")


def test_the_lab_takes_a_port_and_no_other():
    assert "--port=8890 --ServerApp.port_retries=0" in would_run("lab", "PORT=8890")


def test_the_lab_starts_as_root_too():
    assert ("--allow-root" in would_run("lab")) == (os.getuid() == 0)


def helped(*words: str) -> str: return said("make", "--no-print-directory", *words)


def test_make_alone_is_the_page_of_all_commands_in_groups():
    page = helped()
    assert page == helped("help") and max(map(len, page.splitlines())) <= 115
    targets = re.findall(r"^([a-z][a-z%-]*):", (project_root() / "Makefile").read_text(), re.M)
    examples = [line.split()[1] for line in page.splitlines() if line.startswith("  make ")]
    reached = lambda target: any(e == target or (target.endswith("%") and e.startswith(target[:-1])) for e in examples)
    assert all(map(reached, set(targets) - {"help"})) and len(examples) == len(targets) - 1
    assert len(re.findall(r"^[A-Z].*\n  make ", page, re.M)) >= 3                        # groups


def test_every_example_of_the_page_would_run():
    for example in re.findall(r"^  make (.+?)(?:  |$)", helped(), re.M): assert would_run(*example.split())
