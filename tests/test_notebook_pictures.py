"A cell that draws shows its picture: run without a display it would be committed without one, and nobody would see."
import json
import re

import pytest

from dclm_nb.core.paths import project_root

NOTEBOOKS = sorted((project_root() / "nbs").rglob("*.ipynb"))
DRAWS = re.compile(r"^(?!def|class|@)[^#\n]*(?:\bplt\.(?:subplots|figure|plot)\(|^workflow\()", re.MULTILINE)
HELPER = re.compile(r"^(?:@.*\n)?(?:def|class) .*\n(?:(?:[ \t].*)?\n)*", re.MULTILINE)


def draws(source: str) -> bool:
    "Whether a cell draws by itself; what its own functions would draw does not count."
    if re.search(r"^#\| *(?:export|eval: *false|notest)", source, re.MULTILINE): return False
    return bool(DRAWS.search(HELPER.sub("", source + "\n")))


def has_picture(cell: dict) -> bool:
    kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
    return any(kind.startswith("image/") for kind in kinds)


def without_picture(cells: list[dict]) -> list[str]:
    "The ids of the code cells that draw and show nothing."
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [cell["id"] for cell in code if draws("".join(cell["source"])) and not has_picture(cell)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_cell_that_draws_shows_its_picture(notebook):
    assert not without_picture(json.loads(notebook.read_text(encoding="utf-8"))["cells"])


@pytest.mark.parametrize(
    "source, drawn",
    [
        ("fig, ax = plt.subplots()\nax.plot(x)", True),
        ("with styled() as plt:\n    plt.figure()", True),
        ("workflow([Box('a')])", True),
        ("def sheet(x):\n    fig = plt.figure()\n    return fig\n\nprint(1)", False),
        ("#| export\nfig = plt.figure()", False),
        ("from dclm_nb.drawing.diagram import Box, workflow", False),
    ],
)
def test_what_counts_as_drawing(source, drawn):
    cell = {"cell_type": "code", "id": "c", "source": [source], "outputs": []}
    assert without_picture([cell]) == (["c"] if drawn else [])
    assert not without_picture([cell | {"outputs": [{"data": {"image/png": "..."}}]}])
