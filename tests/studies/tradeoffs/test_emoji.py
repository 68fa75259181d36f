"""Emoji: both measures are right on planted answers, and the study runs at smoke where emoji are at hand."""
import pytest
import torch

from dclm_nb.image.pictures import at_hand
from dclm_nb.studies.tradeoffs.emoji import (
    components_learned, components_of, own_found, placed, real_frame, real_notes, real_samples, run_real,
)


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    "Smooth pictures that lie near a plane: two patterns, mixed."
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 120, (2, 3, 8, 8), generator=torch.Generator().manual_seed(9)).float()
    mixed = torch.einsum("nk,kchw->nchw", torch.rand(n, 2, generator=generator), patterns) + 4 * torch.randn(
        n, 3, 8, 8, generator=generator
    )
    return mixed.clamp(0, 255).to(torch.uint8)


def test_components_keep_what_there_is_and_random_pictures_do_not_pass():
    found = components_learned(pictures(200), pictures(50, 1), 2)
    assert found.passes and found.value > 0.8 and found.baseline == 2 / 192
    noise = torch.randint(0, 256, (100, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert not components_learned(noise[:80], noise[80:], 2).passes


def test_the_first_component_has_unit_spread_and_axes_are_orthogonal():
    images = pictures(300)
    mean, axes = components_of(images, 3)
    at = placed(images, mean, axes)
    assert at[:, 0].std(correction=0) == pytest.approx(1, rel=1e-3) and abs(at.mean(dim=0)).max() < 1e-3
    products = axes.T @ axes
    assert (products - products.diag().diag()).abs().max() < 1e-4 * products.max()


def test_own_pictures_are_found_and_strangers_by_chance_only():
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(400, 6, generator=generator)
    assert own_found(real + 0.01, real) == 1.0
    assert own_found(torch.randn(400, 6, generator=generator), real) == pytest.approx(1 / 16, abs=0.05)


def test_nothing_is_shown_without_a_grid():
    assert (
        run_real(None) is None and real_frame(None).empty and real_samples(None) == (None, []) and not real_notes(None)
    )


@pytest.mark.skipif(
    not at_hand("openmoji"),
    reason="emoji are not at hand: make reproduce-extra-emoji PAPER=tradeoffs SCALE=smoke fetches them",
)
def test_the_study_runs_at_smoke(one_seed_grid):
    runs = run_real(one_seed_grid, seeds=(0, 1))
    frame, notes = real_frame(runs), real_notes(runs)
    assert (
        len(frame) == 3 * 2 * 2
        and frame["value"].ge(0).all()
        and {"learned, codec pca-12", "learned, codec vq-512", "real emoji", "data"} <= set(notes)
    )
    rows, names = real_samples(runs)
    assert (
        len(names) == 8
        and list(rows) == ["emoji", "next-token", "masked-token", "diffusion"]
        and all(p.shape == (8, 3, 32, 32) for p in rows.values())
    )
