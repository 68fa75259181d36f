"""Known clips: cut where scenes join, the same each time, thinned without losing their ends."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.known_clips import coded, known_clips, real_shots
from dclm_nb.video.world import WorldSpec, draw_film, film_frames

pytest.importorskip("av")
SMALL = WorldSpec(scenes=(3, 3), seconds=(1.0, 1.5))


def test_the_codec_keeps_every_frame_and_nearly_every_grey():
    film = draw_film(SMALL, "known clips", 0)
    seen, drawn = coded(film, 64, quality=0), np.concatenate(list(film_frames(film, 64)))
    assert seen.shape == drawn.shape and np.abs(seen.astype(int) - drawn).mean() < 3


def test_clips_are_the_clean_frames_of_each_scene():
    clips = list(known_clips(2, "known clips", SMALL, 64))
    assert len(clips) == 6 and len({clip.film for clip in clips}) == 2
    for clip in clips:
        assert len(clip.frames) == len(clip.times) == clip.truth.last - clip.truth.first + 1
        assert clip.times[0] == 0 and clip.times[-1] == pytest.approx((len(clip.times) - 1) / clip.fps)
    again = list(known_clips(1, "known clips", SMALL, 64))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(again, clips))


def test_thinned_clips_keep_first_and_last():
    clip = next(known_clips(1, "known clips", SMALL, 64))
    few = clip.thinned(4.0)
    assert few.times[0] == 0 and few.times[-1] == clip.times[-1] and len(few.times) == len(few.frames) < len(clip.times)
    assert np.array_equal(few.frames[-1], clip.frames[-1]) and (np.diff(few.times)[:-1] > 0.2).all()


def test_real_shots_begin_at_the_cuts():
    try: shots = list(real_shots("bikes", short_side=32))
    except UserError as error: pytest.skip(f"the film cannot be had: {error}")
    assert [len(frames) for frames, _ in shots] == [30, 46, 61, 50, 55, 8]
    assert all(times[0] == 0 for _, times in shots)
