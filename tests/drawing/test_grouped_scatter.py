"""Points with names: every name that is given is written, beside its own point, and where it can be read."""
import math
import random

import pytest
from matplotlib.text import Text

from dclm_nb.drawing.grouped_scatter import grouped_scatter
from dclm_nb.drawing.style import figure_bytes
from dclm_nb.papers.frames import tidy


def named(points: dict[str, tuple[float, float]], names: dict[str, str] = {}, **options):
    "A figure of points, all of one kind and all named unless `names` says otherwise."
    frame = tidy([dict(row=row, column=c, value=v, source="replayed") for row, at in points.items()
                  for c, v in zip(("first", "second"), at)], paper="dclm", exhibit="figure-3")
    return grouped_scatter(frame, "first", "second", {row: "kind" for row in points},
                           names or {row: row for row in points}, **options)


def crowd(number: int, n: int, spread: float) -> dict[str, tuple[float, float]]:
    "Two clouds, as of filtered and of unfiltered data."
    dice = random.Random(number)
    centres = [(15.0, 35.0), (30.0, 41.0)]
    return {f"data set {k}, {'x' * dice.randint(2, 12)}": tuple(dice.gauss(c, spread) for c in centres[k % 2])
            for k in range(n)}


def letters(note):
    "Where a name is, without its line."
    note.get_window_extent()                                                # this puts it in its place
    return Text.get_window_extent(note)


CROWDS = [crowd(number, n, spread) for number in range(4) for n, spread in ((4, 3.0), (10, 0.5), (14, 1.0))]


@pytest.mark.parametrize("points", CROWDS)
def test_every_name_is_written_inside_the_panel_and_covers_no_other_and_no_point(points):
    figure = named(points)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert {note.get_text() for note in axes.texts} == set(points)
    boxes = [letters(note) for note in axes.texts]
    dots = axes.transData.transform(list(points.values()))
    for k, box in enumerate(boxes):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[k + 1:])
        assert not any(box.contains(*dot) for dot in dots)


@pytest.mark.parametrize("points", CROWDS[:3])
def test_a_name_that_stands_apart_has_a_line_to_its_point(points):
    figure = named(points)
    figure.draw_without_rendering()
    for note in figure.axes[0].texts:
        box, dot = letters(note), figure.axes[0].transData.transform(points[note.get_text()])
        beside = min(math.dist(dot, (x, y)) for x in (box.x0, box.x1) for y in (box.y0, box.y1))
        assert note.arrow_patch or beside < 12 * figure.dpi / 72


def test_only_the_points_that_are_asked_for_get_a_name_and_names_without_a_point_none():
    figure = named({"a": (1, 1), "b": (2, 2)}, {"b": "B", "c": "C"})
    assert [note.get_text() for note in figure.axes[0].texts] == ["B"]


@pytest.mark.parametrize("n, interval", [(3, "(-1.00 to 1.00)"), (10, "(0.44 to 0.96)")])
def test_a_correlation_has_its_interval_and_its_number_of_points(n, interval):
    "r = 0.838 of ten points, as Figure 3 prints it."
    r, xs = 0.838, [float(k) for k in range(n)]
    mean = sum(xs) / n
    across = [(-1) ** k * 1.0 for k in range(n)]
    across = [a - sum(across) / n for a in across]
    tilt = sum(a * (x - mean) for a, x in zip(across, xs)) / sum((x - mean) ** 2 for x in xs)
    across = [a - tilt * (x - mean) for a, x in zip(across, xs)]            # at right angles to x
    size = lambda v: math.sqrt(sum(a * a for a in v))
    ys = [r * (x - mean) / size([x - mean for x in xs]) + math.sqrt(1 - r * r) * a / size(across)
          for x, a in zip(xs, across)]
    title = named({str(k): p for k, p in enumerate(zip(xs, ys))}, fit=True).axes[0].get_title(loc="left")
    assert title == f"r = 0.838 {interval.replace('-', '−')}, {n} points"


def test_equal_numbers_give_equal_files():
    assert figure_bytes(named(CROWDS[1])) == figure_bytes(named(CROWDS[1]))


@pytest.mark.parametrize("points", CROWDS)
def test_a_name_without_a_line_is_nearest_to_its_own_point(points):
    figure = named(points)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    at = {row: axes.transData.transform(point) for row, point in points.items()}
    def apart(box, dot): return math.hypot(*(max(low - v, 0, v - high) for v, low, high in
                                             zip(dot, (box.x0, box.y0), (box.x1, box.y1))))
    for note in axes.texts:
        if note.arrow_patch: continue
        box = letters(note)
        assert apart(box, at[note.get_text()]) <= min(apart(box, dot) for dot in at.values()) + 2
