"""Losses, samplers and operation counts: equal to their definitions, at odd shapes too."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dclm_nb.core.errors import UserError
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.config import METHODS, BackboneConfig
from dclm_nb.image.flops import forward_flops, sampling_flops, training_flops
from dclm_nb.image.flow import FlowSettings, flow_sample, guided, sample_times, shifted
from dclm_nb.image.masked import (
    SCHEDULES, MaskedSettings, blanks_left, draw_codes, masked_count, masked_passes, masked_sample, random_mask,
)
from dclm_nb.image.methods import MethodSettings, Sampling, draw_latents, method_loss, network_passes
from dclm_nb.image.next_token import _CachedSteps, _ReplayedSteps, next_token_sample
from test_backbone import IDS, VARIANTS, config_of, inputs, stirred

SHAPES = st.fixed_dictionaries({
    "width": st.sampled_from([4, 8, 24, 56]),
    "n_layers": st.integers(1, 3),
    "tokens": st.sampled_from([1, 4, 9, 25]),
    "caption_words": st.integers(3, 9),
    "caption_length": st.integers(1, 7),
})


def chance(seed: int = 0) -> torch.Generator: return torch.Generator().manual_seed(seed)


def odd_config(method: str, shape: dict, numbers: int, **changes) -> BackboneConfig:
    heads = max(h for h in (1, 2, 3, 7) if shape["width"] % h == 0 and shape["width"] // h % 4 == 0)
    return BackboneConfig(
        method, n_heads=heads, **shape, **{"channels" if method == "diffusion" else "vocab_size": numbers}, **changes
    )


def counted(run) -> int:
    """On a CPU the counter is blind for fused attention, so plain attention runs."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter: run()
    return counter.get_total_flops()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, numbers=st.integers(1, 13), batch=st.integers(1, 3))
def test_counted_operations_are_those_of_the_meta_device_at_odd_shapes(method, shape, numbers, batch):
    config = odd_config(method, shape, numbers)
    with torch.device("meta"): network = Backbone(config)
    x, captions, *t = (part.float() if part.is_floating_point() else part for part in inputs(config, batch))
    run = lambda: network(x.to("meta"), captions.to("meta"), *(v.to("meta") for v in t))
    assert counted(run) == batch * sum(forward_flops(config).values())


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=5, deadline=None)
@given(
    shape=SHAPES,
    guidance=st.sampled_from([1.0, 2.0]),
    steps=st.sampled_from([1, 2, 3, 12]),
    cache=st.booleans(),
    variant=st.sampled_from(VARIANTS),
)
def test_counted_operations_of_samplers_are_those_that_run(method, shape, guidance, steps, cache, variant):
    config = odd_config(method, shape, 6, **variant)
    network, sampling = Backbone(config), Sampling(steps=steps, guidance=guidance, cache=cache)
    captions = torch.ones(2, config.caption_length, dtype=torch.long)
    assert counted(
        lambda: draw_latents(network, captions, captions, sampling, MethodSettings(), chance())
    ) == 2 * sampling_flops(config, sampling)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, numbers=st.integers(1, 13))
def test_a_training_step_runs_what_is_booked(method, shape, numbers):
    """All but the gradients that nobody needs: of the latents and of the sines of the time."""
    config = odd_config(method, shape, numbers)
    network, (x, captions, *_) = Backbone(config), inputs(config, 2)
    x = x.float() if method == "diffusion" else torch.zeros_like(x)
    spared = 2 * (2 * config.tokens * numbers * config.width + 2 * 64 * config.width) if method == "diffusion" else 0
    settings = MethodSettings(masked=MaskedSettings("cosine"))
    assert (
        counted(lambda: method_loss(network, x, captions, settings, chance()).backward())
        == training_flops(config, 2) - spared
    )


@pytest.mark.parametrize("guidance", [1.0, 0.0, 2.5])
@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_next_token_draws_the_same_with_and_without_cache(variant, guidance):
    config = config_of(**variant)
    network, captions = stirred(config), inputs(config, 5)[1]
    null = torch.full_like(captions, config.caption_words - 1)
    drawn = [
        next_token_sample(network, captions, null, guidance, chance(3), temperature, cache)
        for cache in (True, False)
        for temperature in (1.0, 0.7, 0.0)
    ]
    for cached, plain in zip(drawn[:3], drawn[3:]): assert torch.equal(cached, plain)
    assert len({tuple(d.flatten().tolist()) for d in drawn[:3]}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_whoever_watches_sees_every_pass_and_changes_nothing(method):
    config, seen = config_of(method), []
    network, captions = stirred(config).float(), inputs(config, 3)[1]
    draw = lambda *watch: draw_latents(
        network, captions, captions, Sampling(steps=3), MethodSettings(), chance(), *watch
    )
    drawn = draw(seen.append)
    assert torch.equal(drawn, draw()) and torch.equal(drawn, seen[-1])
    assert len(seen) == network_passes(config, Sampling(steps=3)) and not torch.equal(seen[0], seen[-1])
    if method == "next-token": assert all(torch.equal(ids, drawn[:, :place]) for place, ids in enumerate(seen, 1))


def test_greedy_codes_are_the_likeliest_after_those_before_and_can_be_trained_on():
    config = config_of()
    network, captions = stirred(config), inputs(config, 3)[1]
    ids = next_token_sample(network, captions, captions, 1.0, chance(), temperature=0)
    logits = network(ids, captions)
    assert torch.equal(ids, logits.argmax(-1))
    F.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()


def test_next_token_samples_follow_the_distribution_that_the_network_states():
    """Two tokens of three codes: all nine frequencies within four standard errors."""
    config = BackboneConfig("next-token", 8, 1, 1, 4, 4, 1, vocab_size=3)
    network, n = stirred(config, seed=4), 4000
    captions = torch.ones(n, 1, dtype=torch.long)
    ids = next_token_sample(network, captions, captions, 1.0, chance(1))
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.no_grad(): log_probs = network(F.pad(pairs, (0, 2)), captions[:9]).log_softmax(-1)
    expected = (log_probs[:, 0].gather(1, pairs[:, :1]) + log_probs[:, 1].gather(1, pairs[:, 1:]))[:, 0].exp()
    found = torch.bincount(ids[:, 0] * 3 + ids[:, 1], minlength=9) / n
    assert (found - expected).abs().le(
        4 * (expected * (1 - expected) / n).sqrt() + 1e-9
    ).all() and expected.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_drawing_is_a_function_of_the_generator_only(method):
    config = config_of(method)
    network, captions = stirred(config).float(), inputs(config, 3)[1]
    draw = lambda seed: draw_latents(network, captions, captions, Sampling(steps=4), MethodSettings(), chance(seed))
    torch.manual_seed(1)
    first = draw(0)
    torch.manual_seed(2)
    assert torch.equal(draw(0), first) and not torch.equal(draw(1), first)


@pytest.mark.parametrize("method", METHODS)
def test_guidance_with_a_caption_that_is_the_null_caption_changes_nothing(method):
    config = config_of(method)
    network, captions = stirred(config).float(), inputs(config, 3)[1]
    drawn = [
        draw_latents(network, captions, captions, Sampling(steps=3, guidance=g), MethodSettings(), chance())
        for g in (1.0, 3.0)
    ]
    assert torch.allclose(*(d.double() for d in drawn), atol=1e-3)


def test_guidance_moves_away_from_no_caption_in_one_pass():
    calls = []
    predict = lambda c: calls.append(len(c)) or c.float()
    captions, null = torch.full((2, 1), 3), torch.full((2, 1), 1)
    assert (
        guided(predict, captions, null, 2.5).tolist() == [[6.0], [6.0]]
        and guided(predict, captions, null, 1).tolist() == [[3.0], [3.0]]
        and calls == [4, 2]
    )


@settings(max_examples=50, deadline=None)
@given(st.floats(0.2, 9), st.floats(0, 1), st.floats(0, 1))
def test_a_shift_keeps_order_and_ends(shift, a, b):
    a, b = sorted((a, b))
    low, high = shifted(torch.tensor([a, b], dtype=torch.float64), shift).tolist()
    assert 0 <= low <= high <= 1 + 1e-12 and shifted(torch.tensor([0.0, 1.0]), shift).tolist() == [0, pytest.approx(1)]
    assert (low >= a - 1e-12) if shift >= 1 else (low <= a + 1e-12)


def test_times_have_the_stated_median_and_spread():
    # a shift adds its logarithm to the logit
    logits = torch.logit(
        sample_times(20_000, FlowSettings(shift=4.0, mean=0.3, std=0.8), chance()).double()
    ) - math.log(4)
    assert logits.mean().item() == pytest.approx(0.3, abs=0.03) and logits.std().item() == pytest.approx(0.8, abs=0.03)


def test_euler_steps_reach_the_data_when_the_direction_is_right():
    """A network that always knows the direction from the data to the noise: any number of steps ends at the data."""
    data = torch.randn(2, 4, 3, generator=chance(7))

    class Oracle(torch.nn.Module):
        config, device = BackboneConfig("diffusion", 4, 1, 1, 4, 4, 1, channels=3), torch.device("cpu")

        def forward(self, z, captions, t): return (z - data) / t[:, None, None]

    for steps in (1, 2, 7):
        drawn = flow_sample(
            Oracle(),
            torch.ones(2, 1, dtype=torch.long),
            torch.ones(2, 1, dtype=torch.long),
            steps,
            1.0,
            FlowSettings(),
            chance(),
        )
        assert torch.allclose(drawn, data, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40))
def test_a_mask_schedule_starts_full_ends_empty_and_only_falls(schedule, tokens, steps):
    counts = [masked_count(step / steps, tokens, schedule) for step in range(steps + 1)]
    assert counts[0] == tokens and counts[-1] == 0 and counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_training_masks_have_a_place_each_and_the_schedules_mean(schedule):
    masks = random_mask(6000, 50, schedule, chance())
    assert masks.any(1).all()
    # of cos(pi u / 2) and of 2 acos(u) / pi alike
    mean = 2 / math.pi
    assert masks.float().mean().item() == pytest.approx(mean + 0.01, abs=0.02)  # counts are rounded up
    assert (masks.float().mean(0) - masks.float().mean()).abs().max() < 0.03, "no place is preferred"


def test_the_masked_loss_looks_at_masked_places_only():
    config = config_of("masked-token")
    network, (ids, captions) = stirred(config), inputs(config, 6)
    mask = random_mask(6, config.tokens, "cosine", chance(2))
    with torch.no_grad():
        loss = method_loss(network, ids, captions, MethodSettings(), chance(2))
        logits = network(torch.where(mask, config.vocab_size, ids), captions)
        by_hand = [-logits[b, i].log_softmax(-1)[ids[b, i]] for b, i in mask.nonzero().tolist()]
    assert torch.allclose(loss, torch.stack(by_hand).mean())


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 400))
def test_every_pass_fixes_a_code_and_the_schedule_is_kept_where_it_does_so_itself(schedule, tokens, steps):
    left = blanks_left(steps, tokens, schedule)
    plain = [masked_count(step / steps, tokens, schedule) for step in range(steps + 1)]
    assert len(left) == masked_passes(steps, tokens) == min(steps, tokens) and left[-1] == 0
    assert all(later < earlier for earlier, later in zip([tokens, *left], left))
    if all(later < earlier for earlier, later in zip(plain, plain[1:])): assert left == plain[1:]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_few_steps_over_many_tokens_follow_the_plain_schedule(schedule):
    assert blanks_left(8, 256, schedule) == [masked_count(step / 8, 256, schedule) for step in range(1, 9)]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 20), st.sampled_from(list(SCHEDULES)), st.sampled_from([0.0, 1.0, 8.0]), st.sampled_from([1.0, 2.0])
)
def test_masked_sampling_fills_every_place_and_never_changes_a_filled_one(steps, schedule, temperature, guidance):
    config, seen = config_of("masked-token"), []
    network, captions = stirred(config), inputs(config, 2)[1]
    runs = []
    network.register_forward_hook(lambda *_: runs.append(1))
    ids = masked_sample(
        network,
        captions,
        captions,
        steps,
        guidance,
        MaskedSettings(schedule, temperature),
        chance(),
        on_step=lambda x: seen.append(x.clone()),
    )
    assert ids.min() >= 0 and ids.max() < config.vocab_size
    assert len(runs) == len(seen) == network_passes(config, Sampling(steps)), "what is charged is what runs"
    for blanks, before, after in zip(
        blanks_left(steps, config.tokens, schedule), [torch.full_like(ids, config.vocab_size), *seen], seen
    ):
        fixed = before != config.vocab_size
        assert torch.equal(before[fixed], after[fixed])
        assert ((after == config.vocab_size).sum(1) == blanks).all()


@pytest.mark.parametrize("wrong", [{"shift": 0.0}, {"std": -1.0}])
def test_flow_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError): FlowSettings(**wrong)


@pytest.mark.parametrize(
    "name, wrong",
    [
        (name, value)
        for name in ("steps", "guidance", "temperature")
        for value in (-1, math.nan, math.inf, None, "2", True, [2])
    ]
    + [("steps", 0), ("steps", 1.5), ("steps", 2.0), ("cache", 1), ("cache", "no")],
)
def test_samplings_that_make_no_sense_are_refused(name, wrong):
    with pytest.raises(UserError, match=name) as caught: Sampling(**{name: wrong})
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_and_a_temperature_of_zero_are_numbers():
    assert Sampling(np.int64(3), np.float64(1.5), 0) == Sampling(3, 1.5, 0.0)


def test_an_unknown_mask_schedule_is_refused():
    with pytest.raises(UserError, match="mask schedule"): MaskedSettings("linear")


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 5),
    codes=st.integers(1, 40),
    temperature=st.sampled_from([0.3, 1.0, 4.0]),
    seed=st.integers(0, 99),
)
def test_the_code_drawn_is_the_one_at_which_the_summed_probability_passes_chance(rows, codes, temperature, seed):
    logits, u = torch.randn(rows, codes, generator=chance(seed)) * 3, torch.rand(rows, generator=chance(seed + 1))
    logits[:, codes // 2] = logits[:, codes // 2] if codes == 1 else -torch.inf
    summed = (logits.double() / temperature).softmax(-1).cumsum(-1)
    for row, code in enumerate(draw_codes(logits, u, temperature).tolist()):
        below = summed[row, code - 1].item() if code else 0.0
        assert below - 1e-5 <= u[row] <= summed[row, code] + 1e-5 and logits[row, code] > -torch.inf
    assert torch.equal(draw_codes(logits, u, 0.0), logits.argmax(-1))


@pytest.mark.parametrize("guided_twice", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_that_can_be_replayed_says_what_the_cached_one_says(variant, guided_twice):
    """What a GPU records: the same logits, with the place in memory and a mask over the whole cache."""
    config = config_of("next-token", **variant)
    network, ids = stirred(config).eval(), torch.randint(config.vocab_size, (3, config.tokens), generator=chance())
    captions = torch.randint(
        config.caption_words, (6 if guided_twice else 3, config.caption_length), generator=chance()
    )
    with torch.inference_mode():
        cached, replayed = _CachedSteps(network, captions), _ReplayedSteps(network, captions)
        for place in range(config.tokens): assert torch.allclose(cached(ids, place), replayed(ids, place), atol=1e-5)


@pytest.mark.parametrize("method", ["next-token", "masked-token"])
def test_a_network_of_no_numbers_draws_nothing(method):
    """Diffusion's latents are refused by the codec."""
    config = config_of(method)
    network, captions = Backbone(config).eval(), torch.ones(2, config.caption_length, dtype=torch.long)
    with torch.no_grad(): network.write.weight.fill_(math.nan)
    with pytest.raises(UserError, match="no numbers"):
        draw_latents(network, captions, captions, Sampling(steps=3), MethodSettings(), chance())


def test_codes_are_drawn_from_half_precision_and_at_the_edge_of_chance():
    logits = torch.tensor([[0.0, 1.0, -torch.inf]])
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert draw_codes(logits.to(dtype), torch.tensor([1 - 2**-24])).tolist() == [1] and draw_codes(
            logits.to(dtype), torch.tensor([0.0])
        ).tolist() == [0]


def test_a_picture_of_one_token_can_be_drawn():
    config = config_of(tokens=1)
    captions = torch.ones(2, config.caption_length, dtype=torch.long)
    with torch.inference_mode():
        assert _ReplayedSteps(Backbone(config).eval(), captions)(torch.zeros(2, 1, dtype=torch.long), 0).shape == (
            2,
            config.vocab_size,
        )
