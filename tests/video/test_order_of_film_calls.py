"""A network of films is built in any mode of torch and trained outside it, and draws in any precision."""
import contextlib

import pytest
import torch
from small import dwarf, numbers, shaken

from dclm_nb.video.objectives import Condition, denoiser
from dclm_nb.video.sampling import draw, karras_levels
from dclm_nb.video.vae import TINY_VAE, build_vae

MODES = [contextlib.nullcontext, torch.no_grad, torch.inference_mode]


def drawn(network) -> torch.Tensor:
    condition = Condition(network.read(torch.tensor([[1], [2]])).detach(), torch.full((2, 2), 8.0))
    noise = numbers(2, 4, 4, 4, 4)
    with torch.no_grad(): return draw(denoiser(network, condition), noise, karras_levels(3, 0.02, 20.0))


@pytest.mark.parametrize("mode", MODES)
def test_a_network_is_trained_wherever_it_was_made(mode):
    with mode(): network, vae = dwarf(), build_vae(TINY_VAE)
    assert not any(t.is_inference() for part in (network, vae) for t in part.state_dict().values())
    with mode(): drawn(network)
    condition = Condition(network.read(torch.tensor([[1]])), torch.full((1, 2), 8.0))
    network(numbers(1, 4, 4, 4, 4), torch.ones(1), condition).square().mean().backward()
    assert next(network.unet.parameters()).grad is not None


def test_a_film_is_drawn_in_any_precision():
    usual = drawn(shaken(dwarf()))
    for kind in (torch.float64, torch.bfloat16):
        film = drawn(shaken(dwarf()).to(kind))
        assert film.dtype == usual.dtype and film.isfinite().all()
        assert (film - usual).abs().mean() < (1e-4 if kind is torch.float64 else 0.5)
    try:
        torch.set_default_dtype(torch.float64)
        network = shaken(dwarf().float())
        assert drawn(network).isfinite().all()
    finally: torch.set_default_dtype(torch.float32)
