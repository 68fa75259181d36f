"""What a network can do does not depend on where it was made, or on what was called before: networks of pictures,
films and judges are built, loaded and fitted inside any mode of torch, and trained and sampled outside it; they draw
in any precision."""
import contextlib

import pytest
import torch
from test_image_checkpoints import CAPTIONS, VOCABULARY, model_of

from dclm_nb.image.autoencoders import Autoencoder, AutoencoderConfig
from dclm_nb.image.checkpoints import load_image_model, sample, save_image_model
from dclm_nb.image.config import METHODS
from dclm_nb.image.features import FeatureNet, JudgeTraining, TwoTower, fit_feature_net, fit_two_tower
from dclm_nb.image.scenes import SceneSpec
from dclm_nb.video.given_frames import Eye
from dclm_nb.video.judges import FeatureNet as FilmNet
from dclm_nb.video.judges import train_features
from dclm_nb.video.mixing import MixingSettings, MixingUNet
from dclm_nb.video.similarity import Rater, SmallConfig, Towers
from dclm_nb.video.words import WordTable

MODES = [contextlib.nullcontext, torch.no_grad, torch.inference_mode]
BUILT = {
    "towers of pictures": lambda: TwoTower(SceneSpec(), 8, 8),
    "autoencoder": lambda: Autoencoder(AutoencoderConfig()),
    "features": lambda: FeatureNet(SceneSpec(), 8, 8),
    "films": lambda: FilmNet([2, 3], 2, 8),
    "mixing": lambda: MixingUNet(MixingSettings()),
    "words": lambda: WordTable(5, 1, 8),
    "eye": lambda: Eye(4, 8),
    "towers": lambda: Towers(SmallConfig(), ["a"]),
    "rater": lambda: Rater(SmallConfig()),
}


def forward(model):
    network, codec = model.network, model.codec
    captions, kind = torch.ones(2, VOCABULARY.length, dtype=torch.long), network.write.weight.dtype
    if network.config.method != "diffusion": return network(torch.zeros(2, codec.tokens, dtype=torch.long), captions)
    return network(torch.ones(2, codec.tokens, codec.channels), captions, torch.full((2,), 0.5)).to(kind)


def is_trained(model) -> bool:
    forward(model).float().pow(2).mean().backward()
    return all(p.grad is not None for p in model.network.write.parameters())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_pictures_is_trained_wherever_it_came_from(method, positions, mode, tmp_path):
    with mode():
        made = model_of(method, positions=positions)
        loaded = load_image_model(save_image_model(made, tmp_path))
        drawn = sample(loaded, CAPTIONS)
    assert is_trained(made) and is_trained(loaded) and torch.equal(sample(made, CAPTIONS), drawn)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BUILT)
def test_no_weight_belongs_to_a_mode(name, mode):
    with mode(): network = BUILT[name]()
    held = [*network.parameters(), *network.buffers()]
    assert held and not any(t.is_inference() for t in held) and any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_judge_is_fitted_in_any_mode(mode):
    training = JudgeTraining(scenes=16, steps=2, batch_size=8)
    films, answers = torch.arange(4 * 2 * 64 * 3).reshape(4, 2, 8, 8, 3).numpy().astype("uint8"), [[0], [1], [0], [1]]
    for fit in (lambda: fit_feature_net(SceneSpec(), training), lambda: fit_two_tower(SceneSpec(), training),
                lambda: train_features(films, answers, steps=2, batch=4)):
        outside = fit().state_dict()
        with mode(): inside = fit().state_dict()
        assert all(torch.equal(inside[name], tensor) and not inside[name].is_inference()
                   for name, tensor in outside.items())


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_draws_in_any_precision(method, positions):
    model = model_of(method, positions=positions)
    usual = sample(model, CAPTIONS)
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(sample(model, CAPTIONS), usual), "torch's default is no part of a model"
    finally: torch.set_default_dtype(torch.float32)
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        model.network.to(kind)
        drawn = sample(model, CAPTIONS)
        assert drawn.shape == usual.shape and drawn.dtype == usual.dtype
        forward(model)
    fresh = model_of(method, positions=positions)
    fresh.network.double()
    assert (sample(fresh, CAPTIONS).float() - usual.float()).abs().mean() < 8, "nearly the same picture"
