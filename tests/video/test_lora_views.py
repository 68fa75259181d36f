"""Low-rank matrices over the temporal attention, and orbits."""
from dataclasses import replace

import pytest
import torch
from small import DWARF, chance, numbers, shaken, spots
from torch import nn

from dclm_nb.core.errors import UserError

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from dclm_nb.video.given_frames import Eye
from dclm_nb.video.lora import CameraMove, add_lora, has_lora, load_lora, lora_targets, merge_lora, save_lora
from dclm_nb.video.objectives import Training, VideoNetwork, train_stage
from dclm_nb.video.unet import build_unet
from dclm_nb.video.views import ELEVATIONS, AroundObjects, orbit, trivial_views, view_psnr

TRAINING = Training(steps=3, batch_size=2, lr=1e-2, ema=0.9)
WIDE = replace(DWARF, channels_in=8, numbers=3)
X, LEVEL, CONTEXT, NUMBERS = numbers(2, 4, 8, 4, 4), numbers(2), numbers(2, 1, 8), numbers(2, 3).abs()


@torch.no_grad()
def say(unet): return unet(X, LEVEL, CONTEXT, NUMBERS).sample


def learned(seed: int = 0) -> nn.Module:
    "A network over which matrices lie that say something."
    unet = add_lora(build_unet(WIDE), rank=4, seed=seed)
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if ".lora_" in name: p += 0.2 * torch.randn(p.shape, generator=chance(seed))
    return unet


def test_at_first_matrices_change_nothing():
    plain = build_unet(WIDE)
    assert torch.equal(say(add_lora(build_unet(WIDE), rank=4)), say(plain))
    assert not torch.allclose(say(learned()), say(plain), atol=1e-3)


def test_they_lie_over_temporal_attention_only():
    names = lora_targets(build_unet(WIDE))
    assert names and all("temporal_transformer_blocks" in n and (".attn1." in n or ".attn2." in n) for n in names)
    laid = {n.split(".lora_")[0] for n, _ in add_lora(build_unet(WIDE)).named_parameters() if ".lora_" in n}
    assert laid == set(names)


def test_they_alone_learn_and_the_network_stays_to_the_bit(tmp_path):
    network = VideoNetwork(build_unet(WIDE), eye=Eye(4, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    add_lora(network.unet, rank=4)
    train_stage(CameraMove(network, TRAINING), spots(), tmp_path, accelerator="cpu")
    after = network.state_dict()
    assert all(torch.equal(after[name.replace(".base_layer.", ".")] if name in after else value, value)
               for name, value in before.items())
    plain = {name.replace(".base_layer.", "."): value for name, value in after.items() if ".lora_" not in name}
    assert plain.keys() == before.keys() and all(torch.equal(plain[name], before[name]) for name in before)
    assert any(value.any() for name, value in after.items() if ".lora_B." in name)


def test_without_matrices_nothing_learns():
    with pytest.raises(UserError, match="nothing in this network learns in the stage CameraMove"):
        CameraMove(VideoNetwork(build_unet(WIDE), eye=Eye(4, 8)), TRAINING)


def test_a_file_of_matrices_comes_back_to_the_bit_and_merges_into_a_plain_network(tmp_path):
    unet = learned()
    save_lora(unet, tmp_path / "move.safetensors")
    back = load_lora(build_unet(WIDE), tmp_path / "move.safetensors")
    assert torch.equal(say(back), say(unet))
    assert merge_lora(back).state_dict().keys() == build_unet(WIDE).state_dict().keys() and not has_lora(back)
    assert torch.allclose(say(back), say(unet), atol=1e-5)
    assert torch.equal(say(load_lora(back, tmp_path / "move.safetensors")), say(back))  # and may be laid over again


def test_what_is_no_file_of_matrices_is_one_line(tmp_path):
    path = tmp_path / "move.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="no low-rank matrices can be read"): load_lora(build_unet(WIDE), path)
    from safetensors.torch import save_file
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not hold low-rank matrices of one rank"):
        load_lora(build_unet(WIDE), path)
    save_lora(learned(), path)
    with pytest.raises(UserError, match="of another network"):
        load_lora(build_unet(replace(WIDE, widths=(96,), heads=(2,))), path)


def test_matrices_are_not_laid_twice_or_nowhere():
    with pytest.raises(UserError, match="already"): add_lora(learned())
    with pytest.raises(UserError, match="no temporal attention"): add_lora(nn.Linear(2, 2))
    with pytest.raises(UserError, match="at least 1"): add_lora(build_unet(WIDE), rank=0)
    with pytest.raises(UserError, match="no low-rank matrices lie"): save_lora(build_unet(WIDE), "nowhere")


# --- orbits

@pytest.mark.parametrize("elevation", [*ELEVATIONS, 0.0, 90.0])
def test_an_orbit_is_a_circle_at_one_height(elevation):
    around = orbit(21, elevation)
    assert torch.allclose(around.norm(dim=1), torch.ones(21), atol=1e-6)
    assert torch.allclose(around[:, 2], torch.tensor(elevation).deg2rad().sin().expand(21), atol=1e-6)
    assert torch.allclose(around.mean(0)[:2], torch.zeros(2), atol=1e-6)  # evenly around


def test_elevation_is_the_last_number_and_is_heard():
    clips = spots(elevation=torch.linspace(-5, 30, 16))
    network = VideoNetwork(shaken(build_unet(replace(WIDE, numbers=4))), eye=Eye(4, 8))
    batch = clips.batch(5, chance())
    condition = AroundObjects(network, TRAINING).condition(batch, chance())
    assert torch.equal(condition.numbers[:, 3], batch["elevation"]) and condition.numbers.shape == (5, 4)
    higher = replace(condition, numbers=condition.numbers + torch.tensor([0, 0, 0, 20.0]))
    with torch.no_grad():
        a, b = (network(batch["latents"], torch.zeros(5), each) for each in (condition, higher))
    assert not torch.allclose(a, b, atol=1e-4)


def test_orbits_without_elevation_are_refused():
    network = VideoNetwork(build_unet(replace(WIDE, numbers=4)), eye=Eye(4, 8))
    with pytest.raises(UserError, match="elevation"):
        AroundObjects(network, TRAINING).condition(spots().batch(2, chance()), chance())


def test_decibels_do_not_count_the_given_view():
    true = numbers(3, 4, 2, 2)
    found = true + 0.1
    found[:, 0] += 100
    assert torch.allclose(view_psnr(found, true, 1.0), torch.full((3,), 20.0), atol=1e-3)


def test_trivial_views_are_what_they_are_called():
    seen = numbers(9, 4, 2, 2)
    trivial = trivial_views(seen[:3, 0], seen)
    assert torch.equal(trivial["the given view"][:, 2], seen[:3, 0])
    assert torch.allclose(trivial["the mean view"][1], seen.mean(0))
