"""Clips as a training sees them: loose frames are the same numbers in the same memory."""
import pytest
import torch

from dclm_nb.core.provenance import peak_memory
from dclm_nb.video.latent_clips import Clips

FRAMES = 8


def clips(n: int, side: int = 8) -> Clips:
    return Clips(torch.rand(n, FRAMES, 12, side, side), torch.arange(2 * n).reshape(n, 2), torch.arange(float(n)),
                 torch.ones(n), torch.zeros(n))


def test_every_frame_has_what_its_clip_has():
    whole = clips(3)
    loose = whole.frames()
    assert torch.equal(loose.latents[:, 0], whole.latents.flatten(0, 1))
    for name in ("captions", "fps", "bucket", "elevation"):
        values = getattr(whole, name)
        assert torch.equal(getattr(loose, name), torch.cat([values[k:k + 1] for k in range(3) for _ in range(FRAMES)]))


def test_loose_frames_take_no_memory_of_their_own():
    whole = clips(300, side=24)
    megabytes = whole.latents.nbytes / 2**20
    assert whole.frames().latents.data_ptr() == whole.latents.data_ptr() and megabytes > 60
    with peak_memory() as peak:
        before = peak()
        loose = whole.frames()
        loose.identity()
        loose.batch(16, torch.Generator().manual_seed(0))
        grown = peak() - before
    assert grown < megabytes / 2, f"{grown:.0f} MB more for frames of {megabytes:.0f} MB"


@pytest.mark.parametrize("n", [1, 7])
def test_a_set_of_clips_keeps_its_hash(n):
    assert clips(n).frames().identity() != clips(n + 1).frames().identity()
