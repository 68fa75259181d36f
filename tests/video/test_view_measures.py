"Measures of views: over the views that were not given, and over what turns in them."
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.video.similarity import SmallConfig, Towers
from dclm_nb.video.baselines import linear_film
from dclm_nb.video.view_measures import (
    TURNS, perceptual_distance, psnr, share_of_turn, turned_psnr, unrest, view_similarity,
)

TOWERS = Towers(SmallConfig(width=8, dimension=16), ["red"]).eval()


def orbits(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (n, 4, 16, 16, 3)).astype(np.uint8)


def test_the_given_view_does_not_count():
    true = orbits()
    spoiled = true.copy()
    spoiled[:, 0] = 0
    assert (psnr(spoiled, true) == psnr(true, true)).all()
    assert perceptual_distance(spoiled, true, TOWERS).max() == 0
    assert view_similarity(spoiled, true, TOWERS) == pytest.approx(1)


def test_decibels_are_those_of_the_formula():
    true = orbits()
    assert psnr(true + 10, true) == pytest.approx(10 * np.log10(255**2 / 100))


def test_only_what_turns_counts_where_something_turns():
    true = np.full((1, 4, 16, 16, 3), 100, np.uint8)
    true[0, 1:, :4, :4, 1] = 100 + TURNS + 1             # one corner leaves the given view by enough
    true[0, 1:, 8:, 8:] = 100 + TURNS                    # another one does not
    films = true.copy()
    films[0, 1:, 8:, 8:] += 50
    assert turned_psnr(films, true)[0] == psnr(true, true)[0] > psnr(films, true)[0]
    films[0, 1:, :4, :4] += 20
    assert turned_psnr(films, true)[0] == pytest.approx(10 * np.log10(255**2 / 400))


def test_an_orbit_in_which_nothing_turns_has_no_number():
    still = np.full((2, 4, 16, 16, 3), 100, np.uint8)
    assert np.isnan(turned_psnr(still, still)).all()


@pytest.mark.parametrize("measure", [perceptual_distance, lambda *a: -view_similarity(*a)])
def test_networks_see_more_fault_in_more_noise(measure):
    true, noise = orbits(), np.random.default_rng(1).integers(-1, 2, (3, 4, 16, 16, 3))
    found = [measure(np.clip(true + by * noise, 0, 255).astype(np.uint8), true, TOWERS).mean() for by in (0, 5, 40)]
    assert found == sorted(found) and found[0] < found[2]


@pytest.mark.parametrize("films", [orbits()[:2], orbits()[:, :2], orbits()[..., :1]])
def test_what_is_no_answer_is_refused_in_one_line(films):
    for measure in (psnr, turned_psnr, lambda a, b: view_similarity(a, b, TOWERS)):
        with pytest.raises(UserError, match="one size"): measure(films, orbits())


def test_the_share_of_the_turn_is_that_of_the_true_change():
    true = orbits()
    half = (true[:, :1].astype(float) + 0.5 * (true.astype(float) - true[:, :1])).round().astype(np.uint8)
    assert share_of_turn(true, true) == pytest.approx(1) and share_of_turn(half, true) == pytest.approx(0.5, abs=0.01)
    assert (share_of_turn(np.repeat(true[:, :1], 4, axis=1), true) == 0).all()


def test_unrest_is_seen_where_the_truth_stands_still_only():
    true = np.full((1, 4, 16, 16, 3), 100, np.uint8)
    true[0, :, :4] = np.array([0, 50, 100, 150], np.uint8)[:, None, None, None]
    films = true.copy()
    films[0, 1::2, 8:] += 10
    assert unrest(true, true)[0] == 0 and unrest(films, true)[0] == pytest.approx(10 * 8 / 12)


def test_a_linear_world_is_learned_by_a_linear_map():
    chance = np.random.default_rng(0)
    first = chance.integers(0, 120, (300, 4, 4, 3))
    films = np.stack([first, first[:, :, ::-1] + 20, 2 * first], axis=1).astype(np.uint8)
    assert abs(linear_film(films[:250], films[250:, 0]).astype(int) - films[250:]).mean() < 2
    with pytest.raises(UserError, match="ten clips"): linear_film(films[:9], films[:, 0])
