"""Figure 7 from its formula."""
import csv

import pytest

from dclm_nb.papers.frames import printed_frame
from dclm_nb.studies.dclm.minhash_curves import SETTINGS, curves_frame, found_at, summary_frame


def test_the_settings_are_the_printed_ones():
    printed = printed_frame("dclm", "figure-7").pivot(index="row", columns="column", values="value")
    assert {name: (pair.bands, pair.rows) for name, pair in printed.iterrows()} == SETTINGS


def test_curves_equal_the_written_formula():
    frame = curves_frame(51)
    for row in frame.itertuples():
        bands, rows = SETTINGS[row.column]
        assert row.value == pytest.approx(1 - (1 - float(row.row) ** rows) ** bands, abs=1e-12)
    assert (frame.groupby("column").value.agg(lambda v: v.is_monotonic_increasing)).all()


def test_curves_equal_the_listed_points(shared):
    path = shared / "papers/dclm/values/figure_07.csv"
    if not path.is_file(): pytest.skip("no listed points beside the checkout")
    ours = curves_frame(51).set_index(["row", "column"]).value
    with path.open(newline="", encoding="utf-8") as f: points = list(csv.DictReader(f))
    assert len(points) == 51
    for point in points:
        for column in SETTINGS:
            assert ours[f"{float(point['jaccard']):g}", column] == pytest.approx(
                float(point["p_" + column.replace(" ", "")]), abs=6e-7
            )


def test_the_cheap_setting_rises_where_the_costly_one_does():
    assert abs(found_at(.5, 450, 20) - found_at(.5, 93, 15)) < .003
    assert summary_frame().query("column == 'hash functions'").value.tolist() == [9000, 1395, 126]
