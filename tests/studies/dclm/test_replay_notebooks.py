"""The reproduction notebooks that replay: their shape, and what they leave behind, run cell by cell without a
kernel."""
import ast
import json

import matplotlib
import nbformat
import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import catalogue, everything
from dclm_nb.exhibits.status import page_kind

matplotlib.use("Agg")
REPLAYS = {e.name: e for e in everything("dclm") if page_kind(e) == "replay" or "replayed" in e.answers and e.built}


@pytest.fixture(params=REPLAYS)
def notebook(request):
    return request.param, nbformat.read(project_root() / "reproduce/dclm" / f"{request.param}.ipynb", 4)


def code_cells(notebook): return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_shape(notebook):
    """Short, committed without outputs, one tagged cell, no import but exhibits and a study or two, and no logic."""
    name, notebook = notebook
    # a study that also replays shows two tables
    assert 6 <= len(notebook.cells) <= (16 if page_kind(REPLAYS[name]) == "replay" else 30)
    assert [cell.metadata.get("tags") for cell in code_cells(notebook)].count(["parameters"]) == 1
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))
    imported = [
        (node.module, name.name)
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    rooms = {"dclm_nb.studies.dclm", "dclm_nb.drawing", "dclm_nb.exhibits"}
    used = [room for module, _ in imported for room in rooms if f"{module}.".startswith(f"{room}.")]
    assert ("dclm_nb.exhibits.showcase", "Showcase") in imported and len(used) == len(imported)
    studies = {f"{module}.{name}".split(".")[3] for module, name in imported if "studies" in module}
    assert 1 <= len(studies) <= 3
    assert not any(
        isinstance(node, (ast.For, ast.If, ast.FunctionDef, ast.Import))
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
    )


def test_it_runs_and_vouches_for_what_it_wrote(notebook, tmp_path):
    name, notebook = notebook
    scope = {}
    for cell in code_cells(notebook):
        exec(compile(cell.source, f"{name}.ipynb#{cell.id}", "exec"), scope)
        if "parameters" in cell.metadata.get("tags", []): scope["out_dir"] = str(tmp_path)
    manifest = json.loads((tmp_path / f"{name}.manifest.json").read_text())
    expected = {m.cell: m for m in REPLAYS[name].mismatches}
    assert sorted(map(tuple, manifest["mismatches"])) == sorted(expected)
    assert manifest["status"] == "ok" and "replayed" in manifest["answers"]
    comparison = scope["show"].results.comparison()
    for (row, column), listed in expected.items():
        shown = comparison.cell(row, column, "printed").text, comparison.cell(row, column, "replayed").text
        assert shown == (listed.printed, listed.replayed)
    assert {f"{name}.csv", f"{name}.md"} <= set(manifest["files"]) and all(
        (tmp_path / file).stat().st_size for file in manifest["files"]
    )
    if REPLAYS[name].study != "configurations": assert {f"{name}.svg", f"{name}.png"} <= set(manifest["files"])


def test_everything_that_was_released_is_replayed_by_a_notebook():
    """No exhibit whose runs were released is left to a page from the catalogue, and none but a replay has a list of
    mismatches."""
    from dclm_nb.studies.dclm.replay import REPLAYED
    assert all(e.built for e in catalogue("dclm") if e.id in REPLAYED)
    assert not [e.id for e in catalogue() if e.mismatches and "replayed" not in e.answers]
