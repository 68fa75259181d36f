"Each view by itself: which view is learned, and what the network is told."
import pytest
import torch
from torch import nn

from dclm_nb.core.errors import UserError
from dclm_nb.video.edm import NoiseLevels
from dclm_nb.video.given_frames import Eye
from dclm_nb.video.objectives import Training
from dclm_nb.video.views import OneView


class Recorder(nn.Module):
    "A network that keeps what it is given."
    def __init__(self):
        super().__init__()
        self.eye, self.weight = Eye(3, 8), nn.Parameter(torch.zeros(1))

    def forward(self, x, noise, condition, images=False):
        self.seen, self.told, self.images = x, condition, images
        return x * self.weight


def learned(caption_drop: float = 0.0):
    network = Recorder()
    almost_no_noise = NoiseLevels(-12.0, 1e-3)
    objective = OneView(network, Training(1, 4, levels=almost_no_noise, caption_drop=caption_drop))
    orbits = torch.randn(4, 8, 3, 4, 4)
    clips = {"latents": orbits, "fps": torch.full((4,), 8.0), "bucket": torch.full((4,), 127.0),
             "elevation": torch.tensor([5.0, 10.0, 20.0, 30.0])}
    objective.losses((clips, torch.Generator().manual_seed(3)))
    return network, orbits


def test_the_view_that_is_told_is_the_view_that_is_learned():
    network, orbits = learned()
    view = network.told.numbers[:, -1].long()
    assert network.seen.shape == (4, 1, 3, 4, 4) and network.images is True and len(set(view.tolist())) > 1
    wanted = orbits[torch.arange(4), view][:, None]
    alike = nn.functional.cosine_similarity(network.seen.flatten(1), wanted.flatten(1))
    assert (alike > 0.9999).all()


def test_the_first_view_and_the_elevation_stand_beside():
    network, orbits = learned()
    beside = network.told.beside[:, 0]
    assert nn.functional.cosine_similarity(beside.flatten(1), orbits[:, 0].flatten(1)).min() > 0.9
    assert network.told.numbers[:, 3].tolist() == [5.0, 10.0, 20.0, 30.0]


def test_without_its_picture_it_is_still_told_which_view():
    network, _ = learned(caption_drop=1.0)
    assert not network.told.beside.any() and not network.told.context.any() and network.told.numbers[:, -1].any()


def test_orbits_without_an_elevation_are_refused():
    objective = OneView(Recorder(), Training(1, 1))
    clips = {"latents": torch.zeros(1, 8, 3, 4, 4), "fps": torch.ones(1), "bucket": torch.ones(1)}
    with pytest.raises(UserError, match="elevation"): objective.losses((clips, torch.Generator()))
