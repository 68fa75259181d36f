"""Figures of the Tradeoffs exhibits: what is drawn is what the frame says, one colour per method, equal numbers give
equal files."""
import math
from collections import Counter

import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from dclm_nb.core.errors import UserError
from dclm_nb.drawing.style import figure_bytes
from dclm_nb.studies.tradeoffs.figures import compute_curves, loss_panels, sample_sheet, sweep_panels, weight_arrows
from dclm_nb.papers.frames import tidy

SLOPES = {"next-token": -0.2, "masked-token": -0.4, "diffusion": -0.6}


def curves(seeds=(0, 1, 2), marks=(1e12, 2e12, 4e12)):
    "Exact power laws; seeds lie a little above and below, with the law as their geometric mean."
    return pd.DataFrame([
        {
            "method": m,
            "size": size,
            "seed": s,
            "flops": c,
            "budget": c,
            "frechet_distance": 10 * (c / 1e12) ** slope * math.exp(0.05 * (s - 1) * (len(seeds) > 1)) * penalty,
            "loss": 1e12 / c,
        }
        for m, slope in SLOPES.items()
        for size, penalty in (("small", 1.0), ("medium", 1.2))
        for s in seeds
        for c in marks
    ])


def rings(axis): return [line for line in axis.lines if line.get_markerfacecolor() == "none"]


def by_width(axis) -> list[int]:
    "How many lines there are of each width, the thinnest first, without rings and lines across the whole figure."
    drawn = [line for line in axis.lines if line not in rings(axis) and list(line.get_xdata()) != [0, 1]]
    widths = [line.get_linewidth() for line in drawn]
    return [count for _, count in sorted(Counter(widths).items())]


def test_a_thin_line_per_run_a_thick_one_per_network_a_ring_per_frontier_point():
    axis = compute_curves(curves(), "frechet_distance", logy=True, reference={"real pictures": 2.0}).axes[0]
    # runs, networks, and the law of each method
    assert by_width(axis) == [3 * 2 * 3, 3 * 2, 3]
    # the medium network is worse everywhere
    assert [len(ring.get_xdata()) for ring in rings(axis)] == [3, 3, 3]
    assert len({ring.get_color() for ring in rings(axis)}) == 3
    assert "real pictures" in [text.get_text() for text in axis.texts]


@pytest.mark.parametrize("apart", [0.93, 0.97, 0.998, 1.0, 1.003, 1.04])
def test_a_worse_network_of_the_same_budget_has_no_ring_though_it_is_a_step_cheaper(apart):
    table = curves()
    table["flops"] *= table["size"].map({"small": 1.0, "medium": apart})
    axis = compute_curves(table, "frechet_distance", logy=True).axes[0]
    best = table[table["size"].eq("small")].groupby("method")["flops"].unique()
    assert [sorted(ring.get_xdata()) for ring in rings(axis)] == [sorted(best[m]) for m in SLOPES]
    assert len(axis.get_xticks()) == 3


def test_the_slope_in_the_legend_is_the_planted_one():
    figure = compute_curves(curves(), "frechet_distance", logy=True)
    written = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {f"{m}: slope −{-slope:.2f}" for m, slope in SLOPES.items()} <= set(written)


def excess(floor: float, laws=SLOPES) -> pd.DataFrame:
    "Curves that fall towards a floor by exact power laws."
    return pd.DataFrame([
        dict(method=m, size="small", seed=0, flops=c, budget=c, frechet_distance=floor + 10 * (c / 1e12) ** slope)
        for m, slope in laws.items() for c in (1e12, 2e12, 4e12, 8e12)])


def laws_of(axis) -> list: return [line for line in axis.lines if line.get_linewidth() == 3.5]


@pytest.mark.parametrize("floor", [0.0, 0.5, 2.4])
def test_a_law_above_a_floor_is_the_planted_one_and_never_falls_below_it(floor):
    figure = compute_curves(excess(floor), "frechet_distance", logy=True, floor=floor)
    written = {text.get_text() for text in figure.legends[0].get_texts()}
    above = f" above {floor:.2f}" if floor else ""
    assert {f"{m}: slope −{-slope:.2f}{above}" for m, slope in SLOPES.items()} <= written
    assert len(laws_of(figure.axes[0])) == 3 and all(min(line.get_ydata()) > floor for line in laws_of(figure.axes[0]))


def test_means_at_or_below_the_floor_have_no_law():
    figure = compute_curves(excess(2.0), "frechet_distance", logy=True, floor=3.0 + 10 * 8**-0.6)
    assert len(laws_of(figure.axes[0])) == 0 or all("diffusion" not in text.get_text()
                                                    for text in figure.legends[0].get_texts())


@pytest.mark.parametrize("draw", [
    lambda: compute_curves(excess(2.4), "frechet_distance", logy=True),
    lambda: compute_curves(excess(2.4, dict.fromkeys(SLOPES, -0.5)), "frechet_distance"),      # three equal lines
    lambda: loss_panels(curves())])
def test_every_line_is_named_beside_it_and_no_two_names_cover_each_other(draw):
    figure = draw()
    figure.draw_without_rendering()
    for axis in figure.axes:
        names = [text for text in axis.texts if text.arrow_patch]
        assert len(names) >= 2 and len({text.get_text() for text in names}) == len(names)
        boxes = [Text.get_window_extent(text) for text in names]          # without their arrows
        for k, one in enumerate(boxes): assert not any(one.overlaps(other) for other in boxes[k + 1:])


def test_what_rings_and_thin_lines_are_stands_in_the_figure():
    said = lambda figure: {text.get_text() for text in figure.legends[0].get_texts()}
    frontier = compute_curves(curves(), "frechet_distance", logy=True)
    assert {"one seed", "on the frontier: the best of its budget"} <= said(frontier)
    assert {"one seed", "mean"} <= said(loss_panels(curves()))
    assert said(weight_arrows(raw_and_averaged())) == {"raw weights", "averaged"}


def test_two_points_make_no_law_and_a_linear_axis_no_frontier():
    short = compute_curves(curves(marks=(1e12, 2e12)), "frechet_distance", logy=True)
    assert not any("slope" in text.get_text() for text in short.legends[0].get_texts())
    assert len(rings(short.axes[0])) == 3
    linear = compute_curves(curves(), "frechet_distance").axes[0]
    assert not rings(linear) and len(by_width(linear)) == 2 and linear.get_yscale() == "linear"


def test_one_seed_is_drawn():
    assert compute_curves(curves(seeds=(0,)), "frechet_distance", logy=True).axes[0].lines


def test_networks_that_stopped_a_step_apart_share_a_tick():
    table = curves(marks=(1e9, 2e9, 4e9))
    table["flops"] *= table["method"].map({"next-token": 0.982, "masked-token": 0.991, "diffusion": 0.996})
    axis = compute_curves(table, "frechet_distance").axes[0]
    assert len(axis.get_xticks()) == 3 and not axis.get_xticks(minor=True).size


def test_equal_numbers_give_equal_files():
    for draw in (lambda: compute_curves(curves(), "frechet_distance", logy=True), lambda: loss_panels(curves())):
        assert figure_bytes(draw()) == figure_bytes(draw())


def test_the_best_of_a_sweep_is_ringed_the_lowest_distance_and_the_highest_share():
    table = pd.DataFrame(
        [
            {"method": "diffusion", "guidance": g, "seed": s, "prompt_following": p, "frechet_distance": d}
            for s in (0, 1)
            for g, p, d in ((1.0, 0.2, 3.0), (2.0, 0.6, 4.0), (3.0, 0.9, 5.0))
        ]
        + [{"method": "next-token", "guidance": 1.0, "seed": 0, "prompt_following": 0.9, "frechet_distance": 2.0}]
    )
    panels = sweep_panels(table, "guidance").axes
    # none for a single try
    assert [[list(ring.get_xdata()) for ring in rings(axis)] for axis in panels] == [[[3.0]], [[1.0]]]


def raw_and_averaged():
    return tidy(
        [
            dict(row="diffusion", column=f"{m}_{k}", seed=s, value=v)
            for s in (0, 1)
            for m, k, v in (
                ("frechet_distance", "raw", 5.0),
                ("frechet_distance", "averaged", 3.0),
                ("prompt_following", "raw", 0.5),
                ("prompt_following", "averaged", 0.6),
            )
        ],
        paper="tradeoffs",
        exhibit="figure-g",
        scale="smoke",
        source="rerun",
    )


def test_a_weight_arrow_leads_from_raw_to_averaged():
    axis = weight_arrows(raw_and_averaged()).axes[0]
    arrows = [text for text in axis.texts if text.arrow_patch]
    assert len(arrows) == 2 and all(arrow.xyann[0] == 5.0 and arrow.xy[0] == 3.0 for arrow in arrows)


def test_pictures_are_shown_as_they_are_under_their_captions():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    captions = ["a red circle left of a blue square", "two red circles"]
    axes = sample_sheet({"a": images, "b": images}, captions).axes
    assert len(axes) == 4 and all(
        (axis.images[0].get_array() == image.permute(1, 2, 0).numpy()).all()
        for axis, image in zip(axes, [*images, *images])
    )
    assert {axis.images[0].get_interpolation() for axis in axes} == {"nearest"}
    titles = [axes[0].get_title(loc="center"), axes[1].get_title(loc="center")]
    assert [title.split() for title in titles] == [caption.split() for caption in captions] and "\n" in titles[0]


def test_below_each_checked_picture_stands_whether_it_is_right():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    rows, captions = {"asked for": images, "drawn": images}, ["one", "two", "three"]
    figure = sample_sheet(rows, captions, {"drawn": [True, False, True]})
    marks = [axis.get_xlabel() for axis in figure.axes]
    assert marks == ["", "", "", "✓", "✗", "✓"] and "2 of 3 right" in figure.axes[3].get_ylabel()
    with pytest.raises(UserError, match="not one picture for each"):
        sample_sheet({"a": images, "b": images}, ["one", "two", "three"], {"b": [True]})


def test_nothing_makes_no_figure_and_wrong_things_one_line():
    assert compute_curves(None, "all") is None and weight_arrows(tidy([])) is None
    with pytest.raises(UserError, match="there is no all to draw"): compute_curves(curves(), "all")
    with pytest.raises(UserError, match="not one picture for each of 2"):
        sample_sheet({"a": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)}, ["one", "two"])


def test_limits_are_lines_with_their_names_in_every_kind_of_figure():
    names = lambda axis: {name for text in axis.texts for name in [text.get_text(), *text.get_text().split(", ")]}
    limits = {"ceiling of pca-20": 0.98, "ceiling of vq-512": 0.97}
    assert set(limits) <= names(compute_curves(curves(), "frechet_distance", reference=limits).axes[0])
    table = pd.DataFrame([
        {"method": "diffusion", "guidance": g, "seed": 0, "prompt_following": 0.5, "frechet_distance": 3.0}
        for g in (1.0, 2.0)
    ])
    panels = sweep_panels(table, "guidance", reference={"prompt_following": limits}).axes
    assert set(limits) <= names(panels[0]) and not set(limits) & names(panels[1])
    by_method = {
        axis.get_title(loc="left") or axis.get_title(): axis for axis in loss_panels(curves(), {"next-token": 0.1}).axes
    }
    assert ["entropy of the codes, at least" in names(axis) for axis in by_method.values()] == [True, False, False]
