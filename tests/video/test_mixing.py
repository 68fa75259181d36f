"""The small network on cases that no notebook shows."""
from dataclasses import replace

import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.video.mixing import MixingSettings, MixingUNet, TimeMixer
from dclm_nb.video.models import GivenMixing
from dclm_nb.video.objectives import Condition, VideoNetwork

SMALL = MixingSettings(channels=4, frames=4, widths=(8, 16), lanes=(2, 4), context=8, words=2, known=16)


def inputs(n: int, seed: int = 0) -> dict:
    chance = torch.Generator().manual_seed(seed)
    return {"timestep": torch.zeros(n), "encoder_hidden_states": torch.randn(n, 2, 8, generator=chance),
            "added_time_ids": torch.ones(n, 2)}


def awake(network):
    "Noise on every parameter, so that no layer is silent."
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters(): parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
    return network


def test_a_film_of_a_fresh_network_is_its_frames():
    network = awake(MixingUNet(SMALL))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "time_mixer.widen" in name or "_mean" in name: parameter.zero_()
    film = torch.randn(2, 4, 4, 4, 4)
    frames = torch.cat([network(film[:, t:t + 1], **inputs(2)).sample for t in range(4)], 1)
    assert torch.allclose(network(film, **inputs(2)).sample, frames, atol=1e-5)


def test_every_frame_notices_every_other():
    network, film = awake(MixingUNet(SMALL)), torch.randn(1, 4, 4, 4, 4)
    for t in range(4):
        other = film.clone()
        other[:, t] = torch.randn(1, 4, 4, 4)
        moved = (network(other, **inputs(1)).sample - network(film, **inputs(1)).sample).abs().amax((0, 2, 3, 4))
        assert (moved > 1e-5).all()


def test_the_caption_of_time_alone_changes_films_but_no_pictures():
    network, film, other = awake(MixingUNet(SMALL)), torch.randn(1, 4, 4, 4, 4), inputs(1, 5)["encoder_hidden_states"]
    plain, apart = network(film, **inputs(1)).sample, network(film, **inputs(1), temporal=other).sample
    assert not torch.allclose(plain, apart)
    one = film[:, :1]
    assert torch.equal(network(one, **inputs(1)).sample, network(one, **inputs(1), temporal=other).sample)


def test_equal_seeds_are_equal_networks():
    a, b, c = (MixingUNet(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a) and not all(torch.equal(a[name], c[name]) for name in a)


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="multiples of 8"): MixingSettings(widths=(12, 16))
    with pytest.raises(UserError, match="as many widths"): MixingSettings(widths=(16,))
    short = torch.randn(1, 3, 4, 4, 4)
    with pytest.raises(UserError, match="films have 4 frames"): MixingUNet(SMALL)(short, **inputs(1))
    mixer = TimeMixer(8, 16, 4, 2)
    assert not [p for name, p in mixer.named_parameters() if "widen" in name and p.abs().sum()]


def test_a_network_of_films_hands_on_what_is_for_time_alone_and_which_frames_are_loose():
    small = awake(MixingUNet(SMALL))
    network, film, level = VideoNetwork(small), torch.randn(2, 4, 4, 4, 4), torch.zeros(2)
    said, other = (inputs(2, seed)["encoder_hidden_states"] for seed in (0, 5))
    condition = Condition(said, torch.ones(2, 2))
    with torch.no_grad():
        plain, apart = (network(film, level, one) for one in (condition, replace(condition, temporal=other)))
        assert torch.equal(apart, small(film, **inputs(2), temporal=other).sample) and not torch.allclose(plain, apart)
        loose = network(film, level, replace(condition, temporal=other), images=True)
        one_by_one = torch.cat([network(film[:, t:t + 1], level, condition) for t in range(4)], 1)
        assert torch.allclose(loose, one_by_one, atol=1e-5) and not torch.allclose(loose, plain)
        marked = torch.ones(2, 4, dtype=torch.bool)
        assert torch.equal(network(film, level, condition, marked), loose)
        assert torch.equal(network(film, level, condition, ~marked), plain)
        marked[0, 0] = False
        with pytest.raises(UserError, match="all frames for loose pictures, or none"):
            network(film, level, condition, marked)


def test_given_frames_are_read_by_loose_pictures_too():
    network = awake(GivenMixing(SMALL, 4))
    film, rest = torch.randn(2, 4, 8, 4, 4), inputs(2).values()
    with torch.no_grad():
        one_by_one = torch.cat([network(film[:, t:t + 1], *rest).sample for t in range(4)], 1)
        assert torch.allclose(network(film, *rest, images=True).sample, one_by_one, atol=1e-5)
