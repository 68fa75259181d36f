"""Guidance and the walk, against closed forms and diffusers' schedulers step by step."""
import pytest
import torch
from small import numbers

from dclm_nb.core.errors import UserError
from dclm_nb.video.edm import denoised, discrete_scaling, edm_scaling
from dclm_nb.video.guidance import RELEASED_GUIDANCE, guide, guided, linear_scale
from dclm_nb.video.sampling import ddim_levels, draw, karras_levels

A, B = numbers(2, 5, 3, 4, 4), numbers(2, 5, 3, 4, 4, seed=1)


@pytest.mark.parametrize("one", [1.0, torch.ones(5)])
def test_at_weight_one_guidance_is_the_condition_to_the_bit(one):
    assert torch.equal(guided(A, B, one), A)
    assert torch.equal(guided(A, torch.full_like(B, torch.inf), one), A)


def test_linear_guidance_is_a_weight_per_frame():
    scale = linear_scale(1.0, 3.0, 5)
    assert scale.tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    for frame, weight in enumerate(scale):
        assert torch.allclose(guided(A, B, scale)[:, frame], guided(A[:, frame:frame + 1], B[:, frame:frame + 1],
                                                                    float(weight))[:, 0])


@pytest.mark.parametrize("frames", RELEASED_GUIDANCE)
def test_linear_guidance_is_that_of_diffusers_pipeline(frames):
    low, high = RELEASED_GUIDANCE[frames]
    theirs = torch.linspace(low, high, frames)  # what its pipeline multiplies the difference by
    a, b = numbers(1, frames, 2, 2, 2), numbers(1, frames, 2, 2, 2, seed=1)
    assert torch.allclose(guided(a, b, linear_scale(low, high, frames)), b + theirs.reshape(1, -1, 1, 1, 1) * (a - b),
                          atol=1e-6)


def test_a_doubled_batch_is_asked_once():
    asked = []

    def both(noisy, sigma):
        asked.append((len(noisy), len(sigma)))
        return torch.cat([noisy[:2] * 2, noisy[2:] * 0])

    assert torch.equal(guide(both, 2.0)(A, torch.ones(2)), 4 * A)
    assert asked == [(4, 4)]


def test_levels_are_those_of_diffusers():
    schedulers = pytest.importorskip("diffusers")
    theirs = schedulers.EulerDiscreteScheduler(use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
                                               timestep_type="continuous", prediction_type="v_prediction")
    theirs.set_timesteps(25)
    assert torch.allclose(karras_levels(25), theirs.sigmas, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_euler_is_diffusers_euler_step_by_step(steps):
    schedulers = pytest.importorskip("diffusers")
    theirs = schedulers.EulerDiscreteScheduler(use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
                                               timestep_type="continuous", prediction_type="v_prediction")
    theirs.set_timesteps(steps)
    network = lambda x, c: torch.tanh(x) * (1 + c.reshape(-1, 1, 1, 1, 1))
    seen = []
    draw(lambda y, s: denoised(network, y, s, edm_scaling), A, karras_levels(steps), lambda n, y, c: seen.append(y))
    y = A * theirs.init_noise_sigma
    for number, t in enumerate(theirs.timesteps):
        y = theirs.step(network(theirs.scale_model_input(y, t), t.expand(2)), t, y).prev_sample
        assert torch.allclose(seen[number], y, rtol=1e-3, atol=1e-3 * float(y.abs().max()))


@pytest.mark.parametrize("steps", [5, 50])
def test_ddim_is_the_same_walk_as_diffusers_ddim(steps):
    schedulers = pytest.importorskip("diffusers")
    theirs = schedulers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                                      clip_sample=False, set_alpha_to_one=True, prediction_type="v_prediction")
    theirs.set_timesteps(steps)
    network = lambda x, c: torch.tanh(x) * torch.cos(c).reshape(-1, 1, 1, 1, 1)
    scaling = lambda s: discrete_scaling(s, "v")
    ours = draw(lambda y, s: denoised(network, y, s, scaling), A, ddim_levels(steps))
    x = A
    for t in theirs.timesteps: x = theirs.step(network(x, t.float().expand(2)), t, x).prev_sample
    assert torch.allclose(ours, x, atol=2e-3 * float(x.abs().max()))


def test_a_gaussian_is_drawn_as_a_gaussian():
    "Data of size 3: the exact denoiser is y 9 / (9 + s²)."
    exact = lambda y, s: y * (9 / (9 + s.square())).reshape(-1, 1, 1, 1, 1)
    found = draw(exact, numbers(1, 1, 1, 100, 100), karras_levels(400))
    assert abs(found.std() - 3) < 0.15


@pytest.mark.parametrize("call, said", [
    (lambda: karras_levels(0), "steps must be at least 1"),
    (lambda: ddim_levels(1000), "1 to 999"),
    (lambda: linear_scale(1, 2, 0), "frames must be at least 1"),
])
def test_errors(call, said):
    with pytest.raises(UserError, match=said): call()
