"""Cuts and fades are found where they are; quick cameras, flashes and grain are none."""
from collections import Counter

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.cuts import (
    Alarm, CutFinder, CutSettings, Matches, Watch, cuts_of, find_cuts, match_cuts, naive_cascade, single_detector,
)
from dclm_nb.video.decoding import Frame, read_frames
from dclm_nb.video.footage import REAL, joined_film, real_film, real_shots
from dclm_nb.video.world import Join, WorldSpec, draw_film, film_frames

pytest.importorskip("scenedetect", reason="finding cuts needs PySceneDetect: pip install 'dclm_nb[video]'")
pytest.importorskip("cv2", reason="finding cuts needs OpenCV: pip install 'dclm_nb[video]'")


def frames_of(pictures, fps=25.0):
    for k, picture in enumerate(pictures): yield Frame(k, k / fps, picture)


def shot(seed, frames=75, step=1.0, size=(72, 128)):
    "A soft random picture over which the camera moves, uint8 \"T H W 3\"."
    import cv2
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (7, 30, 3)).astype(np.uint8)
    wide = cv2.resize(small, (size[1] * 4, size[0]), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, int(t * step):int(t * step) + size[1]] for t in range(frames)])


def mixed(old, new, kind, length):
    "Two shots joined; (pictures, first mixed frame, first pure frame)."
    rise = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    if kind == "crossfade":
        middle = old[-length:] * (1 - rise) + new[:length] * rise
        return np.concatenate([old[:-length], middle, new[length:]]).astype(np.uint8), len(old) - length, len(old)
    parts = [old[:-length], old[-length:] * (1 - rise), new[:length] * rise, new[length:]]
    return np.concatenate(parts).astype(np.uint8), len(old) - length, len(old) + length


def spans(found): return [(t.kind, t.first, t.after) for t in found]


def test_hard_cuts_are_found_to_the_frame():
    film = np.concatenate([shot(0, 40), shot(1, 60), shot(2, 33)])
    assert spans(cuts_of(frames_of(film))) == [("cut", 40, 40), ("cut", 100, 100)]
    first = cuts_of(frames_of(film))[0]
    assert first.start == first.end == pytest.approx(1.6)


FADES = [("crossfade", 12), ("crossfade", 25), ("crossfade", 40), ("fade", 12), ("fade", 20)]


@pytest.mark.parametrize("kind, length", FADES)
def test_fades_are_found_with_their_edges(kind, length):
    film, first, after = mixed(shot(3, step=0.2), shot(4, step=0.2), kind, length)
    (found,) = cuts_of(frames_of(film))
    assert found.kind == "fade" and abs(found.first - first) <= 3 and abs(found.after - after) <= 3
    assert found.start == pytest.approx(found.first / 25) and found.end == pytest.approx(found.after / 25)


def test_a_slow_crossfade_escapes_one_detector():
    film, *_ = mixed(shot(3, step=0.2), shot(4, step=0.2), "crossfade", 40)
    assert not single_detector(frames_of(film)) and len(cuts_of(frames_of(film))) == 1


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_pan_is_no_cut_however_quick(step):
    heard: list[Alarm] = []
    assert cuts_of(frames_of(shot(5, 75, step)), heard=heard) == []
    assert step < 5 or naive_cascade(heard)             # without the rule it would be


def test_a_flash_and_a_lamp_that_flickers_are_no_cut():
    film = shot(6).astype(int)
    film[30:32] = np.minimum(film[30:32] + 150, 255)
    film[50] //= 5
    assert cuts_of(frames_of(film.astype(np.uint8))) == []


def test_grain_is_no_cut_and_hides_none():
    rng = np.random.default_rng(0)
    film = np.concatenate([shot(7, 60), shot(8, 60)]).astype(np.float32)
    coarse = rng.normal(0, 40, (120, 18, 32, 3)).repeat(4, 1).repeat(4, 2)
    grainy = np.clip(film + coarse, 0, 255).astype(np.uint8)
    assert spans(cuts_of(frames_of(grainy))) == [("cut", 60, 60)]


def test_cuts_do_not_depend_on_the_rate_of_frames():
    for fps in (12.0, 24.0, 60.0):
        n = round(2 * fps)
        film = np.concatenate([shot(0, n, 25 / fps), shot(1, n, 25 / fps)])
        assert spans(cuts_of(frames_of(film, fps))) == [("cut", n, n)]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_films_too_short_for_anything(n): assert cuts_of(frames_of(shot(0, 75)[:n])) == []


def test_a_film_as_a_file_and_as_frames_is_the_same(tmp_path):
    pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
    from films_made import made
    path = made(tmp_path / "film.mp4", np.concatenate([shot(0, 40), shot(1, 60)]), crf=10)
    assert spans(find_cuts(path)) == spans(cuts_of(read_frames(path, short_side=128))) == [("cut", 40, 40)]


def test_the_memory_of_a_finder_is_bounded():
    finder = CutFinder()
    rng = np.random.default_rng(0)
    for k in range(1500): finder.push(Frame(k, k / 25, rng.integers(0, 255, (18, 32, 3)).astype(np.uint8)))
    assert len(finder.memory.pictures) < 25 * (finder.memory.seconds + 1) and len(finder.waiting) < 100


def test_settings_without_a_detector_for_every_frame():
    with pytest.raises(UserError, match="sees every frame"): CutSettings(watches=(Watch(6.0, 14.0),))


# --- what is counted


def test_matches():
    joins = [Join("cut", 40, 40), Join("crossfade", 80, 99), Join("fade", 200, 220)]
    right = match_cuts([(41, 41), (84, 96), (98, 99), (130, 130)], joins, fps=25)
    assert (right.joins, right.found, right.false) == (
        Counter(cut=1, crossfade=1, fade=1), Counter(cut=1, crossfade=1), 2)
    assert right.precision().mid == 0.5 and right.recall("fade").mid == 0 and right.recall("cut").mid == 1
    both = right + match_cuts([], joins, fps=25)
    assert both.recall("cut").mid == 0.5 and both.false == 2
    assert match_cuts([(42, 42)], joins[:1], fps=25).false == 1
    assert match_cuts([(105, 105)], joins[1:2], fps=25).false == 1
    assert match_cuts([(104, 104)], joins[1:2], fps=25).false == 0


def test_the_naive_cascade_counts_what_is_half_a_second_apart():
    heard = [Alarm(2.0, 49, 50, None), Alarm(1.0, 20, 25, 6.0), Alarm(1.2, 25, 30, 6.0), Alarm(2.4, 55, 60, 2.0)]
    assert naive_cascade(heard) == [(21, 25), (50, 50)]


# --- real films


@pytest.mark.parametrize("name", ["bikes", "city", "card", "bunny", "carphone", "earth"])
def test_real_films_have_exactly_the_cuts_that_a_person_saw(name):
    try: path = real_film(name)
    except UserError as error: pytest.skip(f"real films cannot be had here: {error}")
    found = find_cuts(path)
    assert [t.first for t in found if t.kind == "cut"] == list(REAL[name].cuts)
    fades = [t for t in found if t.kind == "fade"]
    assert len(fades) == len(REAL[name].fades)
    assert all(abs(t.first - a) <= 2 and abs(t.after - 1 - b) <= 2 for t, (a, b) in zip(fades, REAL[name].fades))


def judged(films):
    "Matches of the rule, of one detector, and of the cascade without a rule."
    total = [Matches(Counter(), Counter())] * 3
    for pictures, fps, joins in films:
        heard: list[Alarm] = []
        found = [(t.first, t.after) for t in cuts_of(frames_of(pictures, fps), heard=heard)]
        others = single_detector(frames_of(pictures, fps)), naive_cascade(heard)
        total = [t + match_cuts(s, joins, fps) for t, s in zip(total, (found, *others))]
    return total


def test_shots_of_real_films_joined_anew():
    try: shots = real_shots("held out")
    except UserError as error: pytest.skip(f"real films cannot be had here: {error}")
    films = (joined_film(shots, "tested", k) for k in range(10))
    rule, single, naive = judged((film.frames, film.fps, film.joins) for film in films)
    assert rule.recall("cut").mid == 1 and rule.precision().mid >= 0.9 > 0.8 > naive.precision().mid
    assert rule.recall("crossfade").mid >= max(0.6, single.recall("crossfade").mid + 0.3)
    assert rule.recall("fade").mid >= 0.85


def test_drawn_films():
    films = [draw_film(WorldSpec(), "tested", k) for k in range(3)]
    drawn = ((np.concatenate(list(film_frames(film, 96))), film.fps, film.joins) for film in films)
    rule, single, naive = judged(drawn)
    assert rule.recall("cut").mid == 1 and rule.false <= 1
    assert rule.found.total() >= single.found.total()
