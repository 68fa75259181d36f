"""Figures of the keep fraction: whatever is drawn is explained, and numbers below the panel can be read."""
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from dclm_nb.studies.dclm.keep_figures import FLOOR, SIDES, fraction_curves, judge_panels

SHARES = (0.05, 0.10, 0.22)


def curves(lowest: float = -1.2) -> pd.DataFrame:
    "Gains that rise from far below the panel."
    return pd.DataFrame([
        dict(side=side, share=share, fraction=f, mid=mid - share, low=mid - share - 0.05, high=mid - share + 0.05)
        for side in SIDES for share in SHARES for f, mid in ((0.025, lowest), (0.1, 0.1), (0.6, 0.2))
    ])


def network() -> pd.DataFrame: return curves().query("fraction == 0.1")


def by_judge() -> pd.DataFrame:
    return pd.concat([curves().query("side == 'five'").assign(judge=name) for name in ("fastText", "perplexity")])


def said(figure) -> str: return "; ".join(text.get_text() for text in figure.legends[0].get_texts())


@pytest.mark.parametrize("draw", [lambda: fraction_curves(curves(), network()), lambda: judge_panels(by_judge())])
def test_a_band_is_explained_wherever_one_is_drawn(draw):
    figure = draw()
    assert any(isinstance(part, PolyCollection) for part in figure.axes[0].collections)
    assert "band: 95 % interval" in said(figure)


def test_whiskers_are_explained_where_there_are_some():
    assert "whiskers" in said(fraction_curves(curves(), network()))
    assert "whiskers" not in said(fraction_curves(curves(), network().iloc[:0]))


def test_what_lies_below_the_panel_is_written_and_said_to_lie_there():
    figure = fraction_curves(curves(), network())
    below = [text for axis in figure.axes for text in axis.texts if text.get_text().endswith("↓")]
    assert len(below) == len(SIDES) * len(SHARES) and all(text.get_bbox_patch() for text in below)
    assert "↓: below the panel" in said(figure)
    assert "↓" not in said(fraction_curves(curves(FLOOR + 0.25), network()))
