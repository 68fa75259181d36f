"""The paper's stages: they build, are counted right, and name what the paper leaves open."""
import dataclasses

import pytest
import torch

from dclm_nb.core.errors import UserError

pytest.importorskip("diffusers")

from dclm_nb.video.edm import NoiseLevels
from dclm_nb.video.stages import OBJECTIVES, PAPER_STAGES, PaperStage, accelerator_hours, state_bytes, step_cost

SMALL = PaperStage("small", "video", None, 2, 64, 64, 10, NoiseLevels(0, 1), 4, 1e-4)


@pytest.mark.parametrize("name", PAPER_STAGES)
def test_every_stage_trains_by_something_and_follows_something(name):
    stage = PAPER_STAGES[name]
    assert stage.trains in OBJECTIVES and (stage.follows is None or stage.follows in PAPER_STAGES)
    assert stage.height % 64 == 0 and stage.width % 64 == 0  # eight for the autoencoder, eight for the network


@pytest.mark.parametrize("name, channels, numbers", [
    ("video-320", 4, 2), ("i2v-14", 8, 3), ("interpolation", 9, 3), ("camera", 8, 3), ("views", 8, 4),
])
def test_networks_read_what_their_stage_gives(name, channels, numbers):
    unet = PAPER_STAGES[name].unet()
    assert (unet.channels_in, unet.numbers) == (channels, numbers)


def test_what_the_paper_leaves_open_has_to_be_chosen():
    with pytest.raises(UserError, match="does not say the batch_size of the stage edm"): PAPER_STAGES["edm"].training()
    with pytest.raises(UserError, match="does not say the lr"): PAPER_STAGES["edm"].training(batch_size=8)
    assert PAPER_STAGES["edm"].training(batch_size=8, lr=1e-4).levels == NoiseLevels(-1.2, 1.0)
    assert PAPER_STAGES["video-256"].training().batch_size == 1536


def test_operations_are_those_of_a_real_pass():
    "Counted on the device meta, and on a processor with numbers, for a network of the released widths cut down."
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from dclm_nb.video.unet import UNetSettings, build_unet

    class Cut(PaperStage):
        def unet(self): return UNetSettings(4, 4, (64, 128), (True, False), (2, 4), 1, 64, 2, 32, 2, 8)

    stage = Cut(**dataclasses.asdict(SMALL) | {"levels": SMALL.levels})
    unet = build_unet(stage.unet())
    # torch does not count its own attention on a processor, but counts what it is made of
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        unet(torch.randn(1, 2, 4, 8, 8), torch.zeros(1), torch.randn(1, 1, 64), torch.ones(1, 2))
    found = step_cost(stage)
    assert found.forward == counter.get_total_flops()
    assert found.parameters == sum(p.numel() for p in unet.parameters())
    assert step_cost(dataclasses.replace(stage, frames=4)).kept == pytest.approx(2 * found.kept, rel=0.1)


def test_hours_follow_from_counts(monkeypatch):
    import dclm_nb.video.stages as stages
    cost = stages.StepCost(forward=10**12, kept=0, parameters=10**9, temporal=0)
    monkeypatch.setattr(stages, "step_cost", lambda stage: cost)
    assert accelerator_hours(SMALL, peak=1e12, share=1.0) == pytest.approx(3 * 4 * 10 / 3600)
    assert accelerator_hours(SMALL, peak=1e12, share=0.5, again=True) == pytest.approx(2 * 4 * 4 * 10 / 3600)
    assert state_bytes(SMALL, devices=8) == 10**9 * 16 / 8
    assert state_bytes(dataclasses.replace(SMALL, ema=0.999)) == 10**9 * 20
