"""Words of a notebook come to its blessed page without a run; its numbers, outputs and other files stay, and a page
whose code is not what ran keeps its words."""
import json
import shutil
from pathlib import Path

import pytest

from dclm_nb.core.files import sha256_of
from dclm_nb.core.paths import project_root
from dclm_nb.exhibits import reword as module
from dclm_nb.exhibits.published import cell_text
from dclm_nb.exhibits.reword import reword, with_words

COMMIT = "c0ffee" * 6 + "c0ff"
HERE, NOTEBOOK = project_root() / "figures" / "dclm", project_root() / "reproduce" / "dclm" / "table_12.ipynb"


def edit(path: Path, change) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    change(told)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.fixture
def older(tmp_path, monkeypatch):
    "A root in which Table 12 is blessed with an older Reading, and the folder that it lies in."
    monkeypatch.setattr(module, "git_state", lambda but: {"commit": COMMIT, "dirty": False})
    (folder := tmp_path / "figures" / "dclm").mkdir(parents=True)
    for file in HERE.glob("table_12.*"): shutil.copy(file, folder)
    words = cell_text(folder / "table_12.ipynb", "reading")
    page, ran = folder / "table_12.md", folder / "table_12.ipynb"
    page.write_text(page.read_text(encoding="utf-8").replace(words.strip(), "Old words."), encoding="utf-8")
    edit(ran, lambda told: [cell.update(source=["Old words."]) for cell in told["cells"] if cell["id"] == "reading"])
    edit(folder / "table_12.manifest.json", lambda told: told["files"].update({page.name: sha256_of(page)}))
    return tmp_path, folder


def said(outcome) -> list: return [(exhibit.id, reason) for exhibit, reason in outcome]


def outputs(notebook: Path) -> list:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [(cell["id"], cell.get("outputs")) for cell in cells if cell["cell_type"] == "code"]


def test_a_page_has_the_new_words_and_everything_else_as_it_was(older):
    root, folder = older
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shown = outputs(folder / "table_12.ipynb")
    assert said(reword("dclm", root)) == [("table-12", "")]
    *lines, note = (folder / "table_12.md").read_text(encoding="utf-8").splitlines()
    old, new = (cell_text(file, "reading") for file in (HERE / "table_12.ipynb", NOTEBOOK))
    published = (HERE / "table_12.md").read_text(encoding="utf-8").replace(old, new).splitlines()
    assert lines == [line for line in published if not line.startswith(note[:40])] and COMMIT[:10] in note
    assert outputs(folder / "table_12.ipynb") == shown
    assert cell_text(folder / "table_12.ipynb", "reading") == new
    changed = {name for name, data in before.items() if (folder / name).read_bytes() != data}
    assert changed == {"table_12.md", "table_12.ipynb", "table_12.manifest.json"}
    manifest = json.loads((folder / "table_12.manifest.json").read_text())
    assert manifest["reworded"]["commit"] == COMMIT
    assert all(sha256_of(folder / name) == sum for name, sum in manifest["files"].items())
    assert said(reword("dclm", root)) == []                                         # once is enough


def test_words_of_other_code_are_refused(older):
    root, folder = older
    edit(folder / "table_12.ipynb",
         lambda told: [cell["source"].append("\n1") for cell in told["cells"] if cell["id"] == "save"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert said(reword("dclm", root)) == [("table-12", "its code is not the code that ran (save): make it again")]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("git", [{"commit": COMMIT, "dirty": True}, {}])
def test_words_that_no_commit_holds_are_refused(older, monkeypatch, git):
    monkeypatch.setattr(module, "git_state", lambda but: git)
    assert said(reword("dclm", older[0])) == [("table-12", "its new words are in no commit yet")]


@pytest.mark.parametrize("name", ["table_12.md", "table_12.csv"])
def test_a_page_that_is_not_what_was_blessed_is_refused(older, name):
    root, folder = older
    (folder / name).write_text("tampered")
    assert said(reword("dclm", root)) == [("table-12", f"not as it was blessed: {name}")]


def test_a_page_without_its_old_words_is_refused(older):
    root, folder = older
    page = folder / "table_12.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Old words.", ""), encoding="utf-8")
    edit(folder / "table_12.manifest.json", lambda told: told["files"].update({page.name: sha256_of(page)}))
    assert said(reword("dclm", root)) == [("table-12", "its page lacks the old reading: make it again")]


def test_cells_in_another_order_are_other_code():
    cell = lambda id: {"id": id, "cell_type": "code", "source": [id]}
    with pytest.raises(Exception, match="in another order"): with_words([cell("a"), cell("b")], [cell("b"), cell("a")])
