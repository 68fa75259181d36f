"""`reproduce`, `curate` and `train-image`, killed at any moment by kill -9 and started again: the same files."""
import random

import pytest
from commands import entries_of, kill_at, left_by, run

def killed_and_continued(line, out, reference, entries: int, kills: int, but=(), **environment) -> int:
    """Kills one command again and again, at moments drawn over all the files that it leaves, then lets it end, and
    compares what lies in `out`; returns how many of the kills hit it alive."""
    rng, hits = random.Random(f"{out.name} {kills}"), 0
    for number in range(kills):
        part = (number + rng.random()) / kills                  # early, later, late: one of each
        hits += kill_at(max(1, int(entries * part)), out, *line, **environment)
    done = run(*line, **environment)
    assert done.returncode == 0, done.stderr
    assert left_by(out, but) == reference
    return hits


def whole(line, out, but=(), **environment) -> tuple[dict, int]:
    """What a command leaves that nobody kills, and how many files and folders there are."""
    done = run(*line, **environment)
    assert done.returncode == 0, done.stderr
    return left_by(out, but), entries_of(out)


@pytest.mark.parametrize("kills", [2])
def test_curate(warc, tmp_path, kills, record_property):
    line = lambda out: ("curate", "--warc", warc, "--classifier", "none", "--out", out)
    reference, entries = whole(line(tmp_path / "whole"), tmp_path / "whole")
    assert any(name.endswith("tokens/manifest.json") for name in reference)
    hits = killed_and_continued(line(tmp_path / "out"), tmp_path / "out", reference, entries, kills)
    record_property("cases", hits)
    assert hits >= 1


@pytest.mark.parametrize("kills", [2])
def test_train_image(shards, tmp_path, kills, record_property):
    line = lambda out: ("train-image", "--shards", shards, "--out", out, "--method", "next-token", "--size", "nano",
                        "--codec", "vq-16", "--resolution", "24", "--pictures", 4 * 256, "--devices", "1")
    moving = ("run.json", "losses.csv", ".ckpt", "result.json")     # seconds of the clock stand in them
    reference, entries = whole(line(tmp_path / "whole"), tmp_path / "whole", moving)
    assert "model/model.safetensors" in reference
    hits = killed_and_continued(line(tmp_path / "out"), tmp_path / "out", reference, entries, kills, moving)
    record_property("cases", hits)
    assert hits >= 1


@pytest.mark.parametrize("kills", [2])
def test_reproduce(tmp_path, kills, record_property):
    line = lambda out: ("reproduce", "table-d", "--paper", "tradeoffs", "--scale", "smoke", "--out", out)
    moving = (".manifest.json", ".ipynb")                       # they say when and how long
    environment = {"DCLM_NB_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    reference, entries = whole(line(tmp_path / "whole"), tmp_path / "whole", moving, **environment)
    assert "table_d.md" in reference
    out = tmp_path / "out"
    hits = killed_and_continued(line(out), out, reference, entries, kills, moving, **environment)
    record_property("cases", hits)
    assert hits >= 1
