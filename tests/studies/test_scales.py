"""Tables 1, 10, 27 and 31 from configuration."""
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.frames import read_printed
from dclm_nb.studies.dclm.configurations import NOTES, scales_frame

OFF = {("table-1", "1B-1x", "train_flops"), ("table-10", "3B-1x", "d_head")}


@pytest.mark.parametrize("exhibit, count", [("table-1", 15), ("table-10", 36), ("table-27", 8), ("table-31", 8)])
def test_every_value_that_configuration_decides_is_as_printed(exhibit, count):
    ours = scales_frame(exhibit).set_index(["row", "column"]).value
    printed = [cell for cell in read_printed("dclm", exhibit) if (cell.row, cell.column) in ours.index]
    assert len(printed) == len(ours) == count
    off = {
        (exhibit, cell.row, cell.column)
        for cell in printed
        if abs(ours[cell.row, cell.column] - cell.value) > cell.tolerance * (1 + 1e-9)
    }
    assert off == {key for key in OFF if key[0] == exhibit}
    assert {row for _, row, _ in off} <= set(NOTES.get(exhibit, ()))


def test_parameter_counts_are_exact():
    counts = scales_frame("table-1").query("column == 'model_parameters'").set_index("row").value.astype(int).to_dict()
    assert counts == {
        "400M-1x": 411_616_256,
        "1B-1x": 1_439_795_200,
        "3B-1x": 2_795_932_160,
        "7B-1x": 6_889_410_560,
        "7B-2x": 6_889_410_560,
    }


def test_other_exhibits():
    with pytest.raises(UserError, match="table-27"): scales_frame("table-2")
