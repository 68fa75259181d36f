"""Stages of training: what each asks and what learns, and that a run that is killed and continued is the same run."""
from dataclasses import replace

import lightning as L
import pytest
import torch
from small import DWARF, chance, dwarf, numbers, shaken, spots
from tiers import nightly

from dclm_nb.core.errors import UserError

pytest.importorskip("diffusers")

from dclm_nb.video.edm import NoiseLevels, edm_scaling
from dclm_nb.video.given_frames import (
    AUGMENTATION, BetweenFrames, Eye, PictureToFilm, augmented, between_frames, from_picture, without_condition,
)
from dclm_nb.video.latent_clips import Clips
from dclm_nb.video.objectives import (
    Condition, Denoising, EdmPictures, EdmSwitch, Pictures, Training, VideoNetwork, denoiser, train_stage,
)
from dclm_nb.video.unet import build_image_unet, build_unet
from dclm_nb.video.words import Words, WordTable

TRAINING = Training(steps=5, batch_size=2, lr=1e-3, levels=NoiseLevels(0.7, 1.6), ema=0.9, checkpoint_every=3)


def to_film() -> VideoNetwork:
    return VideoNetwork(build_unet(replace(DWARF, channels_in=8, numbers=3)), eye=Eye(4, 8))


def between() -> VideoNetwork:
    return VideoNetwork(build_unet(replace(DWARF, channels_in=9, numbers=3)), eye=Eye(4, 8), gap_channels=4)


def picture() -> VideoNetwork: return VideoNetwork(build_image_unet(DWARF), WordTable(5, 1, 8))


STAGES = {
    "image": (Pictures, picture, replace(TRAINING, levels=None, offset_noise=0.1)),
    "edm-switch": (EdmSwitch, picture, TRAINING),
    "edm": (EdmPictures, picture, TRAINING),
    "video": (Denoising, dwarf, TRAINING),
    "i2v": (PictureToFilm, to_film, TRAINING),
    "interpolation": (BetweenFrames, between, TRAINING),
}


def clips_of(stage: str) -> Clips:
    return spots().frames() if stage in ("image", "edm-switch", "edm") else spots()


class Dies(L.Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 4: raise RuntimeError("killed")


@pytest.mark.parametrize("stage", ["video", *nightly("image", "edm-switch", "edm", "i2v", "interpolation")])
def test_killed_and_continued_is_uninterrupted_to_the_bit(tmp_path, stage):
    kind, network, training = STAGES[stage]
    run = lambda name, **more: train_stage(kind(network(), training), clips_of(stage), tmp_path / name, seed=3,
                                           accelerator="cpu", **more)
    whole = run("whole")
    with pytest.raises(RuntimeError, match="killed"): run("cut", callbacks=[Dies()])
    cut = run("cut")
    mine, theirs = whole.objective.state_dict(), cut.objective.state_dict()
    assert mine.keys() == theirs.keys() and any(name.startswith("averaged") for name in mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert whole.losses() == cut.losses() and len(whole.losses()) == 5


@pytest.mark.parametrize("other", [{"seed": 1}, {"clips": spots(15)}, {"training": replace(TRAINING, lr=2e-3)}])
def test_a_folder_of_another_run_is_refused(tmp_path, other):
    settings = {"seed": 0, "clips": spots(), "training": TRAINING}

    def run(seed, clips, training): train_stage(Denoising(dwarf(), training), clips, tmp_path, seed, accelerator="cpu")

    run(**settings)
    with pytest.raises(UserError, match="another run"): run(**settings | other)


def test_the_switch_trains_the_time_embedding_alone_and_all_learn_again_afterwards(tmp_path):
    network = picture()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_stage(EdmSwitch(network, TRAINING), spots().frames(), tmp_path, accelerator="cpu")
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("unet.time_embedding.")}
    EdmPictures(network, TRAINING)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_network_that_says_nothing_has_a_loss_of_one():
    "Latents of size one, any noise levels, many films: the loss is the mistake of the raw output."
    class Silent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.only = torch.nn.Parameter(torch.zeros(1))

        def read(self, captions): return captions

        def forward(self, x, noise, condition, images=False): return 0 * self.only * x

    n = 512
    batch = {"latents": numbers(n, 4, 4, 4, 4), "captions": torch.zeros(n, 1, 8), "fps": torch.ones(n),
             "bucket": torch.ones(n)}
    for kind, training in ((Denoising, TRAINING), (Pictures, replace(TRAINING, levels=None))):
        loss = kind(Silent(), training).losses((batch, chance()))["loss"].item()
        assert abs(loss - 1) < 0.02


def test_captions_are_dropped_as_often_as_said():
    objective = Denoising(dwarf(), replace(TRAINING, caption_drop=0.15))
    kept = objective.kept({"latents": torch.zeros(20_000, 1)}, chance())
    assert abs(float(kept.mean()) - 0.85) < 0.01
    batch = spots().batch(400, chance())
    nothing = objective.network.read(torch.zeros(1, 1, dtype=torch.int64))
    dropped = (objective.condition(batch, chance()).context == nothing).all((1, 2)).float().mean()
    assert 0.08 < float(dropped) < 0.22


def test_what_a_film_is_conditioned_on_is_heard():
    network = shaken(dwarf())
    x, condition = numbers(1, 4, 4, 4, 4), Condition(numbers(1, 1, 8), torch.tensor([[8.0, 60.0]]))
    with torch.no_grad():
        said = network(x, torch.zeros(1), condition)
        for other in ({"context": numbers(1, 1, 8, seed=1)}, {"numbers": torch.tensor([[24.0, 60.0]])},
                      {"numbers": torch.tensor([[8.0, 200.0]])}, {"temporal": numbers(1, 1, 8, seed=1)}):
            assert not torch.allclose(network(x, torch.zeros(1), replace(condition, **other)), said, atol=1e-5)


def test_a_doubled_question_is_both_questions():
    network = shaken(to_film())
    first, level, eight = numbers(2, 4, 4, 4), torch.full((2,), 0.05), torch.full((2,), 8.0)
    condition = from_picture(network, first, first, level, eight, eight, 4)
    both, x = condition + without_condition(condition), numbers(2, 4, 4, 4, 4)
    with torch.no_grad():
        found = denoiser(network, both)(torch.cat([x, x]), torch.ones(4)).chunk(2)
        assert torch.allclose(found[0], denoiser(network, condition)(x, torch.ones(2)), atol=1e-5)
        assert torch.allclose(found[1], denoiser(network, without_condition(condition))(x, torch.ones(2)), atol=1e-5)
    assert not torch.allclose(*found, atol=1e-3)


def test_a_given_picture_lies_beside_every_frame_noised_by_the_number_beside_it():
    objective, batch = PictureToFilm(to_film(), replace(TRAINING, caption_drop=0.0)), spots().batch(64, chance())
    condition = objective.condition(batch, chance())
    assert all(torch.equal(condition.beside[:, 0], condition.beside[:, t]) for t in range(4))
    noise = (condition.beside[:, 0] - batch["latents"][:, 0]).flatten(1).std(1)
    assert torch.allclose(noise / condition.numbers[:, 2], torch.ones(64), atol=0.4)
    assert abs(float(condition.numbers[:, 2].log().mean()) - AUGMENTATION.mean) < 0.2


def test_a_lost_condition_is_zeros_in_both_places():
    objective = PictureToFilm(to_film(), replace(TRAINING, caption_drop=1.0))
    condition = objective.condition(spots().batch(3, chance()), chance())
    assert not condition.context.any() and not condition.beside.any() and condition.numbers.any()


def test_between_two_frames_stands_the_learned_vector_and_the_mask_says_so():
    network = between()
    torch.nn.init.constant_(network.gap, 7.0)
    ends, one = numbers(2, 2, 4, 4, 4), torch.ones(2)
    condition = between_frames(network, ends, ends, one, one, one, 5)
    assert condition.beside.shape == (2, 5, 5, 4, 4) and condition.context.shape == (2, 2, 8)
    assert (condition.beside[:, 1:4, :4] == 7).all() and torch.equal(condition.beside[:, [0, 4], :4], ends)
    assert condition.beside[:, :, 4].mean((0, 2, 3)).tolist() == [1, 0, 0, 0, 1]


def test_augmentation_does_not_move_what_was_given():
    latents = numbers(4, 4, 4, 4)
    before = latents.clone()
    noised, level = augmented(latents, chance())
    assert torch.equal(latents, before) and (level > 0).all() and not torch.equal(noised, latents)


def test_frames_of_clips_are_clips():
    frames = spots(2).frames()
    assert frames.latents.shape == (8, 1, 4, 4, 4) and frames.captions[:5, 0].tolist() == [1, 1, 1, 1, 2]
    assert replace(spots(2), elevation=torch.tensor([5.0, 9.0])).frames().elevation.tolist() == [5.0] * 4 + [9.0] * 4


def test_words_are_numbers_and_nothing_is_zero():
    words = Words.of(["A dog, runs.", "a cat"])
    assert words.words == ("a", "cat", "dog", "runs") and words.encode(["a cat"]).tolist() == [[1, 2, 0]]
    with pytest.raises(UserError, match="unknown word 'cow'"): words.encode(["a cow"])
    with pytest.raises(UserError, match="more than 3 words"): words.encode(["a a a a"])
    with pytest.raises(UserError, match="at least one"): Words.of([])


@pytest.mark.parametrize("call, said", [
    (lambda: Clips(torch.zeros(2, 1), torch.zeros(1, 1), torch.zeros(2), torch.zeros(2)), "as many captions"),
    (lambda: Clips(*[torch.zeros(0)] * 4), "at least one"),
    (lambda: VideoNetwork(torch.nn.Linear(1, 1)).read(torch.zeros(1, 1, dtype=torch.int64)), "reads embeddings"),
    (lambda: EdmSwitch(torch.nn.Linear(1, 1), TRAINING), "nothing in this network learns in the stage EdmSwitch"),
])
def test_errors(call, said):
    with pytest.raises(UserError, match=said): call()


def test_a_loss_that_is_no_number_is_said(tmp_path):
    clips = replace(spots(), latents=torch.full((16, 4, 4, 4, 4), torch.nan))
    with pytest.raises(UserError, match="training diverged at step 1: lower the learning rate"):
        train_stage(Denoising(dwarf(), TRAINING), clips, tmp_path, accelerator="cpu")


def test_the_loss_follows_the_scaling():
    s = edm_scaling(torch.tensor([0.5]))
    assert torch.allclose(s.out.pow(-2), (1 + torch.tensor([0.25])) / 0.25)
