"""Two processes at one folder: both end with the same result, or the second says in one line why it does not."""
import pytest
from commands import left_by, run, start


def both(*words, **environment):
    """Two of one command at once; returns (exit code, what it said) of each."""
    started = [start(*words, **environment) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in started]
    return [(process.returncode, error) for process, (_, error) in zip(started, said)]


def one_line(code: int, error: str) -> bool:
    return code == 0 or code == 2 and len(error.strip().splitlines()) == 1 and error.startswith("dclm-nb: ")


def test_curate(warc, tmp_path):
    line = lambda out: ("curate", "--warc", warc, "--classifier", "none", "--out", out)
    assert run(*line(tmp_path / "alone")).returncode == 0
    ended = both(*line(tmp_path / "both"))
    assert all(one_line(*each) for each in ended) and 0 in dict(ended), ended
    assert left_by(tmp_path / "both") == left_by(tmp_path / "alone")


def test_train_image(shards, tmp_path):
    line = lambda out: ("train-image", "--shards", shards, "--out", out, "--method", "next-token", "--size", "nano",
                        "--codec", "vq-16", "--resolution", "24", "--pictures", 2 * 256, "--devices", "1")
    moving = ("run.json", "losses.csv", ".ckpt", "result.json")
    assert run(*line(tmp_path / "alone")).returncode == 0
    ended = both(*line(tmp_path / "both"))
    assert all(one_line(*each) for each in ended) and 0 in dict(ended), ended
    assert left_by(tmp_path / "both", moving) == left_by(tmp_path / "alone", moving)


def test_reproduce(tmp_path):
    line = lambda out: ("reproduce", "figure-3", "--paper", "dclm", "--scale", "replay", "--here", "--out", out)
    moving = (".manifest.json", ".ipynb")
    assert run(*line(tmp_path / "alone")).returncode == 0
    ended = both(*line(tmp_path / "both"))
    assert all(code == 0 for code, _ in ended), ended
    assert left_by(tmp_path / "both", moving) == left_by(tmp_path / "alone", moving)


@pytest.mark.parametrize("name", ["curate", "train-image"])
def test_a_lock_that_a_dead_process_left_blocks_nobody(name, warc, tmp_path):
    """A lock is held by a process and not by its file."""
    out = tmp_path / "out"
    out.mkdir()
    for lock in (".preparing.lock", ".lock"): (out / lock).write_text("99999999")
    line = ("curate", "--warc", warc, "--classifier", "none", "--out", out) if name == "curate" else (
        "train-image", "--shards", "none", "--out", out)
    done = run(*line, timeout=120)
    assert done.returncode == 0 if name == "curate" else "does not exist" in done.stderr
