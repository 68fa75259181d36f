"""Similarity and aesthetics: how scores are joined, trainings that repeat and go on, and evidence that can fail."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video import similarity
from dclm_nb.video.similarity import (
    SmallConfig, aesthetics, learned_rater, learned_reader, load_scorer, similarities, three_frames, train_rater,
    train_towers,
)

QUICK = SmallConfig(steps=60, batch=16, width=8, dimension=16)
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


def plain(n: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    "Pictures of one colour with a little noise, and its name."
    rng = np.random.default_rng(seed)
    names = [list(COLOURS)[k] for k in rng.integers(3, size=n)]
    noise = rng.integers(-20, 20, (n, 32, 32, 3))
    return np.stack([np.clip(np.array(COLOURS[c]) + e, 0, 255).astype(np.uint8) for c, e in zip(names, noise)]), names


class Told:
    "A reader whose pictures are their mean grey, and captions numbers."
    def look(self, frames): return np.stack([(g := frames.mean(axis=(1, 2, 3)) / 255), np.sqrt(1 - g**2)], axis=1)
    def read(self, captions): return np.array([[1.0, 0.0] if words == "bright" else [0.0, 1.0] for words in captions])
    def rate(self, frames): return frames.mean(axis=(1, 2, 3))


def test_first_middle_and_last():
    film = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert three_frames(film)[:, 0, 0, 0].tolist() == [0, 3, 6]
    assert len(three_frames(film[:1])) == 1 and len(three_frames(film[:2])) == 2


def test_scores_are_means_and_empty_captions_have_none():
    film = np.stack([np.full((4, 4, 3), grey, np.uint8) for grey in (0, 9, 51, 9, 255)])
    found = similarities(film, ["bright", "", "dark"], Told())
    assert found[0] == pytest.approx((0 + 0.2 + 1) / 3) and np.isnan(found[1]) and found[2] > 0
    assert aesthetics(film, Told()) == pytest.approx((0 + 51 + 255) / 3)
    assert similarities(film, [], Told()) == []


def test_towers_learn_repeat_and_come_back(tmp_path):
    pictures, names = plain(90)
    towers = train_towers(pictures, names, tmp_path / "a", QUICK)
    again = train_towers(pictures, names, tmp_path / "b", QUICK)
    assert np.array_equal(towers.look(pictures[:5]), again.look(pictures[:5]))
    assert np.array_equal(load_scorer(tmp_path / "a").read(["red"]), towers.read(["red"]))
    held, right = plain(40, seed=1)
    wrong = np.arange(40) % 2 == 0
    told = [next(c for c in COLOURS if c != name) if bad else name for name, bad in zip(right, wrong)]
    assert learned_reader(towers, list(held[:, None]), told, wrong).require().value > 0.9
    assert towers.read(["", "a word that it never met"]).shape == (2, 16)


def test_a_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    pictures, names = plain(60)
    whole = train_towers(pictures, names, tmp_path / "whole", QUICK)
    draw, calls = similarity._batch, []

    def stops(pixels, told, seed, step, *rest):
        calls.append(step)
        if step == 40 and len(calls) < 45: raise KeyboardInterrupt
        return draw(pixels, told, seed, step, *rest)
    monkeypatch.setattr(similarity, "_batch", stops)
    with pytest.raises((KeyboardInterrupt, SystemExit)): train_towers(pictures, names, tmp_path / "cut", QUICK)
    done = len(calls)
    monkeypatch.setattr(similarity, "_batch", lambda *given: calls.append(given[3]) or draw(*given))
    went_on = train_towers(pictures, names, tmp_path / "cut", QUICK)
    assert calls[done] > 0, "it began again"
    assert np.array_equal(whole.look(pictures[:4]), went_on.look(pictures[:4]))


def test_a_reader_that_has_not_learned_is_told_so():
    pictures, names = plain(40)
    wrong = np.arange(40) % 2 == 0
    with pytest.raises(UserError, match="has not learned"):
        learned_reader(Told(), list(pictures[:, None]), ["bright"] * 40, wrong).require()


def test_a_rater_has_to_beat_contrast_and_sharpness(tmp_path):
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (30, 1, 32, 32, 3)).astype(np.uint8)
    clips, poor = [*sharp, *(sharp // 4 + 90)], np.arange(60) >= 30
    found = learned_rater(Told(), clips, poor)
    assert found.baseline == 1 and not found.passes
    rater = train_rater(np.concatenate(clips), 1.0 - poor, tmp_path, QUICK)
    assert learned_rater(rater, clips, poor).value > 0.95


@pytest.mark.parametrize("call", [
    lambda tmp: three_frames(np.zeros((0, 4, 4, 3), np.uint8)), lambda tmp: SmallConfig(side=30),
    lambda tmp: SmallConfig(steps=0), lambda tmp: load_scorer(tmp), lambda tmp: train_towers(plain(2)[0], ["red"], tmp),
    lambda tmp: train_towers(plain(2)[0], ["red", " "], tmp), lambda tmp: train_rater(plain(2)[0], [1.0], tmp),
])
def test_errors_are_one_line(call, tmp_path):
    with pytest.raises(UserError) as error: call(tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_files_are_named(tmp_path):
    pictures, names = plain(20)
    train_towers(pictures, names, tmp_path, SmallConfig(steps=2, batch=4, width=8, dimension=8))
    for name in ("weights.safetensors", "settings.json"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept[:len(kept) // 2])
        with pytest.raises(UserError, match="damaged"): load_scorer(tmp_path)
        (tmp_path / name).write_bytes(kept)
    assert load_scorer(tmp_path).words == sorted(set(names))
