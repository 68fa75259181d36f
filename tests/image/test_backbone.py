"""The network against a naive one in float64, and what must hold at every place: who sees whom, what a cache may change
(nothing), and which shapes are refused."""
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.image.backbone import Attention, Backbone, KeyValueCache, Places, rotary_angles, rotary_tables, rotate
from dclm_nb.image.config import METHODS, BackboneConfig

VARIANTS = [
    {"positions": positions, "qk_norm": qk_norm} for positions in ("rotary", "learned") for qk_norm in (True, False)
]
IDS = ["-".join(map(str, v.values())) for v in VARIANTS]


def config_of(method: str = "next-token", tokens: int = 16, heads: int = 3, **changes) -> BackboneConfig:
    numbers = {"channels": 5} if method == "diffusion" else {"vocab_size": 11}
    return BackboneConfig(
        method,
        width=24,
        n_layers=2,
        n_heads=heads,
        tokens=tokens,
        caption_words=9,
        caption_length=4,
        **numbers,
        **changes,
    )


def stirred(config: BackboneConfig, seed: int = 0) -> Backbone:
    """In float64, with every weight away from where it began: gates open, gains different."""
    network, generator = Backbone(config, seed).double().eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return network


def inputs(config: BackboneConfig, batch: int = 2, seed: int = 1) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    captions = torch.randint(config.caption_words, (batch, config.caption_length), generator=generator)
    if config.method == "diffusion":
        return (
            torch.randn(batch, config.tokens, config.channels, generator=generator, dtype=torch.float64),
            captions,
            torch.rand(batch, generator=generator, dtype=torch.float64),
        )
    return torch.randint(config.vocab_size, (batch, config.tokens), generator=generator), captions


def naive_attention(layer: Attention, x: torch.Tensor, angles: torch.Tensor | None) -> torch.Tensor:
    """One head, one query and one key at a time."""
    batch, length, width = x.shape
    head, out = width // layer.heads, torch.zeros_like(x)
    split = layer.qkv.weight.view(3, layer.heads, head, width)

    def seen(row, place, kind, h):
        y = split[kind, h] @ x[row, place]
        if layer.gains is not None:
            y = (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt() * layer.gains[kind].flatten()
        if angles is None: return y
        turned = torch.view_as_real(
            torch.complex(y[: head // 2], y[head // 2 :]) * torch.polar(torch.ones_like(angles[place]), angles[place])
        )
        return torch.cat([turned[:, 0], turned[:, 1]])

    for row in range(batch):
        for h in range(layer.heads):
            keys, values = [seen(row, j, 1, h) for j in range(length)], [split[2, h] @ x[row, j] for j in range(length)]
            for i in range(length):
                last = i + 1 if layer.causal else length
                scores = torch.stack([seen(row, i, 0, h) @ key for key in keys[:last]]) / math.sqrt(head)
                out[row, i, h * head:(h + 1) * head] = sum(w * v for w, v in zip(scores.softmax(0), values))
    return out @ layer.out.weight.T


@pytest.mark.parametrize("method", ["next-token", "diffusion"])
@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_attention_equals_a_naive_one_in_float64(method, variant):
    config = config_of(method, tokens=9, **variant)
    layer = stirred(config).blocks[0].attention
    x = torch.randn(2, config.sequence, config.width, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    angles = rotary_angles(config).double()[:config.sequence] if variant["positions"] == "rotary" else None
    places = Places() if angles is None else Places(*rotary_tables(angles))
    with torch.no_grad(): assert torch.allclose(layer(x, places), naive_attention(layer, x, angles), atol=1e-12, rtol=0)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_no_token_sees_a_later_one_and_the_next_place_sees_it(positions):
    config = config_of(positions=positions)
    network, (ids, captions) = stirred(config), inputs(config)
    with torch.no_grad():
        before = network(ids, captions)
        for place in range(config.tokens):
            changed = ids.clone()
            changed[:, place] = (changed[:, place] + 1) % config.vocab_size
            same = (network(changed, captions) == before).all(-1).all(0)
            assert same[:place + 1].all() and (place + 1 == config.tokens or not same[place + 1])


@pytest.mark.parametrize("method", ["masked-token", "diffusion"])
def test_every_token_sees_every_other_in_the_other_methods(method):
    config = config_of(method)
    network, (x, *rest) = stirred(config), inputs(config)
    with torch.no_grad():
        before = network(x, *rest)
        for place in range(config.tokens):
            changed = x.clone()
            changed[:, place] = (
                changed[:, place] + 1 if method == "diffusion" else (changed[:, place] + 1) % config.vocab_size
            )
            assert not (network(changed, *rest) == before).all(-1).any()


@pytest.mark.parametrize("method", METHODS)
def test_every_word_of_the_caption_and_its_place_matter_everywhere(method):
    config = config_of(method)
    network, (x, captions, *t) = stirred(config), inputs(config, batch=1)
    captions = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        before = network(x, captions, *t)
        for other in ([5, 2, 3, 4], [1, 2, 3, 0], [2, 1, 3, 4]):
            assert not (network(x, torch.tensor([other]), *t) == before).all(-1).any()


@pytest.mark.parametrize("method", METHODS)
def test_pictures_of_a_batch_do_not_see_each_other(method):
    config = config_of(method)
    network, batch = stirred(config), inputs(config, batch=3)
    with torch.no_grad():
        together = network(*batch)
        for i in range(3):
            assert torch.allclose(network(*(part[i : i + 1] for part in batch)), together[i : i + 1], atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), side=st.integers(1, 5))
def test_a_cache_changes_no_value(variant, seed, side):
    config = config_of(tokens=side * side, **variant)
    network, (ids, captions) = stirred(config, seed), inputs(config, seed=seed)
    with torch.no_grad():
        tokens, condition = network.condition(captions)
        cache, steps = KeyValueCache(config, len(ids), tokens), []
        for place in range(config.tokens):
            steps.append(network.write(network.hidden(tokens, condition, cache)[:, -1]))
            tokens = network.embed(ids[:, place:place + 1], place)
        assert (
            torch.allclose(torch.stack(steps, dim=1), network(ids, captions), atol=1e-10)
            and cache.length == config.sequence
        )


def test_a_cache_takes_one_token_at_a_time_and_no_more_than_it_holds():
    config = config_of()
    network, (_, captions) = stirred(config), inputs(config)
    with torch.no_grad():
        tokens, condition = network.condition(captions)
        cache = KeyValueCache(config, 2, tokens)
        network.hidden(tokens, condition, cache)
        with pytest.raises(UserError, match="one token at a time"): network.hidden(tokens[:, :2], condition, cache)
        for _ in range(config.tokens - 1): network.hidden(tokens[:, :1], condition, cache)
        with pytest.raises(UserError, match="finished"): network.hidden(tokens[:, :1], condition, cache)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), side=st.integers(2, 8), heads=st.sampled_from([1, 2, 3, 6]))
def test_scores_depend_on_the_offset_of_two_places_only(data, side, heads):
    config = config_of(tokens=side * side, heads=heads)
    tables = [table[config.caption_length:] for table in rotary_tables(rotary_angles(config).double())]
    q, k = torch.randn(
        2,
        1,
        1,
        1,
        config.head_dim,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))),
    )
    inside = lambda shift: st.integers(max(0, -shift), min(side, side - shift) - 1)
    down, right = (data.draw(st.integers(1 - side, side - 1)) for _ in range(2))
    pairs = [
        (row * side + column, (row + down) * side + column + right)
        for row, column in (data.draw(st.tuples(inside(down), inside(right))) for _ in range(2))
    ]
    scores = [(rotate(q, *(t[i] for t in tables)) * rotate(k, *(t[j] for t in tables))).sum() for i, j in pairs]
    assert torch.allclose(*scores, atol=1e-5)                                  # the angles themselves are float32


def test_rotation_keeps_lengths_and_tells_all_places_apart():
    config = config_of(tokens=64)
    cos, sin = rotary_tables(rotary_angles(config).double())
    q = torch.randn(1, 68, 1, config.head_dim, dtype=torch.float64)
    assert torch.allclose(rotate(q, cos, sin).norm(dim=-1), q.norm(dim=-1))
    turned = rotate(torch.ones_like(q), cos, sin)[0, 4:, 0]
    assert (torch.cdist(turned, turned) + torch.eye(64) > 0.05).all()


def test_caption_tokens_are_not_turned():
    cos, sin = rotary_tables(rotary_angles(config_of()))
    assert (cos[:4] == 1).all() and (sin[:4] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_first_guess_is_no_direction_or_a_uniform_one(method):
    """Gates are 1 and modulation is 0 at the start; every parameter that is used gets a gradient."""
    config = config_of(method)
    network, (x, *rest) = Backbone(config), inputs(config)
    x = x.float() if method == "diffusion" else x
    out = network(x, *(r.float() if r.is_floating_point() else r for r in rest))
    assert out.abs().max() < 0.5
    (out.square().mean() if method == "diffusion" else F.cross_entropy(out.flatten(0, 1), x.flatten())).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_is_a_network_and_building_one_draws_no_global_numbers(method):
    config = config_of(method)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks = [Backbone(config, seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.rand(3), expected)
    same, other = ([torch.equal(a, b) for a, b in zip(networks[0].parameters(), n.parameters())] for n in networks[1:])
    assert all(same) and not all(other)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"n_heads": 5}, "heads"),
        ({"n_heads": 12}, "multiple of 4"),
        ({"width": 26, "n_heads": 1}, "multiple of 4"),
        ({"n_heads": 0}, "at least 1"),
        ({"n_layers": 0}, "n_layers"),
        ({"tokens": 15}, "square"),
        ({"tokens": 0}, "tokens"),
        ({"caption_length": 0}, "caption_length"),
        ({"caption_words": 2}, "3 or more"),
        ({"positions": "sine"}, "sine"),
        ({"method": "autoregressive"}, "autoregressive"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"channels": 4}, "channels"),
    ],
)
def test_a_shape_that_is_none_is_refused_in_one_line(changes, said):
    with pytest.raises(UserError, match=said) as caught: dataclasses.replace(config_of(), **changes)
    assert "\n" not in str(caught.value)
