"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""

import pytest
from odd import Walk

import dclm_nb.exhibits
from dclm_nb.core.paths import project_root
from dclm_nb.exhibits.at_a_glance import answered, full_rows
from dclm_nb.exhibits.bless import bless, blessed, blessed_table
from dclm_nb.exhibits.budget import budget
from dclm_nb.exhibits.ledger import ledger
from dclm_nb.exhibits.offers import check_page, check_parameters, parse_seeds, read_parameters, settle_scale
from dclm_nb.exhibits.pages import out_of_step, without_notebook, write_pages
from dclm_nb.exhibits.render import compare, format_like, latex_escape
from dclm_nb.exhibits.report import report
from dclm_nb.exhibits.results import known_already, out_folder
from dclm_nb.exhibits.reword import reword
from dclm_nb.exhibits.runner import progress_line, reproduce, reproduce_all
from dclm_nb.exhibits.showcase import Showcase
from dclm_nb.exhibits.status import standing
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.frames import RowNotes, printed_frame
from dclm_nb.papers.paper import get_scale


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    exhibit = get_exhibit("figure-3", "dclm")
    show = Showcase("dclm", "figure-3", out_dir=folder / "page")
    seen = compare(exhibit, [printed_frame("dclm", "figure-3")], "replay")
    run = dict(exhibit=exhibit, scale="replay", seeds=None, force=False, out_dir=folder / "out", limit=None,
               console=None, here=True)
    return {
        read_parameters: dict(notebook=exhibit.notebook),
        check_parameters: dict(notebook=exhibit.notebook, given={"seeds": [1]}),
        settle_scale: dict(exhibit=exhibit, asked=get_scale("replay")),
        parse_seeds: dict(text="1,2"),
        check_page: dict(given={"seeds": [1], "force": False}),
        progress_line: dict(record={"name": "training", "done": 3}),
        reproduce: run,
        reproduce_all: dict(exhibits=[exhibit], scale="replay", console=None, here=True),
        budget: dict(exhibit=exhibit, scale="replay"),
        bless: dict(paper="dclm", allow=False, root=folder),
        reword: dict(paper="dclm", root=folder),
        blessed: dict(name="table_04.md", exhibit="table-4", paper="dclm", root=None),
        blessed_table: dict(exhibit="table-4", paper="dclm", root=None),
        answered: dict(paper="dclm", root=None),
        full_rows: dict(exhibit="table-4", columns={"core printed": "Core"}, paper="dclm", root=None),
        ledger: dict(paper="dclm", root=folder),
        report: dict(root=folder),
        standing: dict(exhibit=exhibit, root=folder),
        compare: dict(exhibit=exhibit, frames=[printed_frame("dclm", "figure-3")], scale="replay", columns=()),
        seen.cell: dict(row=seen.rows[0], column="core", source="printed"),
        seen.title: dict(column="core"),
        seen.label: dict(row=seen.rows[0]),
        seen.has: dict(source="printed"),
        format_like: dict(value=27.53, text="27.5"),
        latex_escape: dict(text="50 %"),
        write_pages: dict(paper="dclm"),
        without_notebook: dict(paper="dclm"),
        out_of_step: dict(paper="dclm"),
        known_already: dict(exhibit=exhibit, scale="smoke"),
        out_folder: dict(exhibit=exhibit, scale="replay"),
        show.verdicts: dict(withheld={}),
        show.section: dict(head="More", what="A sentence."),
        show.notes: dict(notes=RowNotes({"a": "b"})),
        show.differences: dict(paper={"a": 1}, here={"a": 2}, why={"a": "smaller"}, theirs="paper", head=None),
        show.attach: dict(folder=show.out_dir / "model"),
        show.figure: dict(kind=None),
        Showcase: dict(paper="dclm", exhibit="figure-3", scale="replay", out_dir=folder),
    }


INNER = """
# what is given comes from our own code, which checked it before
agreement: Beside room_between beside_blessed what_differs agreement_lines agreement_with_blessed agreement_of
at_a_glance: Answered which_answers how_verdicts_fall badge badges
bless: why_not_blessed claims_nothing changed_files
described: test_in_words deciders read_stages stages_frame recipe_of provenance not_yet
forest: forest
in_process: CellFailed run_cell with_parameters run_notebook execute_here
ledger: result_folders verdict_counts counts_markdown replayed_counts replayed_markdown
offers: trains_nothing without_module
outcome: Reproduction diagnose
pages: introduction page_cells page_notebook
published: cell_text library_behind Shows page_markdown without_comparison made_by published_notebook gallery
published: index_of_papers write_galleries rebased notebook_cells notebook_text
render: Cell format_interval Comparison footnotes to_markdown for_terminal to_text to_latex to_csv
reword: with_words
results: replayed_frame recipe_frame stored_frame stored_manifest manifests measured_seconds seconds_to_make
results: read_manifest cpu_seconds_to_make made_on
runner: stop_tree Reporter execute show_known over_budget
showcase: Shown frame_shown config_differences Results draw_figure slug in_a_section Sections claims_shown
showcase: verdicts_shown seconds_of_runs cpu_seconds_of_runs peak_of_runs manifest
status: page_kind Standing matrix_for_terminal summary matrix_markdown
verdict_tables: verdicts_for_terminal verdict_table
"""
COSTLY = ("reproduce", "reproduce_all", "report")    # each has tests of its own


class TestWalk(Walk):
    room, inner, costly = dclm_nb.exhibits, INNER, COSTLY

    def test_any_value_of_any_parameter_is_a_result_or_one_line(self, table, tmp_path, monkeypatch, record_property):
        """And none blesses this checkout."""
        for module in ("bless", "reword"):                                              # `root=None` is the checkout
            monkeypatch.setattr(f"dclm_nb.exhibits.{module}.project_root", lambda: tmp_path)
        published = [project_root() / name for name in ("figures", "reproduce/dclm")]
        states = lambda: {file: file.stat().st_mtime_ns for folder in published for file in folder.rglob("*")}
        before = states()
        super().test_any_value_of_any_parameter_is_a_result_or_one_line(table, tmp_path, monkeypatch, record_property)
        assert states() == before
