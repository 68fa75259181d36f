"A notebook that runs without a kernel of its own gives what a kernel gives."
import json

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.scale import get_scale
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.exhibits.in_process import CellFailed, execute_here, new_shell, run_cell, run_notebook, with_parameters
from dclm_nb.exhibits.runner import execute


def notebook(*sources):
    cells = [
        {
            "id": "parameters",
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]},
            "source": ["n = 1\n"],
            "outputs": [],
        }
    ]
    cells += [
        {"id": f"c{i}", "cell_type": "code", "metadata": {}, "source": [source], "outputs": []}
        for i, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def written(tmp_path, *sources):
    path = tmp_path / "made.ipynb"
    path.write_text(json.dumps(notebook(*sources)), encoding="utf-8")
    return path


def test_parameters_come_behind_their_cell_and_the_notebook_is_left_alone():
    made = notebook("n")
    given = with_parameters(made, {"n": 3, "scale": "smoke"})
    assert [c["id"] for c in given["cells"]] == ["parameters", "given", "c0"] and len(made["cells"]) == 2
    assert "n = 3\n" in given["cells"][1]["source"] and "scale = 'smoke'\n" in given["cells"][1]["source"]
    with pytest.raises(UserError, match="2 cells tagged"): with_parameters({"cells": made["cells"][:1] * 2}, {})


def test_one_notebook_knows_nothing_of_another(tmp_path):
    assert run_notebook(written(tmp_path, "left_behind = 1"), {})[1]
    ran, whole = run_notebook(written(tmp_path, "left_behind"), {})
    assert not whole and ran["cells"][-1]["outputs"][-1]["ename"] == "NameError"


def test_the_first_error_ends_it(tmp_path):
    ran, whole = run_notebook(written(tmp_path, "print('before'); 1 / 0", "print('after')"), {})
    assert (
        not whole
        and [o["output_type"] for o in ran["cells"][2]["outputs"]] == ["stream", "error"]
        and ran["cells"][3]["outputs"] == []
    )


@pytest.mark.parametrize("source", ["1 +", "import nothing_of_this_name"])
def test_what_does_not_compile_or_import_is_an_error_of_the_cell(source):
    with pytest.raises(CellFailed): run_cell(new_shell(), source)


def test_a_figure_is_a_picture_and_a_semicolon_hides():
    shell = new_shell()
    shown_figure = run_cell(
        shell, "from matplotlib.figure import Figure\nfigure = Figure(figsize=(1, 1))\nfigure.add_subplot()\nfigure"
    )
    assert "image/png" in shown_figure[0]["data"] and run_cell(shell, "1;") == []


def shown(folder, name):
    cells = json.loads((folder / f"{name}.ipynb").read_text())["cells"]
    outputs = [o for c in cells if c["cell_type"] == "code" for o in c["outputs"]]
    return ["".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {})]


def test_an_exhibit_shows_and_writes_the_same_as_in_a_kernel(tmp_path):
    exhibit, scale = get_exhibit("figure-7"), get_scale("replay")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    assert execute_here(exhibit, scale, {}, here).status == execute(exhibit, scale, {}, there).status == "ok"
    assert shown(here, exhibit.name) == shown(there, exhibit.name)
    for kind in ("md", "csv", "values.csv", "tex", "svg"):
        assert (here / f"{exhibit.name}.{kind}").read_bytes() == (there / f"{exhibit.name}.{kind}").read_bytes(), kind


def test_a_failed_run_is_kept_beside_and_said_in_one_line(tmp_path):
    found = execute_here(get_exhibit("figure-7"), get_scale("replay"), {"scale_of_nothing": 1, "bands": None}, tmp_path)
    assert found.status == "ok"
    bad = execute_here(get_exhibit("table-4"), get_scale("smoke"), {"seeds": []}, tmp_path)
    assert bad.status == "error" and bad.message and (tmp_path / "table_04.failed.ipynb").is_file()
