"""The judges on cases that no notebook shows: every word of the world, broken frames, readings that must not move."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.baselines import gate, judged, mean_clip, nearest_clip, other_prompt, repeated_first
from dclm_nb.video.judges import (
    MADE, QualityJudge, calibrated, faults_of, follow, follows, motion_of, planted, preference, preferred, read_clip,
)
from dclm_nb.video.world import COLOURS, MOTIONS, SHAPES, Meaning, Scene, WorldSpec, clip_of, clip_set

WORLD = WorldSpec(shapes=6, colours=6, camera=0.0).clean()


@pytest.fixture(scope="module")
def clean(): return clip_set(60, WORLD, seed=900)


@pytest.fixture(scope="module")
def judge(clean): return QualityJudge.fit(clean.clips, WORLD)


@pytest.mark.parametrize("colour, shape, move", list(zip(COLOURS, SHAPES, [*MOTIONS, *MOTIONS])))
def test_every_word_can_be_read(colour, shape, move):
    meaning = Meaning(colour, shape, move)
    assert read_clip(clip_of(Scene(meaning, seed=3), size=24), WORLD) == meaning


def test_a_mirrored_clip_moves_the_other_way(clean):
    other = {"left": "right", "right": "left", "up": "up", "down": "down"}
    for clip in clean.clips[:12]:
        assert read_clip(clip[:, :, ::-1], WORLD).move == other[read_clip(clip, WORLD).move]


@pytest.mark.parametrize("level", (0, 128, 255))
def test_an_empty_film_says_nothing_and_raises_nothing(level):
    empty = np.full((8, 16, 16, 3), level, np.uint8)
    assert read_clip(empty, WORLD) == Meaning() and motion_of(empty, WORLD) == 0
    assert all(np.isfinite(list(faults_of(empty, WORLD).values()))) and faults_of(empty, WORLD)["missing"] == 1


def test_what_is_no_film_is_refused():
    for wrong in (np.zeros((16, 16, 3), np.uint8), np.zeros((8, 16, 16, 3), np.float32)):
        with pytest.raises(UserError, match="frames are uint8"): follow(wrong, WORLD)


@pytest.mark.parametrize("flaw", MADE)
def test_a_planted_flaw_leaves_its_clip_and_costs_quality(clean, judge, flaw):
    before = clean.clips[:20].copy()
    made = planted(clean.clips[:20], clean.clips[20:40], flaw)
    assert np.array_equal(clean.clips[:20], before) and np.array_equal(planted(before, clean.clips[20:40], flaw), made)
    assert preferred(judge.qualities(before), judge.qualities(made)) > 0.8


def test_quality_does_not_know_the_prompt(clean, judge):
    assert np.array_equal(judge.qualities(clean.clips[:5]), judge.qualities(clean.clips[:5]))
    mirrored = judge.qualities(np.ascontiguousarray(clean.clips[:20, :, :, ::-1]))
    assert np.abs(mirrored - judge.qualities(clean.clips[:20])).max() < 0.05


def test_half_a_prompt_is_half_followed():
    assert follows(Meaning("red", "ring", ""), Meaning("red", "circle", "up")) == 0.5


def test_a_preference_is_clustered_by_training():
    ours, theirs = np.zeros((3, 64)), np.zeros((3, 64)) - np.array([[1], [1], [-1]])
    found = preference(ours, theirs)
    assert found.mid == pytest.approx(2 / 3) and found.covers(0.5)  # 128 of 192 votes, but two of three trainings
    with pytest.raises(UserError): preference(ours[:1], theirs[:1])


def test_a_judge_that_prefers_the_flaw_does_not_pass():
    found = calibrated({"grain": 0.4, "cut": 1.0}, n=100)
    assert not found.passes and found.blind == {"quality": ("grain",)}


def test_films_without_a_model_do_not_pass_the_gate(clean, judge):
    asked = [scene.meaning for scene in clean.scenes]
    others = other_prompt(clean.clips, asked, asked)
    films = {"still": repeated_first(clean.clips), "mean": mean_clip(clean.clips, 60), "other": others}
    without = {name: judged(clips, asked, judge) for name, clips in films.items()}
    assert gate(judged(clean.clips, asked, judge), without, floor=-8).passes
    assert not any(gate(found, without, floor=-8).passes for found in without.values())
    assert gate(judged(clean.clips, asked, judge), without, floor=0.1).faults == ("quality above the floor",)


def test_the_nearest_clip_is_looked_for_by_its_first_frame(clean):
    shifted = clean.clips[:10, 0].astype(int) + 2
    assert np.array_equal(nearest_clip(clean.clips, shifted.clip(0, 255).astype(np.uint8)), clean.clips[:10])
