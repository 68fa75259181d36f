"""Clips are copied, frame by frame equal to the film; what is lost has a cause; whole or not at all."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import is_sum
from dclm_nb.shards.tally import Refused
from dclm_nb.video.clips import CAUSES, changed_frames, clip_name, frame_hashes, plan_clips, shots, write_clips
from dclm_nb.video.cuts import Transition, find_cuts
from dclm_nb.video.decoding import Packets, packet_table, probe, read_frames
from dclm_nb.video.footage import real_film

av = pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
from films_made import made, texture                                                    # noqa: E402

SPANS = [(0, 17), (17, 40), (40, 60)]


def table_of(shown, keys):
    shown = np.array(shown)
    return Packets(np.arange(len(shown)) / 25, np.isin(np.arange(len(shown)), keys), np.argsort(shown))


def planned(table, spans, **settings):
    clips, lost = plan_clips(table, spans, **settings)
    return [(clip.first, clip.after) for clip in clips], dict(lost)


def test_shots_lie_between_transitions():
    found = [Transition("cut", 30, 30, 1.2, 1.2, None), Transition("fade", 70, 90, 2.8, 3.6, 2.0)]
    assert shots(found, 120) == [(0, 30), (30, 70), (90, 120)]
    assert shots([], 5) == [(0, 5)] and shots([Transition("fade", 0, 9, 0, 0.36, 2.0)], 12) == [(9, 12)]


def test_a_clip_begins_with_a_keyframe_and_never_crosses_a_cut():
    plain = table_of(range(12), [0, 6])
    assert planned(plain, [(0, 4), (4, 12)]) == ([(0, 4), (6, 12)], {"before the keyframe": 2})
    assert planned(plain, [(1, 5)]) == ([], {"no keyframe": 4})
    assert planned(plain, [(0, 4), (4, 12)], shortest=0.2) == ([(6, 12)], {"before the keyframe": 2, "too short": 4})
    assert planned(plain, [(0, 9)], to_keyframe=True) == ([(0, 6)], {"after the last whole group": 3})


def test_b_frames_end_a_clip_where_all_that_is_decoded_is_shown():
    closed = table_of([0, 3, 1, 2, 5, 4, 6, 9, 7, 8, 11, 10], [0, 6])
    assert planned(closed, [(0, 5)]) == ([(0, 4)], {"after the last whole group": 1})
    assert planned(closed, [(0, 3)]) == ([(0, 1)], {"after the last whole group": 2})
    opened = table_of([0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 11, 10], [0, 6])
    assert planned(opened, [(0, 6), (6, 12)]) == ([(0, 4), (6, 12)], {"after the last whole group": 2})


def test_frames_are_kept_or_lost_and_nothing_else():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 60))
        shown = np.argsort(np.arange(n) + rng.integers(0, 4, n), kind="stable")
        keys = np.flatnonzero(rng.random(n) < 0.2)
        edges = [0, *np.unique(rng.integers(1, n, 3)).tolist(), n]
        clips, lost = plan_clips(table_of(shown, keys), list(zip(edges, edges[1:])))
        assert sum(clip.frames for clip in clips) + lost.total() == n and all(clip.first in keys for clip in clips)
        assert set(lost) <= {*CAUSES, "before the keyframe", "after the last whole group"}


CODECS = {
    "b-frames.mp4": dict(g=12, bf=3),
    "open.mkv": dict(**{"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}),
    "hevc.mp4": dict(codec="libx265", **{"x265-params": "keyint=12:bframes=3:open-gop=1:log-level=none"}),
    "ten.mkv": dict(codec="libx265", pixels="yuv420p10le", **{"x265-params": "keyint=12:log-level=none"}),
    "old.mpg": dict(codec="mpeg2video", g=12, bf=2),
    "divx.avi": dict(codec="mpeg4", g=12, bf=2),
    "stills.avi": dict(codec="mjpeg", pixels="yuvj420p"),
    "lossless.mkv": dict(codec="ffv1", pixels="yuv444p"),
    "web.webm": dict(codec="libvpx-vp9", g=12, deadline="realtime", **{"cpu-used": 8}),
    "orderless.avi": dict(g=12, bf=3),
    "bare.h264": dict(g=12, bf=3),
    "broadcast.ts": dict(g=12, bf=3),
}


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_is_that_of_the_film_bit_by_bit(name, tmp_path):
    try: path = made(tmp_path / name, texture(60), **CODECS[name])
    except av.codec.codec.UnknownCodecError: pytest.skip(f"PyAV was built without the encoder of {name}")
    table, hashes = packet_table(path), frame_hashes(path)
    clips, lost = plan_clips(table, SPANS)
    assert len(hashes) == len(table.times) == 60 and len(set(hashes)) > 20 and len(clips) == 3
    for copy, clip in zip(write_clips(path, clips, tmp_path / "clips"), clips):
        assert changed_frames(copy, hashes, clip.first, clip.frames) == 0
        assert probe(copy).frames == clip.frames and not probe(copy).faults
        assert probe(copy).seconds == pytest.approx(clip.end - clip.start, abs=0.021)


def test_times_that_are_uneven_stay_so(tmp_path):
    moments = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.12], 60))
    path = made(tmp_path / "uneven.mp4", texture(60), moments, g=12)
    clips, _ = plan_clips(packet_table(path), SPANS)
    for copy, clip in zip(write_clips(path, clips, tmp_path), clips):
        assert packet_table(copy).times == pytest.approx(moments[clip.first:clip.after] - moments[clip.first], abs=1e-3)


def test_a_film_on_its_side_stays_so(tmp_path):
    path = made(tmp_path / "side.mp4", texture(60), rotation=90, g=12)
    clips, _ = plan_clips(packet_table(path), SPANS)
    copy = write_clips(path, clips, tmp_path)[0]
    assert probe(copy).rotation == 90 and next(read_frames(copy)).picture.shape == (80, 48, 3)


@pytest.mark.parametrize("name, settings", [("film.gif", dict(codec="gif", pixels="rgb8")),
                                            ("film.avi", dict(codec="rawvideo", pixels="bgr24"))])
def test_what_no_container_holds_is_refused(name, settings, tmp_path):
    path = made(tmp_path / name, texture(20), **settings)
    clips, _ = plan_clips(packet_table(path), [(0, 20)])
    with pytest.raises(Refused, match="not copyable"): write_clips(path, clips, tmp_path / "clips")
    assert not list((tmp_path / "clips").iterdir())


def test_interrupted_and_continued_is_the_same(tmp_path):
    path = made(tmp_path / "film.mp4", texture(60), g=12)
    clips, _ = plan_clips(packet_table(path), SPANS)
    whole = write_clips(path, clips, tmp_path / "whole")
    part = write_clips(path, clips[:1], tmp_path / "part")
    before = part[0].stat().st_mtime_ns
    (tmp_path / "part" / part[0].name.replace("0000", "0001")).write_bytes(b"half a clip")
    again = write_clips(path, clips, tmp_path / "part")
    assert [p.name for p in again] == [p.name for p in whole] == ["film-0000.mp4", "film-0001.mp4", "film-0002.mp4"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(again, whole)) and again[0].stat().st_mtime_ns == before
    left = [p for p in (tmp_path / "part").iterdir() if not is_sum(p)]
    assert sorted(p.name for p in left) == [p.name for p in whole]


def test_a_clip_of_another_film_of_the_name_is_written_anew(tmp_path):
    old, new = (made(tmp_path / name, texture(60, seed), g=12) for seed, name in enumerate(("old.mp4", "new.mp4")))
    for path in (old, new):
        clips, _ = plan_clips(packet_table(path), SPANS)
        copy = write_clips(path, clips, tmp_path / "clips", film="film")[0]
    assert changed_frames(copy, new, clips[0].first, clips[0].frames) == 0


def test_changed_frames_are_seen(tmp_path):
    one, other = (made(tmp_path / f"{seed}.mp4", texture(20, seed)) for seed in range(2))
    assert changed_frames(one, one, 0, 20) == 0 and changed_frames(one, other, 0, 20) == 20
    assert changed_frames(one, one, 1, 19) > 0 and changed_frames(one, one, 0, 15) == 5


def test_names():
    assert clip_name("a", 3, "h264") == "a-0003.mp4" and clip_name("a", 12345, "ffv1") == "a-12345.mkv"


@pytest.mark.parametrize("name, frames", [("bikes", 250), ("city", 190)])
def test_real_films_lose_nothing_and_change_nothing(name, frames, tmp_path):
    try: path = real_film(name)
    except UserError as error: pytest.skip(f"real films cannot be had here: {error}")
    table, hashes = packet_table(path), frame_hashes(path)
    clips, lost = plan_clips(table, shots(find_cuts(path), len(table.times)))
    assert not lost and sum(clip.frames for clip in clips) == frames
    copies = write_clips(path, clips, tmp_path)
    assert not any(changed_frames(copy, hashes, clip.first, clip.frames) for copy, clip in zip(copies, clips))
