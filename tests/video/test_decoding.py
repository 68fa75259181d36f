"""Whatever strangers send is decoded rightly or refused under its true cause, in bounded time and memory."""
import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from films_made import ball, made, song, texture

from dclm_nb.core.errors import UserError
from dclm_nb.shards.tally import Refused, Tally
from dclm_nb.video.decoding import CAUSES, FAULTS, Clock, Limits, packet_table, probe, read_frames

av = pytest.importorskip("av", reason="films need PyAV: pip install 'dclm_nb[video]'")
BALL = ball()


@pytest.fixture(scope="module")
def plain(tmp_path_factory): return made(tmp_path_factory.mktemp("plain") / "plain.mp4", BALL, g=10)


def refusal(path, limits=Limits(), read=probe) -> str:
    "The cause under which a film is refused, which takes less than three seconds."
    started = time.monotonic()
    with pytest.raises(Refused) as refused: list(read(path, limits=limits) for _ in range(1))
    assert time.monotonic() - started < 3 and refused.value.cause in CAUSES
    return refused.value.cause


def all_frames(path, limits): return list(read_frames(path, limits=limits))


def close_to(pictures, frames, by: float = 4) -> bool:
    return all(np.abs(frame.picture.astype(int) - picture).mean() < by for picture, frame in zip(pictures, frames))


# --- what is no film


def test_not_there(tmp_path): assert refusal(tmp_path / "nothing.mp4") == "not there"


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert refusal(tmp_path / "empty.mp4") == "empty"


def test_a_folder(tmp_path): assert refusal(tmp_path) == "not a file"


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refusal(tmp_path / "pipe.mp4") == "not a file"


def test_links_in_a_circle(tmp_path):
    (tmp_path / "circle.mp4").symlink_to(tmp_path / "circle.mp4")
    assert refusal(tmp_path / "circle.mp4") == "links in a circle"


def test_a_link_to_a_film_is_the_film(plain, tmp_path):
    (tmp_path / "link.mp4").symlink_to(plain)
    assert probe(tmp_path / "link.mp4").frames == 40


def test_permissions_that_forbid(plain, tmp_path, monkeypatch):
    (tmp_path / "mine.mp4").write_bytes(plain.read_bytes())
    (tmp_path / "mine.mp4").chmod(0)
    if os.geteuid() == 0:                                # root may read everything: the system's answer is made
        def forbidden(*_): raise PermissionError(13, "Permission denied")
        monkeypatch.setattr("builtins.open", forbidden)
    assert refusal(tmp_path / "mine.mp4") == "not readable"


NO_FILMS = ["Dear Sir or Madam,\n" * 50, "#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "\0" * 999]


@pytest.mark.parametrize("content", NO_FILMS)
def test_text_a_playlist_and_zeros_named_mp4(content, tmp_path):
    (tmp_path / "letter.mp4").write_text(content)
    assert refusal(tmp_path / "letter.mp4") == "not a film"


def test_random_bytes(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    assert refusal(tmp_path / "noise.mp4") in ("not a film", "no picture", "not decodable", "single frame")


def test_sound_only(tmp_path): assert refusal(song(tmp_path / "song.mp4")) == "no picture"


def test_one_picture_is_no_film(tmp_path): assert refusal(made(tmp_path / "one.mp4", BALL[:1])) == "single frame"


def test_a_film_without_duration(tmp_path):
    path = made(tmp_path / "moment.mkv", BALL[:1], codec="ffv1", pixels="yuv444p")
    assert refusal(path) == "single frame"


def test_an_index_without_a_film(plain, tmp_path):
    "The box of the pictures is emptied: what is left is the index, at the end of the file."
    data = bytearray(plain.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
    (tmp_path / "hollow.mp4").write_bytes(data)
    assert refusal(tmp_path / "hollow.mp4") == "not decodable"


def test_a_film_without_its_index(plain, tmp_path):
    (tmp_path / "half.mp4").write_bytes(plain.read_bytes()[:900])
    assert refusal(tmp_path / "half.mp4") == "not a film"


# --- what is too much


@pytest.mark.parametrize("read", [probe, all_frames])
def test_a_vast_frame_in_a_small_file(read, tmp_path):
    path = made(tmp_path / "vast.mkv", np.zeros((2, 1024, 2048, 3), np.uint8), preset="ultrafast")
    assert path.stat().st_size < 100_000
    assert refusal(path, Limits(pixels=1_000_000), read) == "frame too large"
    assert probe(path, Limits(pixels=1024 * 2048)).width == 2048


def test_frames_that_grow_beyond_the_limit_in_the_middle(tmp_path):
    "The header tells of small frames; a second film that was written behind the first has large ones."
    parts = made(tmp_path / "small.h264", ball(12)), made(tmp_path / "large.h264", ball(12, 96, 160))
    (tmp_path / "grows.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, faults = [], Counter()
    try: frames.extend(read_frames(tmp_path / "grows.h264", limits=Limits(pixels=100 * 64), faults=faults))
    except Refused as refused: faults[refused.cause] += 1
    assert all(frame.picture.shape == (48, 80, 3) for frame in frames) and len(frames) <= 12
    assert faults["packet damaged"] or faults["frame too large"]
    assert len(list(read_frames(tmp_path / "grows.h264"))) == 24


def test_too_long_in_frames_in_seconds_and_in_bytes(plain):
    assert refusal(plain, Limits(frames=20)) == "too long"
    assert refusal(plain, Limits(frames=20), all_frames) == "too long"
    assert refusal(plain, Limits(seconds=1.0)) == "too long"
    assert refusal(plain, Limits(seconds=1.0), all_frames) == "too long"
    assert refusal(plain, Limits(file_bytes=1000)) == "file too large"


def test_no_more_patience(plain): assert refusal(plain, Limits(patience=-1), all_frames) == "too slow"


# --- what is odd and decoded


def test_a_plain_film(plain):
    facts, frames = probe(plain), list(read_frames(plain))
    assert (facts.width, facts.height, facts.frames, facts.fps, facts.codec) == (80, 48, 40, pytest.approx(25), "h264")
    assert facts.seconds == pytest.approx(1.6) and facts.keyframes == pytest.approx((0, 0.4, 0.8, 1.2))
    assert not (facts.variable_rate or facts.interlaced or facts.sound or facts.rotation or facts.faults)
    assert [frame.index for frame in frames] == list(range(40)) and close_to(BALL, frames)
    assert [frame.time for frame in frames] == pytest.approx(np.arange(40) / 25)


def test_every_kth_frame_and_so_many_a_second(plain):
    assert [frame.index for frame in read_frames(plain, every=7)] == list(range(0, 40, 7))
    assert [frame.index for frame in read_frames(plain, fps=5)] == list(range(0, 40, 5))
    assert len(list(read_frames(plain, fps=1000))) == 40
    for wrong in (dict(every=0), dict(fps=0.0), dict(fps=-1.0)):
        with pytest.raises(UserError, match="every is 1 or more, fps above 0"): next(read_frames(plain, **wrong))


def test_the_short_side_is_made_smaller_and_never_larger(plain):
    assert next(read_frames(plain, short_side=24)).picture.shape == (24, 40, 3)
    assert next(read_frames(plain, short_side=400)).picture.shape == (48, 80, 3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_on_its_side_is_set_upright(degrees, tmp_path):
    path = made(tmp_path / "side.mp4", BALL, rotation=degrees)
    facts, frames = probe(path), list(read_frames(path))
    assert facts.rotation == degrees and (facts.height, facts.width) == np.rot90(BALL[0], degrees // 90).shape[:2]
    assert close_to(np.rot90(BALL, degrees // 90, axes=(1, 2)), frames)


def test_an_uneven_rate(tmp_path):
    moments = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.12], 40))
    path = made(tmp_path / "uneven.mp4", BALL, moments)
    facts = probe(path)
    assert facts.variable_rate and facts.fps == pytest.approx(39 / (moments[-1] - moments[0]))
    assert [frame.time for frame in read_frames(path)] == pytest.approx(moments - moments[0])
    assert packet_table(path).times == pytest.approx(moments - moments[0])


def test_ten_bits(tmp_path):
    path = made(tmp_path / "ten.mkv", BALL, codec="libx265", pixels="yuv420p10le", **{"x265-params": "log-level=none"})
    assert probe(path).bits == 10 and close_to(BALL, list(read_frames(path)))


def test_interlaced(tmp_path):
    path = made(tmp_path / "woven.mp4", BALL, **{"x264-params": "interlaced=1"})
    facts, frames = probe(path), list(read_frames(path))
    assert facts.interlaced and len(frames) == 40 and close_to(BALL, frames, 8)


def test_odd_sizes(tmp_path):
    path = made(tmp_path / "odd.mkv", BALL[:, :47, :63], codec="ffv1", pixels="yuv444p")
    facts, frames = probe(path), list(read_frames(path))
    assert (facts.width, facts.height) == (63, 47) and close_to(BALL[:, :47, :63], frames)


def test_pixels_that_are_not_square(tmp_path):
    path = made(tmp_path / "wide.mkv", BALL, aspect="10/3")         # a picture that is 10 to 3 has pixels of 2 to 1
    with av.open(str(path)) as file: ratio = file.streams.video[0].sample_aspect_ratio
    expected = round(80 * float(ratio)) if ratio else 80
    assert next(read_frames(path)).picture.shape == (48, expected, 3)


def test_the_wrong_extension(plain, tmp_path):
    (tmp_path / "film.txt").write_bytes(plain.read_bytes())
    assert probe(tmp_path / "film.txt").frames == 40


@pytest.mark.parametrize("name, codec, pixels", [
    ("film.avi", "mpeg4", "yuv420p"), ("film.webm", "libvpx", "yuv420p"), ("film.gif", "gif", "rgb8"),
    ("film.mpg", "mpeg2video", "yuv420p"), ("film.ts", "libx264", "yuv420p"), ("film.h264", "libx264", "yuv420p"),
])
def test_other_containers(name, codec, pixels, tmp_path):
    path = made(tmp_path / name, BALL, codec=codec, pixels=pixels)
    frames = list(read_frames(path))
    assert len(frames) == 40 and close_to(BALL, frames, 30 if codec == "gif" else 8) and probe(path).frames == 40
    assert np.diff([frame.time for frame in frames]) == pytest.approx(0.04, abs=0.011)


def test_negative_times(tmp_path):
    path = made(tmp_path / "before.nut", BALL, np.arange(40) / 25 - 0.5, codec="ffv1", pixels="yuv444p")
    assert [frame.time for frame in read_frames(path)] == pytest.approx(np.arange(40) / 25, abs=1e-3)


def test_a_time_that_jumps_for_years_is_counted_and_bridged(tmp_path):
    moments = np.arange(40) / 25 + np.where(np.arange(40) < 20, 0, 1e9)
    path, faults = made(tmp_path / "jump.mkv", BALL, moments, codec="ffv1", pixels="yuv444p"), Counter()
    frames = list(read_frames(path, faults=faults))
    assert faults == {"time jump": 1} and frames[-1].time == pytest.approx(39 / 25, abs=1e-3)
    assert probe(path).faults == {"time jump": 1} and probe(path).seconds == pytest.approx(1.6, abs=1e-2)


def test_times_that_are_missing_or_go_back():
    faults = Counter()
    clock = Clock(step=0.04, gap=60, faults=faults)
    assert [clock.at(t) for t in (None, 0.04, None, 0.02, 0.16)] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert faults == {"time missing": 2, "time backwards": 1} and set(faults) <= set(FAULTS)


def test_a_film_that_breaks_off(tmp_path):
    whole = made(tmp_path / "whole.mkv", BALL, g=10)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[:whole.stat().st_size * 3 // 4])
    facts, frames = probe(tmp_path / "cut.mkv"), list(read_frames(tmp_path / "cut.mkv"))
    assert facts.faults == {"breaks off": 1} and 5 < facts.frames < 40 and close_to(BALL, frames[:5])


def hurt(path, to):
    "The film with 200 other bytes in its middle."
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 200] = np.random.default_rng(0).bytes(200)
    to.write_bytes(data)
    return to


def test_a_damaged_middle_is_counted_and_the_rest_is_right(tmp_path):
    path, faults = hurt(made(tmp_path / "film.avi", texture(), codec="mpeg4", g=10), tmp_path / "hurt.avi"), Counter()
    frames = list(read_frames(path, faults=faults))
    assert faults.total() and set(faults) <= set(FAULTS) and len(frames) >= 38
    undamaged = list(read_frames(tmp_path / "film.avi"))            # a keyframe mends all that comes after it
    assert all((a.picture == b.picture).all() for a, b in zip(frames[-10:], undamaged[-10:]))


def test_a_packet_lost_on_the_way_is_counted(tmp_path):
    path, faults = hurt(made(tmp_path / "film.ts", BALL, g=10), tmp_path / "hurt.ts"), Counter()
    assert len(list(read_frames(path, faults=faults))) == 39 and faults["packet damaged"]


def test_a_container_that_cannot_go_on_says_so(tmp_path):
    path, faults = hurt(made(tmp_path / "film.mkv", BALL, g=10), tmp_path / "hurt.mkv"), Counter()
    assert 1 <= len(list(read_frames(path, faults=faults))) < 40 and faults.total()
    assert probe(path).faults.get("breaks off")


@pytest.mark.parametrize("seed", range(6))
def test_bytes_changed_anywhere_give_frames_or_a_cause(plain, seed, tmp_path):
    data, rng = bytearray(plain.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(data), 12): data[place] = rng.integers(256)
    (tmp_path / "changed.mp4").write_bytes(data)
    try: assert len(list(read_frames(tmp_path / "changed.mp4"))) <= 2000
    except Refused as refused: assert refused.cause in CAUSES


def test_causes_are_counted_like_those_of_shards(plain, tmp_path):
    tally = Tally(tuple(CAUSES))
    for path in (plain, tmp_path, tmp_path / "nothing.mp4", plain):
        try: probe(path)
        except Refused as refused: tally.add(refused.cause, str(path))
        else: tally.add("read", str(path))
    assert tally.report() == {"read": 2, "not there": 1, "not a file": 1}


PEAK = """
import re, sys
from dclm_nb.video.cuts import find_cuts
from dclm_nb.video.decoding import probe, read_frames
probe(sys.argv[1])
for frame in read_frames(sys.argv[1]): pass
find_cuts(sys.argv[1])
print(int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read where Linux shows it")
def test_memory_is_flat_for_a_film_ten_times_as_long(tmp_path):
    pytest.importorskip("scenedetect")
    for n in (100, 1000):
        made(tmp_path / f"{n}.mp4", np.concatenate([ball(50, 128, 160)] * (n // 50)), preset="ultrafast")
    peak = {n: float(subprocess.check_output([sys.executable, "-c", PEAK, tmp_path / f"{n}.mp4"])) for n in (100, 1000)}
    assert peak[1000] - peak[100] < 10                  # MiB; all frames together would be 59


@pytest.mark.parametrize("data, kind", [
    (b"Dear Sir,\n" * 500, "text"), ("Größe ".encode() * 900, "text"), (b"<!DOCTYPE html><html>", "a web page"),
    (b"\xff\xd8\xff\xe0" + bytes(60), "a JPEG picture"), (b"%PDF-1.7 ...", "a PDF document"),
    (b"PK\x03\x04" + bytes(60), "a ZIP archive"), (bytes(10_000), "zeros, an unfinished download?"),
    (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "a playlist"), (bytes(range(1, 256)) * 4, "no known beginning"),
    (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\xff\xffmdat" + b"x" * 400, "an MP4 without its index, cut off?"),
])
def test_what_is_no_film_is_named(tmp_path, data, kind):
    (path := tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(Refused) as refused: probe(path)
    assert (refused.value.cause, refused.value.detail) == ("not a film", kind)


def test_what_is_no_file_is_named(tmp_path):
    import socket
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (door := socket.socket(socket.AF_UNIX)).bind(str(tmp_path / "socket"))
    for name in ("folder", "pipe", "socket"):
        with pytest.raises(Refused) as refused: probe(tmp_path / name)
        assert (refused.value.cause, refused.value.detail) == ("not a file", f"a {name}")
    door.close()
    with pytest.raises(Refused) as refused: probe("/dev/null")
    assert refused.value.detail == "a device"
