"""Figure 7 against the values computed independently from its formula, and the formula at its ends."""
import csv

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation.minhash import CURVES, curve_distance, duplicate_probability


def test_figure_7(shared):
    with open(shared / "papers/dclm/values/figure_07.csv") as file: rows = list(csv.DictReader(file))
    assert len(rows) > 50
    for row in rows:
        for bands, size in CURVES.values():
            assert duplicate_probability(float(row["jaccard"]), bands, size) == pytest.approx(
                float(row[f"p_{bands}x{size}"]), abs=6e-7
            )


def test_ends_and_order():
    similarity = np.linspace(0, 1, 101)
    for bands, rows in CURVES.values():
        curve = duplicate_probability(similarity, bands, rows)
        assert curve[0] == 0 and curve[-1] == 1 and (np.diff(curve) >= 0).all()
        # no cancellation near zero
        assert duplicate_probability(1e-3, bands, rows) == pytest.approx(bands * 1e-3 ** rows, rel=1e-6)


def test_simulated_bands_agree_with_the_formula():
    rng = np.random.default_rng(0)
    agree = rng.random((20_000, 14, 9)) < 0.7
    assert agree.all(2).any(1).mean() == pytest.approx(duplicate_probability(0.7, 14, 9), abs=0.012)


def test_errors_and_distance():
    assert curve_distance((93, 15), (93, 15)) == 0 and curve_distance((93, 15), (450, 20)) < curve_distance(
        (14, 9), (450, 20)
    )
    for wrong in [(1.01, 2, 2), (-0.1, 2, 2), (0.5, 0, 2), (0.5, 2, 0)]:
        with pytest.raises(UserError): duplicate_probability(*wrong)
