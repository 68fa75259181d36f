"""EDM's algebra against closed forms and against diffusers' schedulers, on numbers that no notebook shows."""
import math

import pytest
import torch
from small import chance, numbers

from dclm_nb.core.errors import UserError
from dclm_nb.video.edm import (
    PAPER_LEVELS, NoiseLevels, denoised, denoising_loss, discrete_levels, discrete_scaling, draw_noise, edm_scaling,
    edm_weight, nearest_level,
)

pytest.importorskip("diffusers")
LEVELS = torch.tensor([1e-3, 0.02, 0.3, 1.0, 7.0, 80.0, 700.0], dtype=torch.float64)


def test_inputs_and_targets_have_variance_one_at_every_level():
    s = edm_scaling(LEVELS)
    assert torch.allclose(s.input.square() * (1 + LEVELS.square()), torch.ones_like(LEVELS))
    target = ((1 - s.skip).square() + (s.skip * LEVELS).square()) / s.out.square()  # of (x - c_skip y) / c_out
    assert torch.allclose(target, torch.ones_like(LEVELS))


def test_the_raw_output_of_the_best_denoiser_of_a_gaussian_is_zero():
    "E[x | y] = y / (1 + s²) for x ~ N(0, 1): the network has nothing to add."
    noisy = numbers(7, 3, 2).double()
    found = denoised(lambda x, c: torch.zeros_like(x), noisy, LEVELS)
    assert torch.allclose(found, noisy / (1 + LEVELS.square()).reshape(-1, 1, 1))


def test_weighted_mistakes_are_mistakes_of_the_raw_output():
    s, clean, noisy = edm_scaling(LEVELS), numbers(7, 5).double(), numbers(7, 5, seed=1).double()
    raw = numbers(7, 5, seed=2).double()
    found = denoised(lambda x, c: raw, noisy, LEVELS)
    target = (clean - s.skip[:, None] * noisy) / s.out[:, None]
    loss = denoising_loss(found, clean, edm_weight(LEVELS))
    assert torch.allclose(loss.double(), (raw - target).square().mean(1), rtol=1e-3)


@pytest.mark.parametrize("predicts, kind", [("epsilon", "epsilon"), ("v", "v_prediction")])
def test_the_discrete_scaling_is_that_of_diffusers_euler_scheduler(predicts, kind):
    from diffusers import EulerDiscreteScheduler
    theirs = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                    prediction_type=kind, timestep_spacing="linspace")
    theirs.set_timesteps(10)
    for number, sigma in enumerate(theirs.sigmas[:-1]):
        noisy, raw = sigma * numbers(1, 3, 4), numbers(1, 3, 4, seed=1)
        found = denoised(lambda x, c: raw, noisy, sigma[None], lambda s: discrete_scaling(s, predicts))
        said = theirs.step(raw, theirs.timesteps[number], noisy).pred_original_sample
        assert torch.allclose(found, said, rtol=1e-4, atol=1e-4)


def test_the_continuous_scaling_is_that_of_the_released_scheduler():
    from diffusers import EulerDiscreteScheduler
    theirs = EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous", use_karras_sigmas=True,
                                    sigma_min=0.002, sigma_max=700.0)
    theirs.set_timesteps(5)
    assert torch.allclose(theirs.timesteps, edm_scaling(theirs.sigmas[:-1]).noise, atol=1e-5)
    noisy, raw = 700 * numbers(1, 3, 4), numbers(1, 3, 4, seed=1)
    said = theirs.step(raw, theirs.timesteps[0], noisy).pred_original_sample
    assert torch.allclose(denoised(lambda x, c: raw, noisy, theirs.sigmas[:1]), said, rtol=1e-4, atol=1e-4)


def test_a_level_is_its_own_nearest_and_levels_rise():
    levels = discrete_levels()
    assert (levels.diff() > 0).all() and torch.equal(nearest_level(levels), torch.arange(1000))
    assert nearest_level(torch.tensor([1e-9, 1e9])).tolist() == [0, 999]


@pytest.mark.parametrize("name", PAPER_LEVELS)
def test_drawn_levels_have_the_paper_s_mean_and_spread(name):
    wanted = PAPER_LEVELS[name]
    drawn = wanted.draw(40_000, chance()).log()
    error = 4 * wanted.std / math.sqrt(40_000)
    assert abs(drawn.mean() - wanted.mean) < error and abs(drawn.std() - wanted.std) < error


def test_offset_noise_is_shared_by_the_places_of_a_channel():
    plain, offset = draw_noise((2, 3, 4, 8, 8), chance()), draw_noise((2, 3, 4, 8, 8), chance(), 0.5)
    shift = offset - plain
    assert torch.allclose(shift, shift[..., :1, :1].expand_as(shift), atol=1e-6)
    assert 0.2 < shift[..., 0, 0].std() < 0.8


def test_errors():
    with pytest.raises(UserError, match="must be positive"): NoiseLevels(0, 0)
    with pytest.raises(UserError, match="unknown prediction 'x0'"): discrete_scaling(LEVELS, "x0")
