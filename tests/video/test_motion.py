"""Motion: known speeds in known units, at any rate, size and with uneven times; what cannot be measured."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.motion import FlowConfig, flow_maps, moments, motion_score, motion_signature

cv2 = pytest.importorskip("cv2")
NOISE = np.random.default_rng(0).integers(0, 255, (256, 512)).astype(np.uint8)
GROUND = cv2.normalize(cv2.GaussianBlur(NOISE, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)


def passing(times, size: int, speed: float) -> np.ndarray:
    "Frames of a window that passes over the ground, `speed` pixels a second where it is 128 high."
    windows = [cv2.getRectSubPix(GROUND, (256, 256), (380 - 2 * speed * t, 128)) for t in times]
    return np.stack([cv2.cvtColor(cv2.resize(w, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
                     for w in windows])


@pytest.mark.parametrize("speed", [0, 6, 15])
@pytest.mark.parametrize(("fps", "size"), [(24, 96), (30, 96), (24, 128), (30, 128), (10, 200)])
def test_neither_rate_nor_size_changes_the_score(speed, fps, size):
    times = np.arange(2 * fps) / fps
    assert motion_score(passing(times, size, speed), times) == pytest.approx(speed, abs=0.1 + 0.05 * speed)


def test_uneven_times():
    times = np.sort(np.random.default_rng(1).uniform(0, 2, 40))
    assert motion_score(passing(times, 96, 12), times) == pytest.approx(12, rel=0.08)


def test_grain_is_little_motion_through_an_open_shutter():
    rng, times = np.random.default_rng(2), np.arange(60) / 25
    still = np.clip(passing(times, 96, 0) + rng.normal(0, 50, (60, 12, 12, 1)).repeat(8, 1).repeat(8, 2), 0, 255)
    still = still.astype(np.uint8)
    assert motion_score(still, times) < 0.6 * motion_score(still, times, FlowConfig(shutter=0))


def test_direction_and_growth():
    times = np.arange(50) / 25
    goes = motion_signature(flow_maps(passing(times, 96, 10), times))
    assert goes.right == pytest.approx(10, rel=0.1) and abs(goes.down) < 0.5 and abs(goes.growth) < 0.05
    back = motion_signature(flow_maps(passing(times, 96, -10), times))
    assert back.right == pytest.approx(-10, rel=0.1)


def test_moments():
    assert moments(np.arange(50) / 25, 2.0).tolist() == [0, 12, 25, 37]
    assert moments([0, 0.1], 2.0).tolist() == [0, 1] and moments([3.0], 2.0).tolist() == [0]


def test_one_frame_has_no_motion():
    assert np.isnan(motion_score(passing([0.0], 96, 0), [0.0]))


@pytest.mark.parametrize("call", [
    lambda: motion_score(np.zeros((2, 8, 8)), [0, 1]),
    lambda: motion_score(np.zeros((2, 8, 8, 3), np.uint8), [0.0]),
    lambda: FlowConfig(rate=0), lambda: FlowConfig(side=8), lambda: FlowConfig(shutter=-1),
    lambda: FlowConfig(map_side=0), lambda: motion_signature(np.zeros((0, 2, 2, 2))),
])
def test_errors_are_one_line(call):
    with pytest.raises(UserError) as error: call()
    assert "\n" not in str(error.value)
