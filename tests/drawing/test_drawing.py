"""Figures: equal numbers give equal files, also from another process."""
import hashlib
import io
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from dclm_nb.core.errors import UserError
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.drawing.plots import lines, scatter, strips
from dclm_nb.drawing.style import COLOURS, CYCLE, Drawing, figure_bytes, plain_log, styled
from dclm_nb.exhibits.forest import forest
from dclm_nb.exhibits.render import compare
from dclm_nb.exhibits.results import replayed_frame
from dclm_nb.papers.frames import printed_frame, tidy

CODE = """
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.drawing.style import figure_bytes
from dclm_nb.exhibits.forest import forest
from dclm_nb.exhibits.render import compare
import hashlib
print(hashlib.sha256(figure_bytes(forest(compare(get_exhibit("table-3"))))).hexdigest())
"""


def test_the_same_bytes_in_another_process():
    there = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout.strip()
    assert there == hashlib.sha256(figure_bytes(forest(compare(get_exhibit("table-3"))))).hexdigest()


@pytest.mark.parametrize("kind, head", [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_formats_carry_no_date(kind, head):
    data = figure_bytes(scatter(printed_frame("dclm", "table-33"), "core", "mmlu"), kind)
    assert data.startswith(head) and b"<dc:date>" not in data and b"Matplotlib" not in data
    assert data == figure_bytes(scatter(printed_frame("dclm", "table-33"), "core", "mmlu"), kind)


@pytest.mark.parametrize("colours", [8, 64])
def test_a_drawing_keeps_its_pixels_and_few_colours_and_is_shown_once(colours):
    with styled() as plt:
        figure, axis = plt.subplots(figsize=(3, 2), dpi=50)
        axis.plot([0, 1], [0, 1])
        axis.set_title("a title, whose letters have many shades")
        shown = Drawing(figure, colours)
        assert figure.number not in plt.get_fignums()
    picture = Image.open(io.BytesIO(shown._repr_png_()))
    assert len(picture.convert("RGB").getcolors()) <= colours and abs(picture.width - 150) < 30
    assert min(picture.convert("RGB").getpixel((0, 0))) > 250              # white, as far as anybody sees


def test_lines_draw_one_curve_per_column_and_a_band_over_seeds():
    frame = tidy(
        [
            dict(row=str(x), column=c, seed=s, value=x * (k + 1) + s, scale="smoke")
            for x in range(4)
            for k, c in enumerate("ab")
            for s in (0, 1)
        ],
        paper="dclm",
        exhibit="figure-7",
        source="rerun",
    )
    axis = lines(frame, "x", "y").axes[0]
    assert len(axis.lines) == 2 and len(axis.collections) == 2


def test_forest_draws_what_it_is_given():
    figure = forest(compare(get_exhibit("table-4")), ["core"])
    assert [a.get_title(loc="left") for a in figure.axes] == ["Core ↑"] and len(figure.axes[0].containers) == 8
    with pytest.raises(UserError): forest(compare(get_exhibit("figure-2")))


def test_no_figure_stays_open():
    import matplotlib.pyplot as plt
    forest(compare(get_exhibit("table-3"))), scatter(printed_frame("dclm", "table-33"), "core", "mmlu")
    assert not plt.get_fignums()


def test_a_row_without_a_value_in_a_column_leaves_its_place_empty():
    frame = tidy(
        [dict(row=r, column=c, seed=s, value=s) for r, c in (("a", "x"), ("b", "x"), ("b", "y")) for s in (0, 1)],
        paper="dclm",
        exhibit="table-4",
        source="rerun",
        scale="laptop",
    )
    x, y = strips(frame).axes
    assert len(x.lines) > len(y.lines) and [t.get_text() for t in x.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize("mode", ["ion", "ioff"])
def test_the_style_leaves_what_else_is_set_in_it(mode):
    """Whether figures are shown at once is the user's, whenever matplotlib or a notebook decides it."""
    import matplotlib
    before = matplotlib.is_interactive()
    try:
        with styled() as plt: getattr(plt, mode)()
        assert matplotlib.is_interactive() == (mode == "ion")
        with styled() as plt: plt.rcParams["lines.linewidth"] = 7
        assert plt.rcParams["lines.linewidth"] == 7 and plt.rcParams["axes.spines.top"]
        with pytest.raises(ZeroDivisionError), styled(): 1 / 0
        assert plt.rcParams["axes.spines.top"]                                      # its own settings end with it
    finally: matplotlib.interactive(before), matplotlib.rcParams.update({"lines.linewidth": 1.5})


def test_a_figure_of_ones_own_is_shown_after_one_of_ours(monkeypatch):
    """In a kernel, where the first figure decides the mode."""
    from nbclient import NotebookClient
    monkeypatch.delenv("MPLBACKEND", raising=False)
    ours = "from dclm_nb.drawing.style import styled\nwith styled() as p: p.close(p.subplots()[0])"
    theirs = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (ours, theirs)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[1].outputs)


def far_apart(one: str, other: str) -> float:
    """Between two colours, in the range of a channel."""
    parts = lambda colour: [int(colour[k:k + 2], 16) for k in (1, 3, 5)]
    return sum((a - b) ** 2 for a, b in zip(parts(one), parts(other))) ** 0.5


def test_no_source_has_the_colour_of_anything_else():
    assert min(far_apart(a, b) for a in COLOURS.values() for b in CYCLE) > 60
    assert min(far_apart(a, b) for a in COLOURS.values() for b in COLOURS.values() if a != b) > 60


@pytest.mark.parametrize("name", ["table-2", "table-4", "table-12", "table-18", "table-19"])
def test_a_replay_is_drawn_as_its_difference_over_the_band_of_its_rounding(name):
    comparison = compare(get_exhibit(name), [replayed_frame(get_exhibit(name))])
    values, gaps = forest(comparison, ["core"]).axes
    assert "printed" in gaps.get_title(loc="left") and not values.get_title(loc="left").startswith("replayed")
    drawn = {line.get_ydata()[0]: line.get_xdata()[0] for line in gaps.lines if line.get_marker() == "o"}
    rows = [label.get_text() for label in values.get_yticklabels()]
    for y, gap in drawn.items():
        replayed, printed = (comparison.cell(rows[int(y)], "core", source).value for source in ("replayed", "printed"))
        assert gap == pytest.approx(replayed - printed)
    bands = [path.vertices for band in gaps.collections for path in band.get_paths()]
    half = {round(min(corners[:, 1]) + 0.5): max(corners[:, 0]) for corners in bands}
    outside = {rows[int(y)] for y, gap in drawn.items() if abs(gap) > half[y] * (1 + 1e-9)}
    assert outside == {row for row, column in comparison.mismatches() if column == "core"}
    assert len([text for text in gaps.texts if text.get_text() == "≠"]) == len(outside)


def test_a_row_without_a_number_is_not_drawn():
    values = [dict(row="nothing here", column="bits_per_byte", seed=0, value=2.0)]
    frame = tidy(values, paper="dclm", exhibit="table-4", scale="laptop", source="rerun")
    comparison = compare(get_exhibit("table-4"), [frame], "laptop")
    rows = lambda columns: [label.get_text() for label in forest(comparison, columns).axes[0].get_yticklabels()]
    assert len(rows(["core"])) == 8 and "nothing here" not in rows(["core"])
    assert rows(["bits_per_byte"]) == ["nothing here"]


def seeds_of(*rows_and_counts):
    """A rerun with so many seeds in each row."""
    values = [dict(row=row, column="latency_s", seed=k, value=1.0 + k) for row, n in rows_and_counts for k in range(n)]
    return tidy(values, paper="tradeoffs", exhibit="figure-e", scale="laptop", source="rerun")


def test_one_run_is_a_point_and_not_a_bar():
    bars = lambda figure: [line for line in figure.axes[0].lines if line.get_linewidth() == 1.6]
    one, three = strips(seeds_of(("a", 1), ("b", 1))), strips(seeds_of(("a", 3), ("b", 3)))
    assert not bars(one) and len(bars(three)) == 2
    assert "grey line: a" in one.get_supxlabel() and "a bar the mean" in three.get_supxlabel()


def test_a_strip_has_the_colour_of_its_row_or_that_of_a_rerun():
    figure = strips(seeds_of(("x", 2), ("x / fast", 2), ("y", 2)), colours={"x": "#112233"})
    points = [line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert points == ["#112233", "#112233", COLOURS["rerun"]]


@pytest.mark.parametrize("low, high", [(0.0157, 0.04), (25, 455), (1e8, 2.7e9), (2.3, 4.1), (0.9, 1.1)])
def test_a_logarithmic_axis_of_any_span_has_plain_round_ticks_inside(low, high):
    with styled() as plt:
        figure, axis = plt.subplots()
        axis.plot([low, high], [0, 1]), plain_log(axis, "x"), plt.close(figure)
    inside = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    labels = [axis.xaxis.get_major_formatter()(tick, 0) for tick in inside]
    assert 1 <= len(inside) <= 8 and all(float(label) == pytest.approx(tick) for label, tick in zip(labels, inside))


@pytest.mark.parametrize("exhibit, column, outliers", [("table-33", "extended", ["+28.8 →"]), ("table-33", "core", []),
                                                       ("table-6", "core", []), ("table-3", "core", [])])
def test_one_far_difference_does_not_hide_the_band_of_the_others(exhibit, column, outliers):
    "The paper prints 0.0 where it has no value yet; that difference is written at the edge of the panel."
    comparison = compare(get_exhibit(exhibit), [replayed_frame(get_exhibit(exhibit))])
    gaps = forest(comparison, [column]).axes[1]
    low, high = gaps.get_xlim()
    bands = [part.get_paths()[0].get_extents().width for part in gaps.collections]
    assert min(bands) > 0.04 * (high - low)
    assert [text.get_text().removeprefix("≠ ") for text in gaps.texts if "→" in text.get_text()] == outliers
    assert all(low < x < high for line in gaps.lines if line.get_marker() == "o" for x in line.get_xdata())
