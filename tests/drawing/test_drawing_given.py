"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import numpy as np
import pandas as pd
import pytest
from odd import Walk

import dclm_nb.drawing
from dclm_nb.drawing.diagram import Box, workflow
from dclm_nb.drawing.film_files import write_film_files
from dclm_nb.drawing.grouped_scatter import grouped_scatter
from dclm_nb.drawing.media import Clip, Pictures, as_pictures, gif_bytes, mp4_bytes, png_bytes, sheet
from dclm_nb.drawing.plots import lines, paper_of, scatter, strips
from dclm_nb.drawing.style import Drawing, figure_bytes, styled

FILM = np.zeros((2, 16, 16, 3), np.uint8)
FRAME = pd.DataFrame({"row": ["a", "b", "c"] * 2, "column": ["x"] * 3 + ["y"] * 3, "value": [1.0, 2.0, 3.0] * 2,
                      "source": "rerun", "seed": 0, "paper": "dclm"})
CURVE = FRAME.assign(row=["1", "2", "3"] * 2)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    with styled() as plt:
        figure = plt.figure(figsize=(1, 1))
        plt.close(figure)
    return {
        Box: dict(title="a", text="b", kind="step"),
        workflow: dict(boxes=[Box("a")], columns=2),
        write_film_files: dict(frames=FILM, path=folder / "film", fps=8.0, least=16, given=()),
        grouped_scatter: dict(frame=FRAME, x="x", y="y", groups={"a": "k", "b": "k", "c": "l"}, names={"a": "A"},
                              logx=False, fit=False),
        as_pictures: dict(pictures=FILM),
        sheet: dict(pictures=FILM, columns=2, enlarge=1, gap=2),
        png_bytes: dict(picture=FILM[0]),
        gif_bytes: dict(frames=FILM, fps=8.0),
        mp4_bytes: dict(frames=FILM, fps=8.0),
        Pictures: dict(pictures=FILM, columns=2, enlarge=1),
        Clip: dict(frames=FILM, fps=8.0),
        paper_of: dict(frame=FRAME),
        strips: dict(frame=FRAME, xlabel="", colours={}, logx=False),
        scatter: dict(frame=FRAME, x="x", y="y", source="rerun", logx=False, correlate=True, labels=False),
        lines: dict(frame=CURVE, xlabel="", ylabel="", logx=False, logy=False),
        figure_bytes: dict(figure=figure, kind="svg"),
        Drawing: dict(figure=figure, colours=64),
    }


INNER = """
# the guard itself
plots: check_tidy
# panels of our own figures
style: shared_legend plain_log
"""


class TestWalk(Walk):
    room, inner = dclm_nb.drawing, INNER
