"""Noise levels at two resolutions: equal scenes, tops of planted curves, who may decide."""
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("diffusers")

from dclm_nb.papers.claims import read_claims
from dclm_nb.papers.contrasts import contrasts, numbers_of
from dclm_nb.papers.verdicts import judge
from dclm_nb.studies.svd import noise_levels as levels
from dclm_nb.studies.svd.noise_levels import (
    EXPECTED, HIGHER, LEVELS, LOWER, MODELS_MAKE, PIXELS, LevelRuns, best_of, draw_sized, draw_sized_pictures, held,
    level_frame, level_gate, levels_withheld, one_frame_each, picture_prompts, said_of, spoiled, top_of,
)
from dclm_nb.studies.svd.profiles import TRAINING
from dclm_nb.studies.svd.training_runs import new_network, workshop
from dclm_nb.video.judges import QualityJudge
from dclm_nb.video.vae import PixelCodec
from dclm_nb.video.world import clip_set, shrink

WORLD = TRAINING["laptop"].world.clean()
CLAIMS = {claim.id: claim for claim in read_claims("svd")}
GRID = LEVELS["laptop"].means


@pytest.fixture(scope="module")
def runs():
    "The experiment at smoke, in the store that all tests share."
    made = LevelRuns(workshop("smoke"))
    made.make((0, 1))
    return made


class Planted:
    "Runs whose models draw what a test says: `curve(size, level, seed)` is the quality of all pictures."
    def __init__(self, curve, words=0.9, mean_quality=-9.0, blind=False):
        self.curve, self.words, self.mean_quality = curve, words, mean_quality
        self.study = SimpleNamespace(means=GRID)
        self.shop = SimpleNamespace(world=WORLD, study=SimpleNamespace(scale="laptop"))
        self.blind = blind

    def seeds(self, seeds): return seeds

    def samples(self, size, mean, seed):
        right = [i < 100 * self.words for i in range(100)]
        said = {"quality": [self.curve(size, mean, seed)] * 100, "follows": [float(r) for r in right],
                "colour": right, "shape": right}
        return SimpleNamespace(result=said)

    def judge(self, size):
        return SimpleNamespace(result={"preferred": {"grain": 0.5 if self.blind else 1.0}, "pairs": 60})


@pytest.fixture
def no_mean_picture(monkeypatch):
    "Mean pictures of planted runs have the quality that the runs say, and no word right."
    said = lambda runs, size, seed: {"quality": [runs.mean_quality], "follows": [0.0]}
    monkeypatch.setattr(levels, "mean_picture_said", said)


def tops(low, high, spread=0.05):
    "Curves with tops at `low` and `high`, a little elsewhere for each seed."
    return lambda size, level, seed: -3 - (level - {12: low, 24: high}[size] - spread * (seed - 1)) ** 2


def test_the_top_of_a_planted_curve_is_found():
    for top in (-1.2, -0.3, 0.1, 1.3):
        assert top_of(GRID, [5 - 2 * (level - top) ** 2 for level in GRID]) == pytest.approx(top)
    assert best_of(GRID, [-(level - 0.3) ** 2 for level in GRID]) == 0.0
    assert best_of(GRID, [1.0, 1.0, 0.0, 0.0, 0.0]) == GRID[0]
    # what is not bent downwards has no top: the better end, which keeps the gate shut
    assert top_of(GRID, [level ** 2 + level for level in GRID]) == GRID[-1]
    assert top_of(GRID, [level ** 2 - level for level in GRID]) == GRID[0]
    # and a top beyond the levels is the end
    assert top_of(GRID, [-(level - 4) ** 2 for level in GRID]) == GRID[-1]


@pytest.mark.parametrize("low, high, outcome", [
    (-0.3, 0.4, "reproduced"), (0.4, -0.3, "not reproduced"), (0.1, 0.1, "inconclusive"),
])
def test_claims_follow_planted_curves(no_mean_picture, low, high, outcome):
    # paired seeds that agree to the last digit would decide anything: their curves differ a little
    curve = lambda size, level, seed: tops(low, high)(size, level, seed + (0.2 * (-1) ** seed if size == 24 else 0))
    planted = Planted(curve)
    frame = level_frame(planted, (0, 1, 2))
    numbers = numbers_of(frame, "rerun", "laptop")
    assert judge(CLAIMS["claim-11"], numbers, "laptop").outcome == outcome
    assert len(frame) == 2 * 2 * 3 and not levels_withheld(planted, (0, 1, 2), ["claim-11"])
    votes = frame[frame["column"] == "higher_preferred"].set_index(["row", "seed"])["value"]
    assert votes["high resolution", 1] == float(high > 0) and votes["low resolution", 1] == float(low > 0)


@pytest.mark.parametrize("why, planted", [
    ("shape right", Planted(tops(-0.3, 0.4), words=0.33)),
    ("quality above the mean picture", Planted(tops(-0.3, 0.4), mean_quality=-2.0)),
    ("end of the grid", Planted(tops(-0.3, 3.0))),
    ("blind to grain at 12 pixels", Planted(tops(-0.3, 0.4), blind=True)),
])
def test_claims_are_withheld_with_the_reason(no_mean_picture, why, planted):
    said = levels_withheld(planted, (0, 1, 2), ["claim-11", "prediction-12"])
    assert said.keys() == {"claim-11", "prediction-12"} and why in said["claim-11"]
    frame = level_frame(planted, (0, 1, 2))
    verdict = judge(CLAIMS["claim-11"], numbers_of(frame, "rerun", "laptop"), "laptop", said["claim-11"])
    assert verdict.outcome == "not comparable" and why in verdict.reason


def test_one_seed_opens_nothing(no_mean_picture):
    assert levels_withheld(Planted(tops(-0.3, 0.4)), (0,), ["claim-11"])


def test_scenes_are_equal_at_both_sizes(runs):
    "The large pictures, made small, are the small ones; and both captions are the same."
    small, large = (runs.pictures(size, 0).folder for size in PIXELS.values())
    assert (small / "told.json").read_bytes() == (large / "told.json").read_bytes()
    clips, fine = (np.load(folder / "clips.npy") for folder in (small, large))
    assert clips.shape[2] == 12 and fine.shape[2] == 24
    made_small = np.stack([shrink(clip, 12) for clip in fine]).astype(float)
    assert np.abs(made_small - clips).mean() < 2.0 < np.abs(made_small[::-1] - clips).mean()
    assert np.array_equal(np.load(large / "mean.npy"), fine.mean((0, 1)).round().astype(np.uint8))


def test_scenes_are_those_of_the_shared_trainings(runs, tmp_path):
    draw_sized(runs.pictures_plan(16, 0).config, 0, tmp_path)
    shared = runs.shop.set("pictures", 0).folder / "clips.npy"
    assert np.array_equal(np.load(tmp_path / "clips.npy"), np.load(shared))


def test_trainings_differ_in_size_and_level_alone():
    made = LevelRuns(workshop("smoke"))
    configs = [made.model_plan(size, mean, 0).config for size in PIXELS.values() for mean in made.study.means]
    assert [c["training"].pop("levels") for c in configs] == [[m, 1.5] for m in made.study.means] * 2
    assert all(config == configs[0] for config in configs)
    assert {HIGHER, LOWER} <= set(made.study.means) and {HIGHER, LOWER} <= set(GRID)
    assert EXPECTED == pytest.approx(np.log(2)) and min(GRID) < -EXPECTED < EXPECTED < max(GRID)


@pytest.mark.parametrize("size", PIXELS.values())
def test_judges_see_planted_flaws(size):
    "At both sizes: clean pictures are read and preferred; what is flawed is not."
    some = clip_set(60, WORLD, size=size, seed=1)
    clean = one_frame_each(some.clips)
    judging = QualityJudge.fit(one_frame_each(clip_set(60, WORLD, size=size, seed=2).clips), WORLD)
    said = said_of(clean[:, 0], [scene.meaning for scene in some.scenes], judging)
    assert np.mean(said["colour"]) > 0.95 and np.mean(said["shape"]) > 0.95
    for flaw in MODELS_MAKE:
        assert (judging.qualities(spoiled(clean, flaw)) < said["quality"]).mean() > 0.9, flaw


def test_one_frame_of_each_clip():
    clips = np.arange(3 * 2 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 4, 3)
    found = one_frame_each(clips)
    assert np.array_equal(found, held(np.stack([clips[0, 0], clips[1, 1], clips[2, 0]])))
    assert found.shape == (3, 2, 4, 4, 3)


def test_pictures_depend_on_seed_and_words():
    import torch
    network = new_network({"widths": [8, 16], "lanes": [2, 4]}, 0)
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any(): torch.nn.init.normal_(parameter, std=0.1)
    codec = PixelCodec.fit(clip_set(4, WORLD, size=24, seed=1).clips)
    drawn = lambda words, seed: draw_sized_pictures(network, codec, [words] * 2, 24, seed, 2, 2.0)
    first = drawn("a red circle", 0)
    assert first.shape == (2, 24, 24, 3) and np.array_equal(first, drawn("a red circle", 0))
    assert not np.array_equal(first, drawn("a blue square", 0)) and not np.array_equal(first, drawn("a red circle", 1))
    assert not np.array_equal(first[0], first[1])


def test_every_prompt_is_asked_equally_often():
    asked = picture_prompts(WORLD, 4)
    assert len(asked) == 4 * 9 and len(set(map(str, asked))) == 9 and all(not m.move for m in asked)


def test_smoke_claims_nothing_and_finds_every_number(runs):
    seeds = (0, 1, 2)
    frame = level_frame(runs, seeds)
    for claim in ("claim-11", "prediction-12"):
        found = [c for test in CLAIMS[claim].tests for c in contrasts(test, numbers_of(frame, "rerun", "smoke"))]
        assert found and all(c is not None for c in found)
        assert claim in levels_withheld(runs, seeds, [claim])
    assert len(level_gate(runs, seeds)) == 2 * 5 and len(levels.levels_table(runs, seeds)) == 2 * 2
    assert levels.answers_table(runs, seeds).shape == (5, 3) and len(levels.size_judge_table(runs)) == 7
    assert len(levels.level_pictures(runs, 0).pictures) == 2 * 2 * 9
    assert levels.level_figure(runs, seeds).axes[0].get_xlabel().startswith("P_mean")


def test_replay_trains_nothing():
    for shown in (levels.level_gate_table(None, (0,)), levels.levels_table(None, (0,)), levels.level_figure(None, (0,)),
                  levels.answers_table(None, (0,)), levels.size_judge_table(None), levels.level_pictures(None, 0)):
        assert "replay" in shown
    assert levels.level_workshop("replay") is None and level_gate(None, (0,)) == [] and not levels.level_notes(None)
    assert levels_withheld(None, (0,), ["claim-11"]) == {}
