"""What users report, planted and sound; and the callback that sees it while training."""
import json
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from dclm_nb.core.errors import UserError
from dclm_nb.core.identity import Identity
from dclm_nb.learn.fit import FitConfig, fit
from dclm_nb.learn.objective import Objective
from dclm_nb.learn.steps import SeededSteps
from dclm_nb.video.failures import IDLE, FilmWatch, Look, Signs, failures, idle


def films(n: int = 12, seed: int = 0, step: int = 1, noise: float = 3) -> np.ndarray:
    "Discs of light on dark, textured frames, with a camera that does not move."
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:24, :24]
    out = np.empty((n, 6, 24, 24, 3))
    for film in out:
        back, colour = rng.uniform(40, 90, 3) + 10 * np.sin(xx / 3)[..., None], rng.uniform(100, 220, 3)
        y, x = rng.integers(6, 18), rng.integers(3, 8)
        for t, frame in enumerate(film):
            frame[:] = np.where(((yy - y) ** 2 + (xx - x - step * t) ** 2 < 20)[..., None], colour, back)
    return np.clip(out + rng.normal(0, noise, out.shape), 0, 255).astype(np.uint8)


REAL = Signs.of(films(64))
TIMES = np.arange(6).reshape(1, 6, 1, 1, 1)


def whole(values: np.ndarray) -> np.ndarray: return np.clip(values, 0, 255).astype(np.uint8)


PLANTED = {
    "frames equal the first": lambda x: whole(x[:, :1].repeat(6, 1) + np.random.default_rng(0).normal(0, 0.3, x.shape)),
    "frames flicker": lambda x: whole(x + 70 * (-1.0) ** TIMES),
    "saturated colours": lambda x: whole((x - x.mean()) * 6 + 128),
    "drifting colours": lambda x: whole(x + 10.0 * TIMES * np.array([1, 0, 0])),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_planted_failure_is_named(name, seed):
    assert name in failures(Signs.of(PLANTED[name](films(seed=seed).astype(float))), REAL)


@pytest.mark.parametrize("seed", range(200, 220))
def test_sound_films_are_not_accused(seed):
    assert failures(Signs.of(films(seed=seed)), REAL) == []


@pytest.mark.parametrize("times", [2.0, 2.5, 3.0])
@pytest.mark.parametrize("step", [1, 2])
def test_films_that_are_twice_as_restless_are_named(times, step):
    real = Signs.of(films(64, step=step))
    restless = Signs(times * real.change, real.travel, real.saturated, real.drift)
    assert failures(restless, real)[0] in ("frames are restless", "frames flicker")
    assert failures(Signs(1.5 * real.change, real.travel, real.saturated, real.drift), real) == []


def test_where_real_films_stand_still_standing_still_is_no_failure():
    still = films(step=0, noise=0)
    assert failures(Signs.of(still), Signs.of(still)) == []
    assert not idle([Look(i, loss, Signs.of(still), ()) for i, loss in enumerate((1, 0.5, 0.2))], Signs.of(still))


def test_films_slower_than_real_ones_are_not_still():
    assert "frames equal the first" not in failures(Signs.of(films(step=1)), Signs.of(films(64, step=2)))


class Falling(Objective):
    def losses(self, batch): return {"loss": self.network.weight.square().sum()}


def train(folder, draw, steps=40, callbacks=(), **how) -> tuple[FilmWatch, list[float], list[str]]:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    watch = FilmWatch(draw, films(64), 10, folder, **how)
    batches = SeededSteps(lambda step, rank, size: 0, steps, 1)
    config = FitConfig(steps, accelerator="cpu", checkpoint_every=15)
    objective = Falling(network, lambda step: 0.02)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fitted = fit(objective, batches, config, folder, Identity.of("demo/watch", 1), callbacks=[watch, *callbacks])
    said = [str(w.message) for w in seen if str(w.message).startswith("after ")]
    return watch, fitted.losses(), said


def still(network): return films(step=0, noise=0.2)


def test_what_is_seen_twice_is_said_once(tmp_path):
    watch, _, said = train(tmp_path, still)
    assert [s.split(":")[0] for s in said] == ["after 20 steps, frames equal the first", f"after 30 steps, {IDLE}"]
    noted = [json.loads(line) for line in (tmp_path / "looks.jsonl").read_text().splitlines()]
    assert [look["step"] for look in noted] == [10, 20, 30, 40] and IDLE in noted[-1]["named"]


def test_nothing_is_said_of_a_sound_model(tmp_path):
    assert train(tmp_path, lambda network: films(seed=5))[2] == []


def test_one_bad_look_is_chance(tmp_path):
    looks = iter([films(seed=5), still(None), films(seed=6), films(seed=7)])
    assert train(tmp_path, lambda network: next(looks))[2] == []


def test_it_stops_a_run_where_it_is_told_to(tmp_path):
    with pytest.raises(UserError, match="after 20 steps, frames equal the first"): train(tmp_path, still, stop=True)


def test_a_run_that_is_watched_is_the_same_run_and_goes_on_with_what_was_seen(tmp_path):
    class Dies(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 37: raise RuntimeError("killed")

    for name in ("plain", "cut", "whole"): (tmp_path / name).mkdir()
    plain = train(tmp_path / "plain", lambda network: films())[1]
    with pytest.raises(RuntimeError): train(tmp_path / "cut", still, callbacks=[Dies()])
    watch, losses, said = train(tmp_path / "cut", still)
    assert losses == plain and [look.step for look in watch.looks] == [10, 20, 30, 40]
    assert said == []  # all was said before
    assert train(tmp_path / "whole", still)[0].looks == watch.looks


def test_the_network_is_left_as_it_was(tmp_path):
    modes = []

    def draw(network):
        modes.append((network.training, torch.is_grad_enabled()))
        return films()

    train(tmp_path, draw)
    assert set(modes) == {(False, False)}


@pytest.mark.parametrize("wrong", [films()[:, :1], films().astype(np.float32), films()[0]])
def test_what_is_no_film_is_one_line(wrong):
    with pytest.raises(UserError, match="films are bytes of"): Signs.of(wrong)


def test_a_watch_that_never_looks_is_refused(tmp_path):
    with pytest.raises(UserError, match="not every 0"): FilmWatch(still, films(), 0, tmp_path)


def test_a_stage_is_watched_with_the_averaged_weights(tmp_path):
    pytest.importorskip("diffusers")
    from small import dwarf, spots

    from dclm_nb.video.objectives import Denoising, Training, train_stage
    asked = []

    def draw(network):
        asked.append(network)
        return films(seed=3)

    objective = Denoising(dwarf(), Training(steps=2, batch_size=2, lr=1e-3, ema=0.9))
    watch = FilmWatch(draw, films(64), 1, tmp_path)
    train_stage(objective, spots(), tmp_path / "run", callbacks=[watch], accelerator="cpu")
    assert asked == [objective.averaged.module] * 2 and [look.named for look in watch.looks] == [(), ()]
    assert all(0.1 < look.loss < 3 for look in watch.looks)
