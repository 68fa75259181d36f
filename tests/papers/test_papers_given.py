"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

import dclm_nb.papers
from dclm_nb.papers.catalogue import everything, exhibit_id, get_exhibit, read_entries
from dclm_nb.papers.claims import claims_of, read_claims
from dclm_nb.papers.contrasts import contrasts, numbers_of, printed_numbers
from dclm_nb.papers.frames import (
    check_frame, exhibit_stem, printed_frame, printed_number, read_printed, tidy_csv,
)
from dclm_nb.papers.columns import column_bounds, column_label, column_title, known_columns, read_columns, row_label
from dclm_nb.papers.paper import get_paper, get_scale, scales_of
from dclm_nb.papers.verdicts import judge, judge_exhibit


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    exhibit, frame = get_exhibit("table-4", "dclm"), printed_frame("dclm", "table-4")
    claim = read_claims("dclm")[0]
    numbers = printed_numbers("dclm", claim.decided_by)
    return {
        get_paper: dict(name="dclm"),
        scales_of: dict(paper="dclm"),
        get_scale: dict(name="smoke", paper="dclm"),
        column_bounds: dict(column="core", paper="dclm"),
        column_title: dict(column="core", paper="dclm"),
        column_label: dict(column="core", paper="dclm"),
        row_label: dict(row="num_clips", paper="svd"),
        known_columns: dict(paper="dclm"),
        read_columns: dict(file=folder / "none.yaml"),
        tidy_csv: dict(frame=frame),
        check_frame: dict(frame=frame),
        printed_number: dict(text="27.5"),
        exhibit_stem: dict(exhibit="table-4"),
        read_printed: dict(paper="dclm", exhibit="table-4", folder=None),
        printed_frame: dict(paper="dclm", exhibit="table-4", folder=None),
        everything: dict(paper="dclm"),
        exhibit_id: dict(name="table-4"),
        get_exhibit: dict(name="table-4", paper="dclm"),
        read_entries: dict(file=folder / "none.yaml"),
        claims_of: dict(exhibit=exhibit),
        numbers_of: dict(frame=frame, source="printed", scale=""),
        printed_numbers: dict(paper="dclm", exhibits=["table-4"]),
        contrasts: dict(test=claim.tests[0], numbers=numbers),
        judge: dict(claim=claim, numbers=numbers, scale="replay", withheld=""),
        judge_exhibit: dict(exhibit=exhibit, frame=frame, scale="replay", withheld={}),
    }


INNER = """
# what is given comes from our own code, which checked it before
claims: Test Claim
columns: Column
contrasts: Contrast Numbers
exhibit: Mismatch is_generated Exhibit
frames: tidy read_tidy PrintedValue
paper: later RunNoise Replay Cost Paper
scale: Scale
verdicts: Verdict
"""


class TestWalk(Walk):
    room, inner = dclm_nb.papers, INNER
