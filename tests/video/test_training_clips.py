"""What training sees of a clip: the right frames at the right moments, and every clip that cannot be used counted."""
import json

import numpy as np
import pytest

pytest.importorskip("av")

from datatrove.data import Document  # noqa: E402

from dclm_nb.core.errors import UserError  # noqa: E402
from dclm_nb.shards.clips import write_clip_shards  # noqa: E402
from dclm_nb.shards.tally import Refused  # noqa: E402
from dclm_nb.video.training_clips import ClipStream, ClipTaking, take, window  # noqa: E402


def write_clip(path, frames=30, size=(48, 32), fps=10):
    "A clip whose frame k has the grey 8 k."
    import av
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "1", "threads": "1"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            picture = np.full((size[1], size[0], 3), 8 * k, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


FACTS = dict(width=48, height=32, motion_bucket_id=90, captions={"frame": "a", "clip": "b", "merged": "c"})


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = write_clip(tmp_path_factory.mktemp("clip") / "a.mp4")
    return {"clip": path.read_bytes(), "json": json.dumps(FACTS | dict(id="f/0001", text="all")).encode()}


@pytest.mark.parametrize("fps, apart", [(None, 1), (10.0, 1), (5.0, 2), (2.5, 4)])
def test_frames_are_those_that_were_asked_for(sample, fps, apart):
    for name in range(5):
        clip = take(sample, ClipTaking(frames=6, size=(16, 16), fps=fps), name)
        numbers = clip.frames.mean((1, 2, 3)) / 8
        assert np.allclose(np.diff(numbers), apart, atol=0.35) and clip.frames.shape == (6, 16, 16, 3)
        assert clip.fps_id == round(10 / apart) - 1 and clip.motion_bucket_id == 90 and clip.caption == "all"


def test_the_moment_is_chance_and_the_same_for_the_same_names(sample):
    taking = ClipTaking(frames=6, size=(8, 8))
    starts = {name: take(sample, taking, name).frames[0].mean() for name in range(12)}
    assert len({round(start) for start in starts.values()}) > 3
    assert take(sample, taking, 3).frames[0].mean() == starts[3]


@pytest.mark.parametrize("size", [(32, 48), (16, 16), (40, 20), (100, 90), (7, 33)])
def test_any_size_is_covered_without_stretching(sample, size):
    assert take(sample, ClipTaking(frames=2, size=size), 0).frames.shape == (2, *size, 3)


def test_captions_are_drawn_in_their_shares(sample):
    taking = ClipTaking(frames=2, size=(8, 8), mix={"frame": 0.5, "clip": 0.25, "merged": 0.25})
    drawn = [take(sample, taking, name).caption for name in range(60)]
    assert 18 <= drawn.count("a") <= 42 and {"b", "c"} <= set(drawn)
    with pytest.raises(Refused, match="no caption"): take(sample, ClipTaking(2, (8, 8), mix={"other": 1.0}), 0)


@pytest.mark.parametrize("change, cause", [
    (dict(clip=b"nothing"), "not a film"),
    (dict(json=b"{}"), "facts unreadable"),
    (dict(json=b"[1"), "facts unreadable"),
    (dict(clip=Refused("member too large")), "member too large"),
])
def test_what_is_broken_is_named(sample, change, cause):
    with pytest.raises(Refused, match=cause): take(sample | change, ClipTaking(2, (8, 8)), 0)


def test_windows_of_odd_films():
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 200))
    for chance in (0, 0.5, 0.999):
        chosen = window(times, 14, 6.0, chance)
        assert (np.diff(chosen) > 0).all() and np.abs(np.diff(times[chosen]) - 1 / 6).max() < 0.07
    with pytest.raises(Refused, match="too short"): window(times, 201, None, 0)
    assert len(window(np.arange(14) / 7, 14, 7.0, 0.9)) == 14


def test_a_stream_reads_or_counts_every_clip(tmp_path):
    paths = [write_clip(tmp_path / f"{k}.mp4", frames) for k, frames in enumerate((30, 3, 20))]
    (tmp_path / "3.mp4").write_bytes(b"broken")
    paths.append(tmp_path / "3.mp4")
    clips = [Document("x", f"f/{k}", metadata=FACTS | dict(path=str(path))) for k, path in enumerate(paths)]
    write_clip_shards(clips, tmp_path / "shards", 2)
    stream = ClipStream(tmp_path / "shards", ClipTaking(frames=5, size=(8, 8)))
    assert {clip.id for clip in stream} == {"f/0", "f/2"}
    assert stream.tally.report() == {"read": 2, "too short": 1, "not a film": 1}
    with pytest.raises(UserError, match="no shard"): ClipStream(tmp_path)
    with pytest.raises(UserError, match="2 frames or more"): ClipTaking(frames=1)


@pytest.mark.parametrize("cause", ["member too large", "clip or caption twice", "not a plain file"])
def test_a_txt_that_is_not_read_loses_no_clip(sample, cause):
    assert take(sample | {"txt": Refused(cause)}, ClipTaking(2, (8, 8)), 0).caption == \
        take(sample, ClipTaking(2, (8, 8)), 0).caption
