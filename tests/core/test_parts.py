"""Half-written files: those of dead processes go at the next start, those of living ones never."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, signal, sys
from pathlib import Path
folder, how = Path(sys.argv[1]), sys.argv[2]
def dying(*names):
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
os.replace = (lambda replace: lambda *names: (dying(), replace(*names)))(os.replace)
"""
WRITERS = {
    "atomic_write": "from dclm_nb.core.files import atomic_write; atomic_write(folder / 'a.json', '{}')",
    "with its sum": "from dclm_nb.core.files import atomic_write; atomic_write(folder / 'a.json', '{}', noted=True)",
    "kept_file": "from dclm_nb.core.files import kept_file; kept_file(folder / 'a', lambda: b'made')",
    "json_lines": """
from dclm_nb.stages.documents import json_lines
with json_lines(folder / 'a.jsonl.gz') as write: write({'text': 'one'})""",
    "claim": """
from dclm_nb.core.identity import Identity, claim
claim(folder / 'run.json', Identity.of('walk', 1))""",
    "save_weights": """
import torch
from dclm_nb.learn.checkpoints import save_weights
save_weights(folder / 'a.safetensors', net=torch.nn.Linear(2, 2))""",
    "save_model": """
from dclm_nb.lm.checkpoints import save_model
from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.model import OpenLM
config = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
save_model(config, OpenLM(config).state_dict(), folder)""",
    "save_judge": """
from dclm_nb.image.features import FeatureNet, save_judge
from dclm_nb.image.scenes import SceneSpec
save_judge(FeatureNet(SceneSpec()), folder / 'judge.safetensors')""",
}


def write(writer: str, folder: Path, how: str) -> int:
    return subprocess.run([sys.executable, "-c", BEGIN + WRITERS[writer], folder, how]).returncode


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.endswith(".tmp") or p.name.startswith(".tmp"))


@pytest.mark.parametrize("writer", WRITERS)
def test_killed_while_writing_leaves_nothing_after_the_next_start(tmp_path, writer):
    for _ in range(2): assert write(writer, tmp_path, "kill") == -signal.SIGKILL
    assert len(left_in(tmp_path)) == 1, "the second start has swept what the first one left"
    assert write(writer, tmp_path, "end") == 0 and not left_in(tmp_path)


WRITES = """
import sys
from dclm_nb.core.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"first"), file.flush(), print("writing", flush=True)
    file.write(sys.stdin.read().encode())
"""


def writing(path) -> subprocess.Popen:
    "A process that has written the first half of a file."
    process = subprocess.Popen([sys.executable, "-c", WRITES, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    process.stdout.readline()
    return process


def test_a_file_that_is_being_written_is_never_swept(tmp_path):
    living, dead = writing(tmp_path / "living"), writing(tmp_path / "dead")
    dead.kill(), dead.wait()
    assert len(left_in(tmp_path)) == 2
    assert write("claim", tmp_path, "end") == write("atomic_write", tmp_path, "end") == 0
    assert [name.split(".")[1] for name in left_in(tmp_path)] == ["living"]
    living.communicate("second")
    assert living.returncode == 0 and (tmp_path / "living").read_text() == "firstsecond" and not left_in(tmp_path)


def test_many_who_write_and_sweep_at_once_take_nothing_from_each_other(tmp_path):
    code = ("import sys\nfrom dclm_nb.core import files\n"
            "for i in range(150): files._swept.clear(); files.atomic_write(sys.argv[1], 'x' * 100_000)")
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path / f"{k % 2}"]) for k in range(4)]
    assert [process.wait() for process in writers] == [0, 0, 0, 0] and not left_in(tmp_path)


def test_a_process_number_that_lives_again_holds_nothing(tmp_path):
    """Names of this and of earlier versions, whose number is that of a process that runs now."""
    for name in (f".model.safetensors.{os.getpid()}.tmp", f".a.json.{os.getpid()}.0a1b2c3d.tmp", ".b.1.tmp"):
        (tmp_path / name).write_bytes(b"half")
    assert write("atomic_write", tmp_path, "end") == 0 and not left_in(tmp_path)


@pytest.mark.parametrize("name", ["notes.tmp", ".notes.tmp", ".tmp", ".a.x.tmp", ".a.1.tmp.txt", "a.1.tmp"])
def test_files_that_others_named_alike_stay(tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert write("claim", tmp_path, "end") == 0 and (tmp_path / name).read_text() == "mine"


def test_links_and_folders_of_such_a_name_stay(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.1.tmp").symlink_to(tmp_path / "mine")
    (tmp_path / ".b.1.tmp").mkdir()
    os.mkfifo(tmp_path / ".c.1.tmp")
    assert write("claim", tmp_path, "end") == 0
    assert (tmp_path / "mine").read_text() == "mine" and len(left_in(tmp_path)) == 3


def test_a_folder_of_another_run_is_left_alone(tmp_path):
    assert write("claim", tmp_path, "end") == 0
    (tmp_path / ".a.1.tmp").write_bytes(b"half")
    from dclm_nb.core.errors import UserError
    from dclm_nb.core.identity import Identity, claim
    with pytest.raises(UserError): claim(tmp_path / "run.json", Identity.of("run", 1))
    assert left_in(tmp_path) == [".a.1.tmp"]


def test_what_an_attempt_left_is_no_content_of_a_stored_run(tmp_path):
    code = BEGIN + """
from dclm_nb.core.runs import run
from dclm_nb.core.store import RunStore
from dclm_nb.core.files import atomic_write
from pathlib import Path
@run("tests/made", version=1)
def made(config, seed, files):
    if how == "kill":
        (files / "deep").mkdir()
        atomic_write(files / "deep" / "a.txt", "half")
    (files / "b.txt").write_text("whole")
    return {}
os.chdir(folder)
ran = RunStore(folder / "store").run(made, {})
print(*ran.manifest["files"])
"""
    script = tmp_path / "script.py"
    script.write_text(code.replace("dying()", "'a.txt' in str(names[1]) and dying()"))
    start = lambda how: subprocess.run([sys.executable, script, tmp_path, how], capture_output=True, text=True)
    assert start("kill").returncode == -signal.SIGKILL and len(left_in(tmp_path)) == 1
    ended = start("end")
    assert ended.stdout.split() == ["b.txt"] and not left_in(tmp_path), ended.stderr


def test_a_file_system_without_locks_is_written_to_and_nothing_is_swept(tmp_path, monkeypatch):
    from dclm_nb.core import files
    def refused(*_): raise OSError(37, "No locks available")
    monkeypatch.setattr(files.fcntl, "flock", refused)
    (tmp_path / ".a.1.tmp").write_bytes(b"half")
    monkeypatch.setattr(files, "_swept", set())
    assert files.atomic_write(tmp_path / "a", "whole").read_text() == "whole" and left_in(tmp_path) == [".a.1.tmp"]
