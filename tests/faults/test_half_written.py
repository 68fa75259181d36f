"""The commands, killed by kill -9 just before a file takes its name: the next start removes what was half-written."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import command, left_by, surroundings
from tiers import daily, nightly

# What every Python that a command starts reads first: it says which files take their names, and kills the command and
# itself before a given one does.
HOOK = """
import os, signal
first, replace = os.environ.setdefault("FIRST_OF_US", str(os.getpid())), os.replace
def watched(source, target, *rest, **more):
    if str(source).endswith(".tmp"):
        name = "/".join(str(target).split("/")[-2:])
        if name == os.environ["DIE_AT"]: os.killpg(int(first), signal.SIGKILL), os.killpg(0, signal.SIGKILL)
        with open(os.environ["NAMES"], "a") as file: print(name, file=file)
    return replace(source, target, *rest, **more)
os.replace = watched
"""


@pytest.fixture
def watched(tmp_path):
    """Starts a program, to be killed before the file `die_at` takes its name; returns its exit code."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    def start(line: list, die_at: str = "") -> int:
        path = os.pathsep.join([str(tmp_path / "hook"), os.environ.get("PYTHONPATH", "")])
        told = surroundings(PYTHONPATH=path, NAMES=str(tmp_path / "names"), DIE_AT=die_at)
        return subprocess.run(line, env=told, start_new_session=True, stdout=subprocess.DEVNULL).returncode
    start.names = lambda: list(dict.fromkeys((tmp_path / "names").read_text().split("\n")[:-1]))
    return start


def half_written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.tmp") if path.is_file()}


def killed_at(watched, line, tmp_path, share: float, but=()) -> int:
    """A program, killed before one file after the other takes its name, each time on what was there before, and then
    left to its end; returns how many kills there were. `line`: what to start, for a folder."""
    whole, out, kills, before = tmp_path / "whole" / "out", tmp_path / "killed" / "out", 0, set()
    assert watched(line(whole)) == 0
    names = watched.names()
    every = min(len(names), round(1 / share))
    for name in names[every - 1 :: every]:
        code = watched(line(out), die_at=name)
        if code == 0: continue                      # it had its name already
        assert code == -signal.SIGKILL and (left := half_written(out)) and not left & before, (name, before)
        kills, before = kills + 1, left
    assert watched(line(out)) == 0 and not half_written(out)
    assert left_by(out, but) == left_by(whole, but)
    return kills


def tried(record_property, kills: int, least: int = 1) -> None:
    record_property("cases", kills)
    assert kills >= least


@pytest.mark.parametrize("share", [*daily(0.1), *nightly(0.5)])
def test_train_image(watched, shards, tmp_path, share, record_property):
    line = lambda out: command("train-image", "--shards", shards, "--out", out, "--method", "next-token", "--size",
                               "nano", "--codec", "vq-16", "--resolution", "24", "--pictures", 2 * 256, "--devices", 1)
    moving = ("run.json", "losses.csv", ".ckpt", "result.json", ".sum")
    tried(record_property, killed_at(watched, line, tmp_path, share, moving))


@pytest.mark.parametrize("share", [*daily(0.2), *nightly(0.5)])
def test_train_video(watched, clip_shards, tmp_path, share, record_property):
    (tmp_path / "small.yaml").write_text("network: {widths: [16, 32], lanes: [2, 4]}\nsteps: 4\nbatch: 4\nmoments: 2\n"
                                         "looks: 0\nfps: null\n")
    line = lambda out: command("train", "video", clip_shards, "--stage", "image", "--config", tmp_path / "small.yaml",
                               "--out", out)
    moving = ("run.json", "losses.csv", ".ckpt", "result.json", ".sum")
    tried(record_property, killed_at(watched, line, tmp_path, share, moving))


@pytest.mark.parametrize("share", [*daily(0.2), *nightly(0.5)])
def test_curate(watched, warc, tmp_path, share, record_property):
    line = lambda out: command("curate", "--warc", warc, "--classifier", "none", "--out", out)
    tried(record_property, killed_at(watched, line, tmp_path, share))


@pytest.mark.parametrize("share", [*daily(0.3), *nightly(0.5)])
def test_reproduce(watched, tmp_path, share, record_property):
    line = lambda out: command("reproduce", "figure-3", "--paper", "dclm", "--scale", "replay", "--out", out)
    tried(record_property, killed_at(watched, line, tmp_path, share, (".manifest.json", ".ipynb", ".sum")))


TRAIN = """
import sys
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.training import train
config = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
recipe = TrainConfig(tokens=8 * 4 * 16, batch_size=4, lr=1e-2, warmup_steps=2, weight_decay=0.1, accelerator="cpu",
                     log_every=3, checkpoint_every=3, tensorboard=False)
train(config, recipe, sys.argv[1], sys.argv[2], seed=5)
"""
TOKENISE = """
import sys
from pathlib import Path
from dclm_nb.curation.tokens import tokenise, train_tokenizer
texts = [f"the cat number {k} sat on the mat" for k in range(200)]
(out := Path(sys.argv[2])).mkdir(parents=True, exist_ok=True)
tokenise(texts, train_tokenizer(texts, out / "bpe", 300), out / "tokens", seq_len=16)
"""
BLESS = """
import sys
from pathlib import Path
from dclm_nb.exhibits.bless import bless
from dclm_nb.exhibits.showcase import Showcase
from dclm_nb.papers.frames import printed_frame
root = Path(sys.argv[2])
out = root / "reproduce" / "_out" / "dclm" / "figure_03" / "replay"
show = Showcase("dclm", "figure-3", out_dir=out).add(printed_frame("dclm", "figure-3"))
show.table(), show.figure(), show.save()
assert bless("dclm", True, root)[0][2] == ""
"""


PROGRAMS = {"train": TRAIN, "tokenise": TOKENISE, "bless": BLESS}


@pytest.mark.parametrize("share", [*daily(0.3), *nightly(0.5)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_train_tokenise_and_bless(watched, tmp_path, name, share, record_property):
    from dclm_nb.lm.data import write_token_folder
    tokens = np.random.default_rng(0).integers(0, 64, (200, 17), dtype=np.uint16)
    write_token_folder(tmp_path / "tokens", tokens, 64)
    line = lambda out: [sys.executable, "-c", PROGRAMS[name], str(tmp_path / "tokens"), str(out)]
    moving = ("result.json", "losses.csv", ".manifest.json", ".parts.json", ".sum", ".ckpt")
    tried(record_property, killed_at(watched, line, tmp_path, share, moving))
