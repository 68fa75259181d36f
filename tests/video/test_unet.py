"""The network: released names and shapes, both ways through diffusers' files, and what is silent at first."""
from dataclasses import replace

import pytest
import torch
from small import DWARF, numbers, shaken

from dclm_nb.core.errors import UserError

pytest.importorskip("diffusers")

from dclm_nb.video.unet import (
    RELEASED_UNET, UNetSettings, blueprint, build_image_unet, build_unet, faster_time, images_only, is_temporal,
    load_unet, silence_time, temporal_prompt, video_from_image, video_name, widened,
)

X, LEVEL, CONTEXT, NUMBERS = numbers(2, 4, 4, 4, 4), numbers(2), numbers(2, 3, 8), numbers(2, 2).abs()


@torch.no_grad()
def say(unet, x=X, context=CONTEXT, micro=NUMBERS): return unet(x, LEVEL, context, micro).sample


def test_the_released_network_has_the_released_number_of_parameters():
    sizes = {name: value.numel() for name, value in blueprint(RELEASED_UNET).named_parameters()}
    assert sum(sizes.values()) == 1_524_623_082
    assert round(sum(size for name, size in sizes.items() if is_temporal(name)) / 1e6) == 656  # the paper's


def test_diffusers_loads_what_we_save_and_we_load_what_it_saves(tmp_path):
    from diffusers import UNetSpatioTemporalConditionModel as Theirs
    ours = shaken(build_unet(DWARF))
    ours.save_pretrained(tmp_path / "ours")
    there = Theirs.from_pretrained(tmp_path / "ours")
    assert torch.equal(say(there), say(ours))
    there.save_pretrained(tmp_path / "theirs")
    assert torch.equal(say(load_unet(tmp_path / "theirs")), say(ours))


def test_weights_that_lack_a_layer_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file
    build_unet(DWARF).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights.pop("conv_in.weight")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="conv_in.weight"): load_unet(tmp_path)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"in_channels": "many"}'])
def test_a_folder_without_a_network_is_one_line(tmp_path, damage):
    if damage: (tmp_path / "config.json").write_text(damage)
    with pytest.raises(UserError, match="there is no video UNet"): load_unet(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_a_film_network_made_of_a_picture_network_says_the_same_to_the_bit(seed):
    picture = shaken(build_image_unet(DWARF, seed), seed)
    film = video_from_image(picture, DWARF, seed)
    own = film.state_dict()
    assert all(torch.equal(own[video_name(name)], value) for name, value in picture.state_dict().items())
    with torch.no_grad():  # films of one frame; a product of more rows is rounded differently
        for frame in range(4):
            said = picture(X[:, frame], LEVEL, CONTEXT).sample
            assert torch.equal(say(film, X[:, frame:frame + 1])[:, 0], said)


def test_it_is_the_silent_layers_that_keep_it_the_same():
    picture = shaken(build_image_unet(DWARF))
    loud = video_from_image(picture, DWARF, silent=False)
    silent = video_from_image(picture, DWARF)
    assert not torch.allclose(say(loud), say(silent), atol=1e-3)
    silence_time(loud)
    assert torch.equal(say(loud), say(silent))


def test_silent_layers_still_learn():
    film = video_from_image(build_image_unet(DWARF), DWARF)
    film(X, LEVEL, CONTEXT, NUMBERS).sample.square().mean().backward()
    heard = {name for name, p in film.named_parameters() if is_temporal(name) and p.grad is not None and p.grad.any()}
    assert any("temporal_res_block.conv2" in name for name in heard)
    assert any("temporal_transformer_blocks" in name for name in heard)


def test_loose_frames_do_not_see_each_other_and_films_do():
    unet = shaken(build_unet(DWARF))
    other = X.clone()
    other[:, 3] = 0
    with images_only(unet):
        assert torch.allclose(say(unet, other)[:, :3], say(unet)[:, :3], atol=1e-5)
    assert not torch.allclose(say(unet, other)[:, :3], say(unet)[:, :3], atol=1e-3)


def test_some_of_a_batch_are_loose_frames():
    unet = shaken(build_unet(DWARF))
    with images_only(unet, torch.tensor([[True] * 4, [False] * 4])): mixed = say(unet)
    with images_only(unet): loose = say(unet)
    assert torch.allclose(mixed[0], loose[0], atol=1e-5)
    assert torch.allclose(mixed[1], say(unet)[1], atol=1e-5)


def test_a_temporal_prompt_reaches_the_temporal_layers_only():
    unet = shaken(build_unet(DWARF))
    plain, other = say(unet), numbers(2, 3, 8, seed=5)
    with temporal_prompt(unet, CONTEXT): assert torch.equal(say(unet), plain)
    with temporal_prompt(unet, other): changed = say(unet)
    assert not torch.allclose(changed, plain, atol=1e-4)
    with temporal_prompt(unet, other), images_only(unet): loose = say(unet)
    with images_only(unet): assert torch.equal(say(unet), loose)  # nothing along time, nothing changed
    assert torch.equal(say(unet), plain)  # and nothing is left behind


def test_a_network_that_cannot_be_told_so_is_refused():
    for within in (temporal_prompt(torch.nn.Linear(1, 1), CONTEXT), images_only(torch.nn.Linear(1, 1))):
        with pytest.raises(UserError), within: pass
    with temporal_prompt(torch.nn.Linear(1, 1), None), images_only(torch.nn.Linear(1, 1), False): pass


def test_what_is_new_is_ignored_at_first_and_learned_later():
    unet = shaken(build_unet(DWARF))
    wide = widened(unet, replace(DWARF, channels_in=9, numbers=3))
    more, micro = torch.cat([X, numbers(2, 4, 5, 4, 4)], 2), torch.cat([NUMBERS, numbers(2, 1)], 1)
    assert torch.allclose(say(wide, more, micro=micro), say(unet), atol=1e-5)
    wide(more, LEVEL, CONTEXT, micro).sample.square().mean().backward()
    assert wide.conv_in.weight.grad[:, 4:].any() and wide.add_embedding.linear_1.weight.grad[:, 64:].any()


def test_the_faster_convolution_says_and_learns_the_same():
    unet, fast = shaken(build_unet(DWARF)), faster_time(shaken(build_unet(DWARF)))
    assert unet.state_dict().keys() == fast.state_dict().keys()
    assert torch.allclose(say(fast), say(unet), atol=1e-5)
    for net in (unet, fast): net(X, LEVEL, CONTEXT, NUMBERS).sample.square().mean().backward()
    mine, theirs = (dict(net.named_parameters()) for net in (unet, fast))
    assert all(torch.allclose(mine[name].grad, theirs[name].grad, rtol=1e-3, atol=1e-5)
               for name in mine if mine[name].grad is not None)


@pytest.mark.parametrize("wrong, said", [
    ({"widths": (40,), "attention": (True,), "heads": (1,)}, "multiples of 32"),
    ({"widths": (64,), "attention": (True,), "heads": (3,)}, "does not split into 3 heads"),
    ({"widths": (32, 64)}, "as many widths"),
    ({"widths": (32,), "attention": (True,), "heads": (1,)}, "hears neither the noise nor any number"),
])
def test_settings_that_do_not_fit_are_one_line(wrong, said):
    with pytest.raises(UserError, match=said): UNetSettings(**wrong)


def test_networks_of_other_widths_are_not_taken_over():
    with pytest.raises(UserError, match="has no place"):
        video_from_image(build_image_unet(DWARF), replace(DWARF, widths=(96,)))
    with pytest.raises(UserError, match="has no place"): widened(build_unet(DWARF), replace(DWARF, channels_out=8))
