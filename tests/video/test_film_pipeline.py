"""Films to clips: every film and every shot has one fate, nothing stops the run, and a run that was killed, cut short
by a full disk or shared by two processes gives the bytes of one that was left alone."""
import hashlib
import os
import re
import time
from pathlib import Path

import pytest
from forked import forked, marked, started
from tiers import nightly

pytest.importorskip("av")
pytest.importorskip("scenedetect")

from dclm_nb.core.errors import UserError  # noqa: E402
from dclm_nb.core.settings import read_settings  # noqa: E402
from dclm_nb.video.decoding import Limits  # noqa: E402
from dclm_nb.video.film_blocks import FilmsFound, find_films  # noqa: E402
from dclm_nb.video.filters import Cut, Rule  # noqa: E402
from dclm_nb.video.films import write_films  # noqa: E402
from dclm_nb.video.pipeline import FilmReport, NoClips, VideoCuration, curate_films, film_book  # noqa: E402
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
    assert {Path(f["source"]).stem: f["detail"] for f in report.faults()} == dict(
        empty="", text="text", cut="an MP4 without its index, cut off?", folder="a folder",
        loop="Too many levels of symbolic links", pipe="a pipe",
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


def test_each_rule_is_a_sentence_and_one_says_which_took_most(tmp_path, report):
    rules = Rule("motion", share=0.25), Rule("text_area", too_high=True, limit=0.07), Rule("aesthetics", limit=3.5)
    cuts = [Cut(rule, threshold, 11, 1, 1).to_dict() for rule, threshold in zip(rules, (1.25, 0.07, 3.5))]
    took = [("clips", "too short", 9), ("motion", "too low", 3), ("motion", "missing", 1), ("text area", "too high", 2)]
    reasons = [dict(stage=stage, step=step, documents=n) for stage, step, n in took]
    assert FilmReport(tmp_path, "", dict(thresholds=cuts, reasons=reasons)).rules_told() == [
        "clips with motion below 1.25 pixels a second (short side: 128) are dropped (the lowest 0.25): 4 of 12",
        "clips with text area above 0.07 of the picture are dropped: 2 of 12",
        "clips with aesthetics below 3.5 points are dropped: 0 of 12",
        "the rule on motion took most: 4 clips (a clip counts for the first rule that it breaks)"]
    assert FilmReport(tmp_path, "", dict(thresholds=[], reasons=reasons)).rules_told() == []
    gone = sum(r["stage"] not in ("clips", "measures") for r in report.removed())
    assert sum(map(report.dropped, (cut.rule for cut in report.thresholds))) == gone > 0


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
@pytest.mark.parametrize("number", [5, 40, *nightly(1, 31, 58, 66, 70, 72, 73)])
def test_killed_and_continued_equals_uninterrupted(films, report, killed, tmp_path, number):
    assert killed(str(films), str(tmp_path), number) == -9
    assert not list(tmp_path.rglob("report.json"))
    assert bytes_of(curate_films(films, tmp_path, QUICK, workers=1)) == bytes_of(report)
    assert not list(tmp_path.rglob("*.tmp"))


KILLED_AT = (2, "measure", 0.3)
CURATE = """
import sys
from dclm_nb.video.pipeline import VideoCuration, curate_films
curate_films(sys.argv[1], sys.argv[2], VideoCuration(shortest=0.3, text=None), workers=int(sys.argv[3]))
"""


RARE = [(1, "cut", 0.0), (2, "cut", 0.1), (1, "cut", 0.3), (1, "measure", 0.1), (2, "measure", 0.0),
        (2, "measure", 1.0)]


@pytest.mark.parametrize("workers, stage, delay",
                         [KILLED_AT, *(pytest.param(*at, marks=pytest.mark.nightly) for at in RARE)])
def test_nothing_outlives_a_curation_that_is_killed(films, tmp_path, workers, stage, delay):
    import subprocess
    import sys
    mark = dict(KILLED_CURATION=str(tmp_path))
    alive = lambda: marked("KILLED_CURATION", str(tmp_path))
    words = [sys.executable, "-c", CURATE, str(films), str(tmp_path), str(workers)]
    killed = subprocess.Popen(words, env=os.environ | mark, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not list(tmp_path.glob(f"*/logs/{stage}")): time.sleep(0.01)
    time.sleep(delay)
    killed.kill()
    killed.wait()
    until = time.monotonic() + 60
    while (left := alive()) and time.monotonic() < until: time.sleep(0.05)
    assert not left


def test_two_processes_at_one_folder_wait_for_each_other(films, report, tmp_path):
    other = started(KILLED, str(films), str(tmp_path), 10**6)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*.lock")) and time.monotonic() < until: time.sleep(0.05)
    mine = curate_films(films, tmp_path, QUICK, workers=1)
    assert other.wait(60) == 0 and bytes_of(mine) == bytes_of(report)


LATER = nightly("shards/.00000.tar", ".card")


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
    with pytest.raises(UserError, match=said) as error: read_settings(file, VideoCuration)
    assert str(file) in str(error.value)


def test_an_unknown_setting_lists_all_with_what_they_are(tmp_path):
    import dataclasses
    from dclm_nb.video.training import VideoTraining
    (file := tmp_path / "a.yaml").write_text("shortst: 2")
    for kind in (VideoCuration, VideoTraining):
        with pytest.raises(UserError) as error: read_settings(file, kind)
        assert all(f"{field.name} (" in str(error.value) for field in dataclasses.fields(kind))
    file.write_text("limits: {second: 1}")
    with pytest.raises(UserError, match=r"seconds \(28800\)"): read_settings(file, VideoCuration)
    file.write_text("shortst: 2")
    with pytest.raises(UserError) as error: read_settings(file, VideoCuration)
    for default in ("shortest (1.0)", "captions ([])", "motion_scale (real)", "filters (null)", "duplicates (null)"):
        assert default in str(error.value)


def test_the_example_of_the_help_and_the_template_of_the_card_can_be_read(report, tmp_path):
    import inspect
    from dclm_nb.cli import curate_video
    lines = inspect.cleandoc(curate_video.__doc__).splitlines()
    first = next(k for k, line in enumerate(lines) if line.strip().startswith("shortest:"))
    (file := tmp_path / "a.yaml").write_text("\n".join(lines[first:lines.index("", first)]))
    rules = read_settings(file, VideoCuration).filters
    assert any(rule.share for rule in rules) and any(rule.limit for rule in rules)
    file.write_text((report.folder / "card.md").read_text().partition("```yaml")[2].partition("```")[0])
    assert read_settings(file, VideoCuration) == QUICK


def test_the_settings_that_we_ship_can_be_read():
    folder = Path(__file__).parents[2] / "reproduce" / "svd" / "curation"
    found = {path.name: read_settings(path, VideoCuration) for path in folder.glob("*.yaml")}
    assert found["svd.yaml"] == VideoCuration(filters=VideoCuration().rules) and len(found) >= 3


def test_settings_survive_their_way_through_yaml(tmp_path):
    import yaml
    (file := tmp_path / "a.yaml").write_text(yaml.safe_dump(QUICK.settings()))
    assert read_settings(file, VideoCuration) == QUICK


def test_names_of_films_are_safe_and_their_own(tmp_path):
    for name in ("a/x.mp4", "a-x.mp4", "b.mkv", "b.mp4", "<b>&.mov", ".hidden.mp4", "notes.txt", "ß" * 60 + ".mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "circle").symlink_to(".")
    found = find_films(tmp_path)
    assert len(found.films) == 7 - 1 and found.passed_over >= 1
    assert all(re.fullmatch(r"[A-Za-z0-9ß._-]{1,110}", name) for name in found.films) and found.links == 1


@pytest.mark.parametrize("file, name", [
    ("Ferien in Köln.mov", "Ferien_in_Köln"), ("Ko\u0308ln.mp4", "Köln"), ("đường phố.mp4", "đường_phố"),
    ("東京 タワー.mp4", "東京_タワー"), ("हिन्दी.mp4", "हिन्दी"), ("a:b*c?.mp4", "a_b_c_"), ("\N{FILM FRAMES}.mp4", "_"),
    ("tab\there.mp4", "tab_here"), ("half\udce9.mp4", "half_"), ("x\u202ey.mp4", "x_y"),
    ("plain-1_2.3.mp4", "plain-1_2.3"),
])
def test_names_keep_the_letters_of_any_script(tmp_path, file, name):
    (tmp_path / file).touch()
    assert list(find_films(tmp_path).films) == [name]


@pytest.mark.parametrize("letter", ["a", "é", "東", "𝒳", "ह"])
def test_a_long_name_fits_into_a_file_system(tmp_path, letter):
    many = 230 // len(letter.encode())
    (tmp_path / (letter * many + ".mp4")).touch()
    (name,) = find_films(tmp_path).films
    assert set(name) == {letter} and len(name.encode()) <= 200 and len(name) == min(100, 200 // len(letter.encode()))


HALF = b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\1\0\0mdat" + b"x" * 900


@pytest.mark.parametrize("data", [b"", b"only text", b"\0" * 5000, HALF])
def test_what_is_no_film_takes_no_name_away_from_a_film(films, tmp_path, data):
    (tmp_path / "trip.avi").write_bytes(data)
    (tmp_path / "trip.mp4").write_bytes((films / "film-00000.mp4").read_bytes())
    found = find_films(tmp_path).films
    assert {name: Path(path).suffix for name, path in found.items()} == {"trip": ".mp4", "trip-2": ".avi"}


@pytest.fixture(scope="module")
def mixed(films, tmp_path_factory):
    "Films there twice, a damaged one, a link to a folder, and text, as anybody has them."
    folder = tmp_path_factory.mktemp("mixed")
    good = (films / "film-00001.mp4").read_bytes()
    for name in ("a.mp4", "b.mp4", "c.mp4"): (folder / name).write_bytes(good)
    for name in ("x.mov", "y.mov"): (folder / name).write_bytes(b"")
    hurt, at = bytearray(good), good.index(b"mdat") + 1500
    for k in range(at, min(at + 4000, len(good) - 2000), 400): hurt[k:k + 30] = bytes(range(k % 200, k % 200 + 30))
    (folder / "scratched|ä.mp4").write_bytes(hurt)
    (folder / "readme.txt").touch()
    (folder / "elsewhere").symlink_to(films)
    (folder / "elsewhere too").symlink_to(films)
    return curate_films(folder, tmp_path_factory.mktemp("out"), QUICK, workers=1)


def test_damage_copies_and_what_was_passed_over_stand_everywhere(mixed, capsys):
    from dclm_nb.cli import _print_films
    _print_films(mixed)
    printed = capsys.readouterr().out
    pages = printed, (mixed.folder / "card.md").read_text().replace("\\|", "|"), mixed.sheet.read_text()
    damage = next(film["faults"] for film in mixed.used() if film["name"].startswith("scratched"))
    hurt = [f"{n} {what}{'' if n == 1 else 's'}" for fault, what in (("frame damaged", "frame"),
            ("packet damaged", "packet")) if (n := damage.get(fault))]
    assert hurt
    for page in pages:
        assert f"1 film is damaged and used: scratched|ä.mp4 ({hurt[0]}" in page
        assert "2 films have the same content as another and stay (duplicates in the settings" in page
        assert "): b.mp4 (as a.mp4), c.mp4 (as a.mp4)" in page
        assert "passed over: 1 file with another ending and 2 links to folders" in page
        assert "empty" in page
    assert len(mixed.used()) == 4 and "documents" not in printed + pages[1]


def test_the_sheet_says_how_many_of_those_that_stay_are_shown(tmp_path):
    pytest.importorskip("cv2")
    from datatrove.data import Document
    from dclm_nb.video.contact_sheet import write_sheet
    from dclm_nb.video.filters import settle
    clips = [Document("", f"f/{k:04d}", metadata=dict(motion=float(k), path="gone.mp4")) for k in range(23)]
    cut = settle(Rule("motion", limit=5.0), [clip.metadata["motion"] for clip in clips])
    page = write_sheet(clips, [cut], tmp_path, tmp_path / "a.html", unseen=["films refused: empty: 2"]).read_text()
    assert "What stays: 18 of 23 clips" in page and "16 of the 18 clips that stay are shown" in page
    assert page.index("films refused: empty: 2") > page.index("What stays")
    page = write_sheet(clips, [cut], tmp_path, tmp_path / "b.html", kept={"f/0007"}).read_text()
    assert "What stays: 1 of 23 clips" in page and "are shown." not in page.partition("What stays")[2]


@pytest.mark.parametrize("workers", [1, *nightly(2)])
def test_every_step_ends_at_its_total(films, tmp_path, monkeypatch, workers):
    from dclm_nb.core.progress import Progress
    ends = {}
    close = Progress.close
    monkeypatch.setattr(Progress, "close", lambda self, *a, **k: (ends.setdefault(
        self.name, (self.done, self.total)), close(self, *a, **k))[1])
    report = curate_films(films, tmp_path, QUICK, workers=workers)
    clips = sum(1 for _ in report.measured())
    assert ends["cut"] == (8, 8) and ends["measure"] == (clips, clips) and clips > 2
