"""Conditioning: there and back, monotone, and fitted scales that spread evenly."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.video.conditioning import DEFAULT_BUCKET, REAL_SCALE, MotionScale, fit_motion_scale, fps_id

few = settings(max_examples=50, deadline=None)
SCALES = st.builds(MotionScale, st.floats(0.05, 50), st.floats(0.2, 3))


@few
@given(SCALES, st.integers(0, 255))
def test_a_bucket_comes_back(scale, bucket): assert scale.bucket(scale.motion(bucket)) == bucket


@few
@given(SCALES, st.lists(st.floats(0, 1e4), min_size=2, max_size=20))
def test_more_motion_is_never_a_lower_bucket(scale, motions):
    buckets = [scale.bucket(motion) for motion in sorted(motions)]
    assert buckets == sorted(buckets) and 0 <= buckets[0] and buckets[-1] <= 255


@few
@given(st.floats(0.1, 30), st.floats(0.3, 1.5), st.integers(0, 1000))
def test_a_scale_is_found_again(middle, spread, seed):
    motions = middle * np.exp(spread * np.random.default_rng(seed).normal(size=4000))
    found = fit_motion_scale([*motions, 0.0, float("nan")])
    assert found.middle == pytest.approx(middle, rel=0.15) and found.spread == pytest.approx(spread, rel=0.15)


def test_half_of_the_clips_lie_below_the_default():
    motions = REAL_SCALE.middle * np.exp(np.random.default_rng(0).normal(size=999) * REAL_SCALE.spread)
    assert np.median([REAL_SCALE.bucket(m) for m in motions]) == pytest.approx(DEFAULT_BUCKET, abs=12)


@pytest.mark.parametrize(("fps", "told"), [(7, 6), (30, 29), (30000 / 1001, 29), (24, 23), (0.5, 0)])
def test_rates(fps, told): assert fps_id(np.arange(14) / fps) == told


@pytest.mark.parametrize("call", [
    lambda: fps_id([0.0]), lambda: fps_id([0.0, 0.0]), lambda: REAL_SCALE.bucket(-1), lambda: REAL_SCALE.motion(256),
    lambda: fit_motion_scale([1.0] * 7), lambda: fit_motion_scale([1.0] * 20), lambda: MotionScale(float("inf"), 1),
])
def test_errors_are_one_line(call):
    with pytest.raises(UserError) as error: call()
    assert "\n" not in str(error.value)
