"""Figure 16: the listing is the code that runs, and what must hold of it holds."""
import inspect

import torch

from dclm_nb.studies.svd.guidance_listing import identities, listing, scale_figure
from dclm_nb.video import guidance


def test_the_listing_is_the_code_that_runs():
    shown = listing()
    for function in (guidance.linear_scale, guidance.guided, guidance.guide):
        assert inspect.getsource(function).removeprefix("@door\n") in shown


def test_identities_hold_and_would_show_a_fault(monkeypatch):
    assert (identities()["largest deviation"].astype(float) < 1e-5).all()
    wrong = lambda c, none, scale: c + torch.as_tensor(scale).reshape(-1, 1, 1, 1) * (c - none)
    monkeypatch.setattr("dclm_nb.studies.svd.guidance_listing.guided", wrong)
    assert identities()["largest deviation"].astype(float).max() > 0.1


def test_the_plot_has_both_released_models():
    lines = scale_figure().axes[0].get_lines()
    weights = [line.get_ydata() for line in lines[:2]]
    assert [(len(w), w[0], w[-1]) for w in weights] == [(14, 1, 2.5), (25, 1.5, 3)]
