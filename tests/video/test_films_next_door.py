"""Films are read next door: their frames come through, and what ends the child is refused under the films' names."""
import pytest

from dclm_nb.shards.tally import Refused
from dclm_nb.video.airlock import Airlock

NEIGHBOUR = """
import os, time
from dclm_nb.shards.tally import Refused

def double(x): return 2 * x

def strange(x): raise Refused("not a film")

def misbehave(how):
    if how == "crash": os.abort()
    if how == "hang": time.sleep(3600)
    if how == "eat": yield len(bytearray(2 ** 36))
"""


@pytest.fixture(scope="module")
def airlock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("next door")
    (folder / "film_neighbour.py").write_text(NEIGHBOUR)
    with pytest.MonkeyPatch.context() as patch, Airlock(patience=1.5) as airlock:
        patch.syspath_prepend(str(folder))
        yield airlock


@pytest.mark.parametrize("how, cause", [
    ("crash", "decoder crashed"), ("hang", "too slow"), ("eat", "too much memory"),
])
def test_who_misbehaves_is_refused_and_the_next_task_is_well(how, cause, airlock):
    with pytest.raises(Refused) as refused: list(airlock.each("film_neighbour:misbehave", how))
    assert refused.value.cause == cause and airlock.run("film_neighbour:double", 4) == 8
    with pytest.raises(Refused, match="not a film"): airlock.run("film_neighbour:strange", 1)


def test_films_come_through_the_door(airlock, tmp_path):
    pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
    from films_made import ball, made

    from dclm_nb.video.decoding import Limits, read_frames
    film = made(tmp_path / "film.mp4", ball())
    there = list(airlock.each("dclm_nb.video.decoding:read_frames", film, short_side=24))
    assert len(there) == 40
    here = read_frames(film, short_side=24)
    assert all((a.picture == b.picture).all() and a.time == b.time for a, b in zip(there, here))
    assert airlock.run("dclm_nb.video.decoding:probe", film).frames == 40
    with pytest.raises(Refused, match="too long"): airlock.run("dclm_nb.video.decoding:probe", film, Limits(frames=3))
