"""A disk that fills while a command writes, wherever that is, a checkpoint or a blessing too: one line, and the same
command goes on when there is room. Real small file systems, where the machine lets us mount one."""
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import left_by, run
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.exhibits.bless import bless
from dclm_nb.exhibits.showcase import Showcase
from dclm_nb.papers.frames import printed_frame


@contextmanager
def small_disk(folder: Path, size: int):
    """A file system of `size` bytes at a folder; yields a function that changes its size."""
    folder.mkdir()
    mount = lambda *words: subprocess.run(["mount", *words], capture_output=True)
    if os.getuid() or mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)).returncode:
        pytest.skip("cannot mount a small file system here")
    try: yield lambda to: mount("-o", f"remount,size={to}", str(folder))
    finally: subprocess.run(["umount", "-l", str(folder)], check=True)


def bytes_in(folder: Path) -> int:
    return sum(4096 + path.stat().st_size // 4096 * 4096 for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "Gives what a command leaves where there is room, made once for all shares. `line`: what to start, for a folder."
    made = {}
    def of(line) -> Path:
        if (name := line("")[0]) not in made:
            made[name] = tmp_path_factory.mktemp(name) / "out"
            assert run(*line(made[name])).returncode == 0
        return made[name]
    return of


def filled_and_continued(line, reference: Path, tmp_path: Path, share: float, but=()) -> None:
    """The command on a disk with room for a share of what it leaves; then with room for all."""
    disk = tmp_path / f"disk {share}"
    with small_disk(disk, int(share * bytes_in(reference)) // 4096 * 4096 + 4096) as resize:
        done = run(*line(disk / "out"))
        assert done.returncode != 0, "the disk was large enough"
        said = done.stderr.strip().splitlines()
        assert done.returncode == 2 and len(said) == 1, done.stderr[-2000:]
        assert "full" in said[0] or "No space" in said[0], said
        resize(2**28)
        done = run(*line(disk / "out"))
        assert done.returncode == 0, done.stderr
        assert left_by(disk / "out", but) == left_by(reference, but)


SHARES = [0.5, *nightly(0.05, 0.85)]


@pytest.mark.parametrize("share", SHARES)
def test_full_disk_under_curate(warc, whole, tmp_path, share):
    line = lambda out: ("curate", "--warc", warc, "--classifier", "none", "--out", out)
    filled_and_continued(line, whole(line), tmp_path, share)


@pytest.mark.parametrize("share", [0.6, *nightly(0.9)])
def test_full_disk_under_train_image(shards, whole, tmp_path, share):
    """The larger share ends behind the training, in the model."""
    line = lambda out: ("train-image", "--shards", shards, "--out", out, "--method", "next-token", "--size", "nano",
                        "--codec", "vq-16", "--resolution", "24", "--pictures", 2 * 256, "--devices", "1")
    moving = ("run.json", "losses.csv", ".ckpt", "result.json")
    filled_and_continued(line, whole(line), tmp_path, share, moving)


@pytest.mark.parametrize("share", SHARES)
def test_full_disk_under_reproduce(whole, tmp_path, share):
    line = lambda out: ("reproduce", "figure-3", "--paper", "dclm", "--scale", "replay", "--here", "--out", out)
    filled_and_continued(line, whole(line), tmp_path, share, (".manifest.json", ".ipynb"))


def result_in(root: Path) -> None:
    out = root / "reproduce" / "_out" / "dclm" / "figure_03" / "replay"
    show = Showcase("dclm", "figure-3", out_dir=out).add(printed_frame("dclm", "figure-3"))
    show.table(), show.figure(), show.save()


@pytest.mark.parametrize("share", SHARES)
def test_full_disk_under_bless(tmp_path, share):
    """The manifest comes last: what was blessed before vouches for what is there, and a half blessing for nothing."""
    root = tmp_path / "root"
    result_in(root)
    assert [reason for *_, reason in bless("dclm", True, root)] == [""]
    whole = left_by(root / "figures")
    subprocess.run(["rm", "-r", root / "figures"], check=True)
    with small_disk(root / "figures", int(share * 2**10 * 150) // 4096 * 4096 + 4096) as resize:
        filler = root / "figures" / "filler"
        size = sum(path.stat().st_size for path in (root / "reproduce").rglob("*") if path.is_file())
        resize(int(size * share) // 4096 * 4096 + 8192)
        filler.write_bytes(b"x" * 4096)
        with pytest.raises(UserError, match="disk is full|No space"): bless("dclm", True, root)
        manifest = root / "figures" / "dclm" / "figure_03.manifest.json"
        assert not manifest.exists() and not list(root.glob("figures/**/*.tmp"))
        resize(2**24)
        filler.unlink()
        assert [reason for *_, reason in bless("dclm", True, root)] == [""] and left_by(root / "figures") == whole


@pytest.mark.parametrize("bytes_free", [0, 4096])
def test_full_disk_under_the_scratch_folder(tmp_path, bytes_free):
    """What a kernel could not write is said, and not the half line that it could."""
    with small_disk(tmp_path / "scratch", 2**20):
        (tmp_path / "scratch" / "filler").write_bytes(b"x" * (2**20 - 16384 - bytes_free))
        line = ("reproduce", "figure-3", "--paper", "dclm", "--scale", "replay", "--out", tmp_path / "out")
        done = run(*line, TMPDIR=str(tmp_path / "scratch"))
        assert done.returncode == 2 and "TMPDIR" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words, place", [
    (("curate", "--warc", "a.warc", "--out"), "/proc/x"), (("curate", "--warc", "a.warc", "--out"), "/dev/null/x"),
    (("train-image", "--shards", "s", "--out"), "/dev/null/x"), (("train-image", "--shards", "s", "--out"), "/sys/x"),
    (("reproduce", "figure-3", "--scale", "replay", "--here", "--out"), "/proc/x"),
])
def test_read_only_places(words, place):
    done = run(*words, place)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
