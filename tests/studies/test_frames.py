"""The tidy frame's promises, and the printed values as they are read."""
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.papers.frames import COLUMNS, check_frame, exhibit_stem, printed_frame, printed_number, read_printed, tidy

ONE = dict(paper="dclm", exhibit="table-4", row="AskLLM", column="core", source="rerun", value=1.0)


def test_every_printed_file_is_tidy():
    seen = 0
    for file in sorted((project_root() / "reproduce").glob("*/printed/*.csv")):
        kind, number = file.stem.split("_")
        frame = printed_frame(file.parents[1].name, f"{kind}-{int(number) if number.isdigit() else number}")
        assert len(frame) and tuple(frame.columns) == COLUMNS and set(frame.source) == {"printed"}
        seen += 1
    assert seen >= 40


@pytest.mark.parametrize(
    "change, says", [(dict(source="guessed"), "guessed"), (dict(row=""), "row"), (dict(scale=None), "scale")]
)
def test_untidy_records_are_refused(change, says):
    with pytest.raises(UserError, match=says): tidy([ONE | change])


def test_one_answer_per_cell_seed_and_scale():
    two_seeds = tidy([
        ONE | dict(seed=0, scale="laptop"),
        ONE | dict(seed=1, scale="laptop"),
        ONE | dict(seed=0, scale="smoke"),
        ONE | dict(source="printed"),
    ])
    assert len(two_seeds) == 4
    with pytest.raises(UserError, match="twice"): tidy([ONE, ONE])
    with pytest.raises(UserError, match="columns"): check_frame(two_seeds[list(COLUMNS[::-1])])


def test_an_empty_frame_is_tidy(): assert tidy([]).empty and tuple(tidy([]).columns) == COLUMNS


@given(st.integers(-10**6, 10**6), st.integers(0, 4))
def test_the_tolerance_is_where_rounding_ends(units, decimals):
    """Whatever lies within the tolerance prints as the text, whatever lies clearly outside does not."""
    text = f"{units / 10**decimals:.{decimals}f}"
    value, tolerance = printed_number(text)
    assert value == pytest.approx(units / 10**decimals) and tolerance == pytest.approx(.5 / 10**decimals)
    assert f"{value + .98 * tolerance:.{decimals}f}" == text or value == 0
    assert f"{value + 1.02 * tolerance:.{decimals}f}" != text


@pytest.mark.parametrize("text", ["", "yes", "N/A", ">31", "~4", "1*", "12.5;25"])
def test_what_is_no_number_has_no_value(text): assert all(map(math.isnan, printed_number(text)))


def test_units():
    assert [printed_number(t)[0] for t in ("412M", "8.2B", "1.64T", "2.0e19", "3,700", "-1.2")] == [
        412e6,
        8.2e9,
        1.64e12,
        2e19,
        3700,
        -1.2,
    ]


def test_names():
    assert [exhibit_stem(e) for e in ("table-4", "figure-12", "figure-a")] == ["table_04", "figure_12", "figure_a"]
    assert exhibit_stem("extra-run-noise") == "extra_run_noise"
    with pytest.raises(UserError, match="table-4"): exhibit_stem("extra-../x")
    with pytest.raises(UserError, match="table-4"): exhibit_stem("../table-4")
    with pytest.raises(UserError, match="dclm"): read_printed("dlcm", "table-4")
    assert read_printed("dclm", "figure-2") == []


def test_a_frame_survives_a_csv(tmp_path):
    frame = tidy([ONE | dict(seed=3), ONE | dict(source="printed")])
    frame.to_csv(tmp_path / "f.csv", index=False)
    back = pd.read_csv(
        tmp_path / "f.csv", dtype={"seed": "Int64"}, keep_default_na=False, na_values={"seed": [""], "value": [""]}
    )
    pd.testing.assert_frame_equal(check_frame(back), frame, check_dtype=False)
