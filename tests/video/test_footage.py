"""Real films of pinned packages are what is written about them, and shots joined anew have known joins."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.footage import REAL, SHOTS, joined_film, real_film, real_shots

pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")


def film_or_skip(name):
    try: return real_film(name)
    except UserError as error: pytest.skip(f"real films cannot be had here: {error}")


@pytest.mark.parametrize("name", REAL)
def test_a_real_film_has_its_frames(name):
    from dclm_nb.video.decoding import probe
    assert probe(film_or_skip(name)).frames == REAL[name].frames


def test_an_unknown_film_is_one_line():
    with pytest.raises(UserError, match="bikes"): real_film("bike")


def test_no_shot_is_in_both_splits(): assert not set(SHOTS["tuning"]) & set(SHOTS["held out"])


def test_shots_have_no_cut_inside():
    for name in ("bikes", "city"): film_or_skip(name)
    for name in {name for name, _ in SHOTS["held out"]}: film_or_skip(name)
    found = real_shots("held out")
    assert [len(shot) for shot in found] == [46, 50, 74, 132, 901] and found[0].shape[1:] == (144, 256, 3)
    with pytest.raises(UserError, match="held out"): real_shots("test")


def flat(level, n=90): return np.full((n, 6, 8, 3), level, np.uint8)


def test_joins_are_where_they_are_said_to_be():
    shots = [flat(40), flat(120), flat(200), flat(250)]
    kinds = set()
    for seed in range(20):
        film = joined_film(shots, seed)
        values, plain = film.frames[:, 0, 0, 0].astype(int), (40, 120, 200, 250)
        mixed = np.zeros(len(values), bool)
        for join in film.joins:
            kinds.add(join.kind)
            if join.kind == "cut": assert values[join.first - 1] != values[join.first]
            else: mixed[join.first:join.last + 1] = True
            if join.kind == "fade": assert values[join.first:join.last + 1].min() < 40
        assert (np.isin(values, plain) | mixed).all() and 2 <= len(film.joins) <= 3
        changes = np.flatnonzero(np.diff(values)) + 1
        assert all(any(join.first <= k <= join.last + 1 for join in film.joins) for k in changes)
        assert (joined_film(shots, seed).frames == film.frames).all()
    assert kinds == {"cut", "crossfade", "fade"}


@pytest.mark.parametrize("left_out, breaks_off", [((), False), ((7,), False), ((3, 4, 20), False), ((39,), True),
                                                  (range(20, 40), True)])
def test_a_frame_that_is_left_out_inside_is_no_end(left_out, breaks_off):
    from collections import Counter
    from types import SimpleNamespace

    from dclm_nb.video.decoding import Packets, _ends_early
    kept = np.array([k for k in range(40) if k not in left_out])
    packets = Packets(kept / 25, np.ones(len(kept), bool), np.arange(len(kept)))
    container = SimpleNamespace(duration=None, streams=[0])
    assert _ends_early(container, SimpleNamespace(frames=40), packets, Counter()) == breaks_off


def test_the_avi_film_is_whole():
    from dclm_nb.video.decoding import probe
    assert probe(film_or_skip("earth-avi")).faults == {}
