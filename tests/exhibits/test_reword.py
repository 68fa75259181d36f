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
    ((_, reason),) = said(reword("dclm", root))
    assert reason.startswith(f"not as it was blessed: {name}")


def test_a_page_without_its_old_words_is_refused(older):
    root, folder = older
    page = folder / "table_12.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Old words.", ""), encoding="utf-8")
    edit(folder / "table_12.manifest.json", lambda told: told["files"].update({page.name: sha256_of(page)}))
    assert said(reword("dclm", root)) == [("table-12", "its page lacks the old reading: make it again")]


def test_cells_in_another_order_are_other_code():
    cell = lambda id: {"id": id, "cell_type": "code", "source": [id]}
    with pytest.raises(Exception, match="in another order"): with_words([cell("a"), cell("b")], [cell("b"), cell("a")])


def test_a_result_that_may_claim_nothing_gets_no_new_words(older):
    root, folder = older
    for told, reason in [
        ({"scale": "smoke"}, "a smoke run may claim nothing"), ({"status": "failed"}, "its last run failed"),
        ({"git": {"commit": COMMIT, "dirty": True}}, "made with uncommitted changes"),
    ]:
        file = folder / "table_12.manifest.json"
        before = file.read_bytes()
        edit(file, lambda manifest: manifest.update(told))
        assert said(reword("dclm", root)) == [("table-12", reason)]
        file.write_bytes(before)


def test_a_page_that_its_manifest_does_not_name_gets_no_new_words(older):
    root, folder = older
    edit(folder / "table_12.manifest.json", lambda told: told["files"].pop("table_12.md"))
    ((_, reason),) = said(reword("dclm", root))
    assert reason.startswith("not as it was blessed: table_12.md")


@pytest.mark.parametrize("harm", [
    lambda cells: cells.append(dict(cells[-2])), lambda cells: cells[0].pop("id"),
])
def test_cells_without_a_name_of_their_own_are_refused(older, harm):
    root, folder = older
    edit(folder / "table_12.ipynb", lambda told: harm(told["cells"]))
    assert said(reword("dclm", root)) == [("table-12", "its notebook has cells without an id, or two with one")]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_call_that_was_killed_is_seen_by_the_next_one(older, monkeypatch, writes):
    """The page, its manifest and the notebook are written one after the other."""
    root, folder = older
    whole, written = module.atomic_write, []

    def killed(path, data):
        if len(written) == writes: raise KeyboardInterrupt
        written.append(whole(path, data))

    monkeypatch.setattr(module, "atomic_write", killed)
    with pytest.raises(KeyboardInterrupt): reword("dclm", root)
    monkeypatch.setattr(module, "atomic_write", whole)
    ((_, reason),) = said(reword("dclm", root))
    if writes == 1:                                     # the page is not what its manifest vouches for
        assert "git restore" in reason
        return
    assert reason == "" and said(reword("dclm", root)) == []
    manifest = json.loads((folder / "table_12.manifest.json").read_text())
    assert all(sha256_of(folder / name) == sum for name, sum in manifest["files"].items())
    assert (folder / "table_12.md").read_text().count("The words of this page were changed") == 1


@pytest.mark.parametrize("old, new", [("Old.", "Old. And more."), ("Old. And more.", "Old."), ("Old.", "New.")])
@pytest.mark.parametrize("page", ["old", "new"])
def test_words_come_once_whichever_contains_the_other(tmp_path, old, new, page):
    for name, words in (("old", old), ("new", new)):
        cell = {"id": "reading", "cell_type": "markdown", "source": [words]}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))
    with_words = lambda words: f"# A page\n\n{words}\n\n## Notes\n"
    text = with_words(old if page == "old" else new)
    assert module._other_words(text, tmp_path / "old.ipynb", tmp_path / "new.ipynb") == with_words(new)


def test_words_that_are_not_on_the_page_leave_no_note_there(older):
    root, folder = older
    page = (folder / "table_12.md").read_text(encoding="utf-8").replace("Old words.", cell_text(NOTEBOOK, "reading"))

    def elsewhere(told):
        for cell in told["cells"]:
            if cell["id"] == "reading": cell["source"] = [cell_text(NOTEBOOK, "reading")]
        told["cells"].append({"id": "more", "cell_type": "markdown", "metadata": {}, "source": ["Other words."]})

    edit(folder / "table_12.ipynb", elsewhere)
    (folder / "table_12.md").write_text(page, encoding="utf-8")
    edit(folder / "table_12.manifest.json",
         lambda told: told["files"].update({"table_12.md": sha256_of(folder / "table_12.md")}))
    assert said(reword("dclm", root)) == [("table-12", "")]
    assert "Other words." not in (folder / "table_12.ipynb").read_text(encoding="utf-8")
    assert (folder / "table_12.md").read_text(encoding="utf-8") == page


def test_the_same_result_blessed_again_keeps_the_new_words(older, monkeypatch):
    from dclm_nb.exhibits import bless
    root, folder = older
    out = root / "reproduce" / "_out" / "dclm" / "table_12" / "replay"
    out.mkdir(parents=True)
    for file in folder.iterdir(): shutil.copy(file, out)
    assert said(reword("dclm", root)) == [("table-12", "")]
    words = (folder / "table_12.md").read_bytes()
    monkeypatch.setattr(bless, "has_commit", lambda commit, root: True)
    assert [reason for *_, reason in bless.bless("dclm", root=root)] == [""]
    assert (folder / "table_12.md").read_bytes() == words
    edit(out / "table_12.manifest.json", lambda told: told.update(created="2030-01-01T00:00:00Z"))      # another run
    assert [reason for *_, reason in bless.bless("dclm", root=root)] == [""]
    assert b"Old words." in (folder / "table_12.md").read_bytes()


def test_text_cells_in_another_order_are_other_words(older):
    root, folder = older
    assert said(reword("dclm", root)) == [("table-12", "")]
    edit(folder / "table_12.ipynb", lambda told: told["cells"].append(told["cells"].pop(0)))
    assert said(reword("dclm", root)) == [("table-12", "")] and said(reword("dclm", root)) == []
