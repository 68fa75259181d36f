"""What lies in `figures/`: every file is the one that its manifest vouches for, and a page has the words of its
notebook, as long as their code is the same."""
import json

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.exhibits.bless import changed_files
from dclm_nb.papers.catalogue import everything
from dclm_nb.papers.paper import papers

FIGURES = project_root() / "figures"
BLESSED = [exhibit for paper in papers() for exhibit in everything(paper)
           if (FIGURES / paper / f"{exhibit.name}.manifest.json").is_file()]


def sources(notebook, kind: str) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind and cell["id"] != "given"]


@pytest.mark.parametrize("exhibit", BLESSED, ids=lambda exhibit: f"{exhibit.paper} {exhibit.id}")
def test_a_blessed_page_is_whole_and_has_the_words_of_its_notebook(exhibit):
    folder = FIGURES / exhibit.paper
    manifest = json.loads((folder / f"{exhibit.name}.manifest.json").read_text(encoding="utf-8"))
    assert changed_files(exhibit, folder, manifest["files"]) == ""
    ran = folder / f"{exhibit.name}.ipynb"
    if not ran.is_file() or sources(ran, "code") != sources(exhibit.notebook, "code"): return
    assert sources(ran, "markdown") == sources(exhibit.notebook, "markdown"), "dclm-nb bless --words carries them over"
