"Views around an object: who begins with what, and what stays apart."
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.studies.svd.given_runs import moves_world
from dclm_nb.studies.svd.profiles import profile
from dclm_nb.studies.svd.training_runs import TrainingRuns
from dclm_nb.studies.svd.view_figures import AGAIN, LINEAR, progress_figure, view_frame, view_gate, view_strips
from dclm_nb.studies.svd.view_runs import (
    ALONE, ALONE_EQUAL, LEVELS, ROWS, STARTS, WITHOUT_ORBITS, ViewRuns, views_of_words,
)
from dclm_nb.video.world import meanings_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return ViewRuns(TrainingRuns(profile("smoke").training, RunStore(tmp_path_factory.mktemp("store")), workers=0))


def test_no_prior_saw_the_things_that_are_held_out_turn(runs):
    orbits = moves_world("orbits", runs.plain.world)
    held = {m for m in meanings_of(orbits, "held out", camera=True) if m.move == "orbit"}
    learned = set(meanings_of(runs.turning.shop.world, "train", camera=True))
    assert held and not held & learned
    assert held and not held & set(meanings_of(orbits, "train", camera=True))


def test_some_films_of_the_prior_turn_and_those_of_the_control_never_do(runs):
    assert runs.turning.shop.world.camera == 0.5 and "orbit" in runs.turning.shop.world.camera_names
    assert runs.plain.world.camera == 0


def test_the_three_starts_differ_in_their_first_weights_and_in_nothing_else(runs):
    plans = [runs.plan(row, 0) for row in STARTS]
    assert len({str(plan.config) for plan in plans}) == 1
    for name in ("moves", "pictures"): assert len({plan.inputs[name].key for plan in plans}) == 1
    starts = [plan.inputs["start"].key if "start" in plan.inputs else None for plan in plans]
    assert len(set(starts)) == 3 and starts[2] is None


def test_all_rows_answer_the_same_orbits(runs):
    true = [runs.films(row, 0)[1] for row in ROWS]
    assert all(np.array_equal(true[0], other) for other in true[1:])


def test_free_orbits_are_others_and_nobody_tells_the_elevation(runs):
    assert not np.array_equal(runs.orbits(0, "free views"), runs.orbits(0))
    free, known = (runs.plan("Scratch-MV", 0, task).run(runs.plain.store) for task in ("free views", "views"))
    assert free.manifest["config"]["task"] == "free views" and "marks" not in free.manifest["config"]
    width = lambda model: _weights(model)["network.unet.add_embedding.weight"].shape[1]
    assert width(known) - width(free) == 32             # one number less, in 32 waves


def _weights(model):
    from safetensors.torch import load_file
    return load_file(model.folder / "weights.safetensors")


def test_a_mark_is_the_model_as_it_was(runs):
    early, late = (runs.films("Scratch-MV", 0, mark=mark)[0] for mark in (1, 0))
    assert not np.array_equal(early, late)


def test_pictures_of_words_come_before_their_views(runs):
    pictures, films = views_of_words(runs, 0)
    assert pictures.shape == (9, 16, 16, 3) and films.shape == (9, 8, 16, 16, 3)


def test_an_untrained_prior_does_not_pass(runs):
    assert not all(bar.passes for bar in view_gate(runs, (0, 1)))
    frame = view_frame(runs, (0, 1))
    assert set(frame["row"]) == {*ROWS, "the given view again", "the mean view", "a linear map"}
    assert len(frame) == 2 * (9 * 7 + 3)
    assert len(view_strips(runs, 0, (0, 1), [ALONE, WITHOUT_ORBITS])) == 8


def test_what_needs_no_network_stands_in_the_plot_and_in_the_strips(runs):
    frame = view_frame(runs, (0, 1))
    measured = lambda guess, column: frame.loc[frame["row"].eq(guess) & frame["column"].eq(column), "value"].mean()
    for axis, column in zip(progress_figure(runs, (0, 1)).axes, ("psnr", "psnr_turned")):
        plain = [line for line in axis.lines if "network" in line.get_label()]
        level = {line.get_label().split(",")[0]: line.get_ydata()[0] for line in plain}
        assert level == {guess: pytest.approx(measured(guess, column)) for guess in (LINEAR, AGAIN)}
    names = [strip.name for strip in view_strips(runs, 0, (0,), [ALONE, WITHOUT_ORBITS])]
    assert f"0, {LINEAR}" in names and not [s for s in view_strips(runs, 0, (0,), [ALONE]) if LINEAR in s.name]


def test_an_unknown_row_is_refused(runs):
    with pytest.raises(UserError, match="unknown row"): runs.plan("Zero123", 0)


def test_views_by_themselves_are_trained_on_as_many_views_too(runs):
    few, many = (runs.plan(row, 0).config["training"] for row in (ALONE, ALONE_EQUAL))
    assert many["batch_size"] == 8 * few["batch_size"] and many | {"batch_size": 0} == few | {"batch_size": 0}


def test_the_held_out_loss_is_that_of_the_same_noise(runs):
    one, other = (runs.loss(row, 0) for row in ("SVD-MV (ours)", "Scratch-MV"))
    assert list(one) == list(LEVELS) and one != other
    assert all(0 < value < 10 for value in one.values())
