"""Films to clips: every film and every shot has one fate, nothing stops the run, and a run that was killed, cut short
by a full disk or shared by two processes gives the bytes of one that was left alone."""
import hashlib
import os
import re
import time
from pathlib import Path

import pytest
from forked import forked, started
from tiers import nightly

pytest.importorskip("av")
pytest.importorskip("scenedetect")

from dclm_nb.core.errors import UserError  # noqa: E402
from dclm_nb.video.decoding import Limits  # noqa: E402
from dclm_nb.video.film_blocks import FilmsFound, find_films  # noqa: E402
from dclm_nb.video.filters import Rule  # noqa: E402
from dclm_nb.video.films import write_films  # noqa: E402
from dclm_nb.video.pipeline import NoClips, VideoCuration, curate_films, film_book, read_settings  # noqa: E402
from dclm_nb.video.world import WorldSpec  # noqa: E402

QUICK = VideoCuration(shortest=0.3, text=None, filters=(Rule("motion", share=0.4),), clips_a_tar=3)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    spec = WorldSpec(scenes=(2, 3), seconds=(1.2, 1.8))
    world = write_films(folder / "world", 2, spec, size=48, every=8)
    good = world.paths()[0].read_bytes()
    for name, data in {"empty": b"", "text": b"no film", "cut": good[: len(good) // 3]}.items():
        (world.films / f"{name}.mp4").write_bytes(data)
    (world.films / "folder.mp4").mkdir()
    (world.films / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(world.films / "pipe.mp4")
    return world.films


@pytest.fixture(scope="module")
def report(films, tmp_path_factory): return curate_films(films, tmp_path_factory.mktemp("out"), QUICK, workers=1)


def bytes_of(report):
    return {
        str(p.relative_to(report.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(report.folder.rglob("*"))
        if p.is_file() and not {"logs", "heartbeat"} & set(p.relative_to(report.folder).parts)
    }


def test_both_books_balance_and_every_cause_is_named(films, report):
    book = {row["films"]: row["count"] for row in report.data["films"]}
    assert book.pop("films met") == sum(book.values()) == 8 and book["films used"] == 2
    assert {Path(f["source"]).stem: f["cause"] for f in report.faults()} == dict(
        empty="empty", text="not a film", cut="not a film", folder="not a file", loop="links in a circle",
        pipe="not a file",
    )
    removed, kept = report.removed(), report.kept()
    shots = sum(film["shots"] for film in report.used())
    assert report.funnel.left.iloc[0] == shots == len(removed) + len(kept)
    assert report.funnel.left.iloc[-1] == len(kept)
    assert len({r["id"] for r in removed} | {d.id for d in kept}) == shots
    assert all(r["stage"] and r["step"] for r in removed)
    assert any(r["stage"] == "motion" and r["statistic"] < report.thresholds[0].threshold for r in removed)
    assert all(Path(d.metadata["path"]).is_file() for d in kept)
    assert all(d.metadata["motion"] >= report.thresholds[0].threshold for d in kept)


def test_a_film_that_is_lost_from_the_book_is_noticed(report):
    with pytest.raises(RuntimeError, match="do not balance"): film_book(report.folder, 9)


def test_the_shards_the_card_and_the_sheet_tell_of_the_same_clips(report):
    import pyarrow.parquet as pq
    ids = [d.id for d in report.kept()]
    table = pq.ParquetDataset(sorted(report.shards.glob("*.parquet"))).read().to_pylist()
    assert [row["id"] for row in table] == ids and all(0 <= row["motion_bucket_id"] < 256 for row in table)
    assert all(row["fps_id"] == round(row["fps"]) - 1 for row in table)
    card, sheet = (report.folder / "card.md").read_text(), report.sheet.read_text()
    assert f"{len(ids)} clips of 2 films" in card and "| refused: empty | 1 |" in card
    assert all(clip.id in sheet for clip in report.measured()) and "data:image/jpeg" in sheet


@pytest.mark.parametrize("workers", [1, *nightly(2)])
def test_another_folder_and_any_number_of_workers_give_the_same_bytes(films, report, tmp_path, workers):
    assert bytes_of(curate_films(films, tmp_path, QUICK, workers=workers)) == bytes_of(report)


KILLED = """
import os, signal
from pathlib import Path
from dclm_nb.video.filters import Rule
from dclm_nb.video.pipeline import VideoCuration, curate_films

def main(films, out, number):
    "Curate, and die before file `number` of the run takes its name."
    rename, done = os.replace, []
    def replace(a, b):
        if not {"logs", "heartbeat"} & set(Path(b).parts): done.append(b)
        if len(done) == number: os.kill(os.getpid(), signal.SIGKILL)
        return rename(a, b)
    os.replace = replace
    quick = VideoCuration(shortest=0.3, text=None, filters=(Rule("motion", share=0.4),), clips_a_tar=3)
    curate_films(films, out, quick, workers=1)
"""


@pytest.fixture(scope="module")
def killed():
    with forked(KILLED) as call: yield call


# eight films: films, shots, records and removals each; measured; thresholds; kept; shards, scale; sheet, report, card
@pytest.mark.parametrize("number", [5, 40, *nightly(1, 2, 12, 20, 31, 33, 47, 50, 58, 66, 70, 71, 72, 73)])
def test_killed_and_continued_equals_uninterrupted(films, report, killed, tmp_path, number):
    assert killed(str(films), str(tmp_path), number) == -9
    assert not list(tmp_path.rglob("report.json"))
    assert bytes_of(curate_films(films, tmp_path, QUICK, workers=1)) == bytes_of(report)
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_processes_at_one_folder_wait_for_each_other(films, report, tmp_path):
    other = started(KILLED, str(films), str(tmp_path), 10**6)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*.lock")) and time.monotonic() < until: time.sleep(0.05)
    mine = curate_films(films, tmp_path, QUICK, workers=1)
    assert other.wait(60) == 0 and bytes_of(mine) == bytes_of(report)


LATER = nightly("shards/.00000.tar", "measured/.00001", ".contact_sheet", ".card")


@pytest.mark.parametrize("where", ["films/.00000", *LATER])
def test_a_full_disk_is_named_and_costs_nothing(films, report, tmp_path, monkeypatch, where):
    import errno
    real = os.fsync
    def full(fd):
        if where in os.readlink(f"/proc/self/fd/{fd}"): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"): curate_films(films, tmp_path, QUICK, workers=1)
    monkeypatch.undo()
    assert bytes_of(curate_films(films, tmp_path, QUICK, workers=1)) == bytes_of(report)


def test_a_finished_run_is_taken_and_the_key_knows_content_name_and_settings(films, report, tmp_path):
    before = (report.folder / "report.json").stat().st_mtime_ns
    assert curate_films(films, report.folder.parent, QUICK).folder == report.folder
    assert (report.folder / "report.json").stat().st_mtime_ns == before
    from dataclasses import replace
    from dclm_nb.video.pipeline import films_key
    found = find_films(films)
    assert films_key(QUICK, found) == report.key != films_key(replace(QUICK, shortest=0.4), found)
    assert films_key(QUICK, FilmsFound(dict(list(found.films.items())[1:]))) != report.key


def test_near_duplicates_go_by_name_where_one_asks(films, report, tmp_path):
    import shutil
    from dataclasses import replace
    from dclm_nb.video.near_duplicates import DuplicateConfig
    twice = tmp_path / "films"
    twice.mkdir()
    for name in ("a", "b"): shutil.copy(films / "film-00000.mp4", twice / f"{name}.mp4")
    config = replace(QUICK, filters=(), duplicates=DuplicateConfig(distance=0.05))
    found = curate_films(twice, tmp_path / "out", config, workers=1)
    assert {clip.metadata["film"] for clip in found.kept()} == {"a"}
    gone = [r for r in found.removed() if r["stage"] == "near duplicates"]
    assert gone and all(r["statistic"] == r["id"].replace("b/", "a/") for r in gone if r["id"].startswith("b/"))


def test_every_block_can_be_sent_to_another_machine(films):
    import pickle
    from dclm_nb.video.pipeline import build_pipeline
    for stage in build_pipeline(QUICK, find_films(films), "somewhere"): pickle.loads(pickle.dumps(stage))


def test_without_a_clip_the_report_says_why(tmp_path):
    (folder := tmp_path / "films").mkdir()
    (folder / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(NoClips) as said: curate_films(folder, tmp_path / "out", QUICK, workers=1)
    assert said.value.report.data["films"][1] == {"films": "refused: not a film", "count": 1}
    (folder / "a.mp4").unlink()
    with pytest.raises(UserError, match="has the ending of a film"): curate_films(folder, tmp_path / "out", QUICK)
    with pytest.raises(UserError, match="no folder"): curate_films(tmp_path / "none", tmp_path / "out", QUICK)


def test_the_result_may_not_lie_among_the_films_it_is_made_of(films):
    with pytest.raises(UserError, match="choose another folder"): curate_films(films, films.parent, QUICK)


def test_a_film_that_costs_too_much_is_refused_and_the_rest_goes_on(films, report, tmp_path):
    seconds = sorted(film["seconds"] for film in report.used())
    limits = Limits(seconds=sum(seconds) / 2)
    bounded = curate_films(films, tmp_path, VideoCuration(text=None, shortest=0.3, limits=limits), workers=1)
    assert seconds[0] < limits.seconds < seconds[1] and [film["seconds"] for film in bounded.used()] == seconds[:1]
    assert "too long" in {fault["cause"] for fault in bounded.faults()}


@pytest.mark.parametrize("line, said", [
    ("shortes: 2", "did you mean 'shortest'"), ("shortest: long", "is a number"), ("text: 3", "settings by name"),
    ("filters: [{measure: similarity, share: 0.5}]", "unknown measure 'similarity'"), ("reader: x", "needs a caption"),
    ("- 1", "settings by name"), ("captions: [coca]", "unknown kind of caption"), ("clips_a_tar: 1.5", "whole number"),
    ("limits: {second: 1}", "did you mean 'seconds'"), ("flow: {rate: true}", "is a number"),
])
def test_a_wrong_line_in_the_settings_is_named(tmp_path, line, said):
    (file := tmp_path / "a.yaml").write_text(line)
    with pytest.raises(UserError, match=said) as error: read_settings(file)
    assert str(file) in str(error.value)


def test_the_settings_that_we_ship_can_be_read():
    folder = Path(__file__).parents[2] / "reproduce" / "svd" / "curation"
    found = {path.name: read_settings(path) for path in folder.glob("*.yaml")}
    assert found["svd.yaml"] == VideoCuration(filters=VideoCuration().rules) and len(found) >= 3


def test_settings_survive_their_way_through_yaml(tmp_path):
    import yaml
    (file := tmp_path / "a.yaml").write_text(yaml.safe_dump(QUICK.settings()))
    assert read_settings(file) == QUICK


def test_names_of_films_are_safe_and_their_own(tmp_path):
    for name in ("a/x.mp4", "a-x.mp4", "b.mkv", "b.mp4", "<b>&.mov", ".hidden.mp4", "notes.txt", "ß" * 60 + ".mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "circle").symlink_to(".")
    found = find_films(tmp_path)
    assert len(found.films) == 7 - 1 and found.passed_over >= 1
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,110}", name) for name in found.films)
