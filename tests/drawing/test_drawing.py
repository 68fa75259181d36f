"""Figures: equal numbers give equal files, also from another process."""
import hashlib
import subprocess
import sys

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.drawing.plots import lines, scatter, strips
from dclm_nb.drawing.style import figure_bytes
from dclm_nb.exhibits.forest import forest
from dclm_nb.exhibits.render import compare
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
