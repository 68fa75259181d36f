"""Pictures and clips: whole pixels, equal bytes, and frames that come back as they went."""
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dclm_nb.core.errors import UserError
from dclm_nb.drawing.media import as_pictures, gif_bytes, mp4_bytes, png_bytes, sheet

SIZES = st.integers(1, 5)


def pictures(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), height=SIZES, width=SIZES, columns=SIZES, enlarge=st.integers(1, 3), gap=st.integers(0, 3))
def test_every_picture_stands_whole_in_its_place(n, height, width, columns, enlarge, gap):
    given_, whole = pictures(n, height, width), sheet(pictures(n, height, width), columns, enlarge, gap)
    for k in range(n):
        top = k // columns * (height * enlarge + gap)
        left = k % columns * (width * enlarge + gap)
        there = whole[top:top + height * enlarge:enlarge, left:left + width * enlarge:enlarge]
        assert np.array_equal(there, given_[k])


def test_png_and_gif_give_back_what_went_in():
    (one,) = pictures(1, 7, 9)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(one)))), one)
    frames = np.zeros((5, 6, 6, 3), np.uint8)
    for t in range(5): frames[t, t] = (200, 40 * t, 0)
    with Image.open(io.BytesIO(gif_bytes(frames, fps=10))) as clip:
        assert (clip.n_frames, clip.info["duration"], clip.info["loop"]) == (5, 100, 0)
        for t in range(5):
            clip.seek(t)
            assert np.array_equal(np.asarray(clip.convert("RGB")), frames[t])


def test_equal_pictures_are_equal_files():
    frames = pictures(4, 8, 8)
    assert gif_bytes(frames) == gif_bytes(frames.copy()) and png_bytes(frames[0]) == png_bytes(frames[0].copy())


def test_a_tensor_is_taken_like_an_array():
    torch = pytest.importorskip("torch")
    assert np.array_equal(as_pictures(torch.from_numpy(pictures(2, 3, 3))), pictures(2, 3, 3))


def test_mp4_where_pyav_is_installed():
    frames = pictures(6, 17, 31)
    data = mp4_bytes(frames, fps=12)
    if data is None: pytest.skip("PyAV is not installed")
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (30, 16, 12)
        assert sum(1 for _ in file.decode(stream)) == 6


@pytest.mark.parametrize("wrong", [[], np.zeros((2, 3, 3)), np.zeros((2, 3, 3, 4), np.uint8), [np.zeros((3, 3))]])
def test_what_is_no_picture_is_refused(wrong):
    for attempt in (sheet, gif_bytes):
        with pytest.raises(UserError, match="uint8"): attempt(wrong)
