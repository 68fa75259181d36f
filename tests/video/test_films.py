"""Films as files: what lies there is the film, with its own list of cuts; a killed writer goes on to the same end."""
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import is_sum
from dclm_nb.video.films import (
    OUTSIDE, FilmNotes, films_of, notes_of, outside_world, read_notes, write_film, write_films,
)
from dclm_nb.video.world import WorldSpec, draw_film, film_frames, truth_of

av = pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
SHORT = replace(WorldSpec(), scenes=(2, 3), seconds=(0.8, 1.4))


def decoded(path) -> np.ndarray:
    with av.open(str(path)) as file: return np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])


@pytest.mark.parametrize("fps", [24.0, 30000 / 1001])
def test_a_file_holds_the_frames_and_the_rate_of_the_film(fps, tmp_path):
    film = draw_film(replace(SHORT, fps=(fps,)), "file")
    path = write_film(film, tmp_path / "film.mp4", size=64, every=12)
    shown, drawn = decoded(path), np.concatenate(list(film_frames(film, 64)))
    assert shown.shape == drawn.shape and ((shown.astype(float) - drawn) ** 2).mean() < 120
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        packets = [p for p in file.demux(stream) if p.pts is not None]
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-6) and stream.codec_context.name == "h264"
    keys = [round(float(p.pts * p.time_base) * fps) for p in packets if p.is_keyframe]
    assert keys == list(range(0, film.frames, 12))
    assert [f.name for f in tmp_path.iterdir()] == ["film.mp4"]


def test_equal_films_are_equal_files(tmp_path):
    film = list(films_of(4, SHORT))[3]
    rng, found = np.random.default_rng(0), set()
    for _ in range(25):
        # the encoder gets memory that others have used
        junk = [rng.integers(0, 255, rng.integers(1000, 200000), dtype=np.uint8) for _ in range(40)]
        del junk
        found.add(write_film(film, tmp_path / "film.mp4", size=64).read_bytes())
    assert len(found) == 1


def test_a_films_own_list_has_only_the_listed_cuts(tmp_path):
    film = next(f for f in films_of(50, SHORT, seed=3) if 0 < sum(j.listed for j in f.joins) < len(f.joins))
    notes = read_notes(write_film(film, tmp_path / "film.mp4", size=32))
    assert notes.title == film.title and notes.said == ()
    listed = [join for join in film.joins if join.listed]
    assert len(notes.cuts) == len(listed)
    for cut, join in zip(notes.cuts, listed): assert join.first - 1 <= cut * film.fps <= join.last + 1
    assert notes.cuts == pytest.approx(notes_of(film).cuts, abs=1e-3)


def test_what_is_said_falls_into_its_scene(tmp_path):
    folder = write_films(tmp_path, 3, SHORT, size=32)
    for path in folder.paths():
        notes, known = read_notes(path), folder.truth()[path.stem]
        assert [notes.told(scene.start, scene.end) for scene in known.scenes] == [s.told for s in known.scenes]
    assert FilmNotes(said=((2.0, "a red ring"),)).told(0, 2) == ""


def test_curation_gets_no_truth(tmp_path):
    "What lies in the folder of films says nothing of stills, of text, or of cuts that are not listed."
    folder = write_films(tmp_path, 2, SHORT, size=32)
    assert {p.suffix for p in folder.films.iterdir()} == {".mp4", ".json", ".sum"}
    for path in folder.films.glob("*.json"): assert set(json.loads(path.read_text())) == {"said"}
    assert [truth_of(film) for film in films_of(2, SHORT)] == list(folder.truth().values())


def test_a_killed_writer_leaves_no_halves_and_goes_on(tmp_path):
    code = ("from dataclasses import replace; from dclm_nb.video.films import write_films\n"
            "from dclm_nb.video.world import WorldSpec\n"
            "short = replace(WorldSpec(), scenes=(2, 3), seconds=(0.8, 1.4))\n"
            f"write_films({str(tmp_path / 'killed')!r}, 8, short, 64)")
    process = subprocess.Popen([sys.executable, "-c", code])
    films = tmp_path / "killed" / "films"
    while process.poll() is None and len(list(films.glob("*.mp4"))) < 2: time.sleep(0.02)
    process.kill()
    process.wait()
    left = {p.name: p.read_bytes() for p in films.glob("*.mp4")}
    assert 2 <= len(left) < 8 and not (tmp_path / "killed" / "truth.jsonl").exists()
    # half a film, as it would lie there after a power cut
    (films / ".film-00007.mp4.1.ab.tmp").write_bytes(b"half")
    again, whole = (write_films(tmp_path / name, 8, SHORT, 64) for name in ("killed", "whole"))
    assert all(map(is_sum, again.films.glob(".*")))
    assert [p.read_bytes() for p in again.paths()] == [p.read_bytes() for p in whole.paths()]
    assert all((films / name).read_bytes() == data for name, data in left.items())
    assert again.truth_file.read_bytes() == whole.truth_file.read_bytes()


def test_others_files_and_other_settings_are_left_alone(tmp_path):
    write_films(tmp_path / "ours", 1, SHORT, 32)
    with pytest.raises(UserError, match="size"): write_films(tmp_path / "ours", 1, SHORT, 64)
    (tmp_path / "theirs" / "films").mkdir(parents=True)
    (tmp_path / "theirs" / "films" / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(UserError, match="not ours"): write_films(tmp_path / "theirs", 1, SHORT, 32)
    assert [p.name for p in (tmp_path / "theirs" / "films").iterdir()] == ["holiday.mp4"]


def test_sets_from_outside_have_the_property_of_their_model():
    marked, looks = ([truth_of(f) for f in films_of(30, outside_world(name))] for name in OUTSIDE)
    assert all(len(t.scenes) == 1 and t.scenes[0].text == "watermark" for t in marked)
    scenes = [scene for t in looks for scene in t.scenes]
    assert not any(scene.poor or scene.flicker for scene in scenes) and len(scenes) > 180
    assert np.mean([bool(scene.text) for scene in scenes]) == pytest.approx(0.25, abs=0.08)
