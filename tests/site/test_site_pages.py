"Pages of the site, piece by piece: places, links, cells, numbers, manifests, and what of a notebook is shown."
import json
import re
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import everything, get_exhibit
from dclm_nb.site.exhibit_pages import exhibit_page, films_play, manifest_of
from dclm_nb.site.links import walk
from dclm_nb.site.made import made_in_words
from dclm_nb.site.matrix import counts, matrix, outcomes_of
from dclm_nb.site.notebook_pages import Pictures, notebook_page, only_imports, processed_cells
from dclm_nb.site.number_links import linked_table
from dclm_nb.site.places import Relinker, page_of
from dclm_nb.site.rooms import all_rooms, neighbours, sidebar

ROOT = project_root()


@pytest.mark.parametrize("path, page", {
    "README.md": "readme",
    "nbs/index.ipynb": "readme",
    "nbs/core/00_errors.ipynb": "nbs/core/00_errors",
    "nbs/core": "nbs/core/index",
    "figures": "figures/index",
    "figures/dclm/table_04.md": "figures/dclm/table_04",
    "figures/dclm/table_04.ipynb": "figures/dclm/table_04_ran",
    "reproduce/dclm/table_04.ipynb": "figures/dclm/table_04_ran",
    "figures/dclm/table_04.csv": "",
    "LICENSE": "",
    "tests": "",
}.items())
def test_every_file_has_its_place(path, page):
    assert page_of(Path(path)) == page


@pytest.mark.parametrize("written, turned", {
    "[a](table_01.md)": "[a](table_01.md)",
    "[a](table_01.md#Side-by-side)": "[a](table_01.md#side-by-side)",
    "[a](#Here-it-is)": "[a](#here-it-is)",
    "[`a`](../../nbs/core/00_errors.ipynb)": "[`a`](../../nbs/core/00_errors.md)",
    "[[a] b](table_01.md)": "[[a] b](table_01.md)",
    "[ran](table_04.ipynb)": "[ran](table_04_ran.md)",
    "[home](../../README.md)": "[home](../../readme.md)",
    "[numbers](table_04.csv)": '<a href="table_04.csv" download>numbers</a>',
    "[to run](../../reproduce/dclm/table_04.ipynb)":
        '<a href="../../reproduce/dclm/table_04.ipynb" download>to run</a>',
    "![a](table_04.svg)": "![a](table_04.svg)",
    "[![a](table_04.svg)](table_04.md)": "[![a](table_04.svg)](table_04.md)",
    "[away](https://arxiv.org/abs/2406.11794)": "[away](https://arxiv.org/abs/2406.11794)",
    "`[code](no.md)`": "`[code](no.md)`",
    "```\n[code](no.md)\n```": "```\n[code](no.md)\n```",
    "[tests](../../tests)": "[tests](host/tree/main/tests)",
}.items())
def test_links_are_turned(written, turned):
    relinker = Relinker(host="host")
    assert relinker(written, Path("figures/dclm/table_04.md"), "figures/dclm/table_04") == turned
    assert not relinker.broken


@pytest.mark.parametrize("lost", ["[a](lost.md)", "![a](lost.svg)", "[a](../../../outside.md)", "[`a`](lost.ipynb#b)"])
def test_a_link_that_leads_nowhere_is_remembered(lost):
    relinker = Relinker()
    relinker(lost, Path("figures/dclm/table_04.md"), "figures/dclm/table_04")
    assert len(relinker.broken) == 1


def notebook(folder: Path, *cells: tuple[str, str, list]) -> Path:
    "A notebook of (kind, source, outputs)."
    made = [
        {"cell_type": kind, "id": f"cell-{i}", "metadata": {}, "source": source}
        | ({"outputs": outputs, "execution_count": None} if kind == "code" else {})
        for i, (kind, source, outputs) in enumerate(cells)
    ]
    file = folder / "made.ipynb"
    file.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return file


def shown(file: Path, pictures: Pictures | None = None) -> str:
    return notebook_page(file, lambda text: text, lambda data, kind: (pictures or Pictures()).add(data, kind))


HIDDEN = ("#| default_exp core.x", "#| hide\nsecret()", "#| hide\n#| export\nsecret = 1", "#|hide\nsecret()")

@pytest.mark.parametrize("gone", HIDDEN)
def test_hidden_cells_are_gone(tmp_path, gone):
    page = shown(notebook(tmp_path, ("markdown", "# A", []), ("code", gone, []), ("code", "kept()", [])))
    assert "secret" not in page and "default_exp" not in page and "kept()" in page


def test_directives_are_read_and_taken_off(tmp_path):
    page = shown(notebook(tmp_path, ("code", "#| export\ndef f(): return 1", [])))
    assert "#|" not in page and "def f()" in page and 'class="cell exported"' in page and 'id="cell-cell-0"' in page


@pytest.mark.parametrize("source, folded", {
    "import a": True,
    "from a import b\nimport c": True,
    "import a\nif TYPE_CHECKING:\n    import b": True,
    "import a\na.run()": False,
    "x = 1": False,
    "!ls": False,
    "": False,
}.items())
def test_only_imports_are_folded(source, folded):
    assert only_imports(source) is folded


@pytest.mark.parametrize("lines, outputs, first, folded", [
    (21, ["image/png"], "x = 1", True),
    (20, ["image/png"], "x = 1", False),
    (40, ["text/plain"], "x = 1", False),
    (40, [], "x = 1", False),
    (40, ["image/svg+xml"], "#| export\nx = 1", False),
    (3, ["image/png"], "workflow([])", True),
    (3, ["text/plain"], "workflow([])", False),
])
def test_a_long_way_to_a_picture_is_folded(tmp_path, lines, outputs, first, folded):
    source = "\n".join([first, *["x = 2"] * (lines - 1)])
    page = shown(notebook(tmp_path, ("code", source, [output(**{kind: "aGk="}) for kind in outputs])))
    assert (f"<details><summary>The {lines} lines of code behind this picture</summary>" in page) == folded


def output(**data) -> dict: return {"output_type": "display_data", "metadata": {}, "data": data}


@pytest.mark.parametrize("directive, folded", [
    ("#| code-fold: true\n", True), ("#| code-fold: false\n", False), ("#| export\n", False), ("", False)])
def test_how_a_picture_is_drawn_is_folded_and_the_picture_is_not(tmp_path, directive, folded):
    page = shown(notebook(tmp_path, ("code", directive + "axis.plot(x, y)", [])))
    assert "axis.plot(x, y)" in page and "code-fold" not in page
    assert ("<summary>How this is drawn</summary>" in page) == folded


@pytest.mark.parametrize("source, about", [
    ("#| fig-alt: Three shots: red lines are [keyframes].\ndraw()", "Three shots: red lines are keyframes."),
    ("#| code-fold: true\n#| fig-alt: A bar.\ndraw()", "A bar."),
    ("draw()", "Output of the cell cell 0, made"),
])
def test_a_picture_is_described_in_words(tmp_path, source, about):
    page = shown(notebook(tmp_path, ("code", source, [output(**{"image/png": "aGk="})])))
    assert f"![{about}](" in page and "fig-alt" not in page


def test_every_picture_of_a_notebook_is_described_in_words():
    silent = [
        f"{file.relative_to(ROOT)}, cell {cell['id']}"
        for file in sorted((ROOT / "nbs").rglob("*.ipynb"))
        for cell in json.loads(file.read_text())["cells"]
        if any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {}))
        and not re.search(r"^#\| fig-alt: \S", "".join(cell["source"]), re.M)
    ]
    assert silent == []


def test_a_diagram_with_a_description_is_folded(tmp_path):
    source = "#| fig-alt: Two boxes.\nworkflow([])"
    assert "code behind this picture" in shown(notebook(tmp_path, ("code", source, [output(**{"image/png": "aGk="})])))


@pytest.mark.parametrize("story", ["00_dclm", "01_tradeoffs", "02_svd"])
def test_what_is_not_folded_of_a_story_is_short(story):
    cells = [cell for cell in processed_cells(project_root() / "nbs" / "stories" / f"{story}.ipynb")
             if cell.cell_type == "code" and "code-fold:" not in cell.directives_]
    assert {cell.id: len(cell.source.splitlines()) for cell in cells if len(cell.source.splitlines()) > 30} == {}


@pytest.mark.parametrize("given, part", [
    (output(**{"text/plain": "42"}), "```text\n42\n```"),
    (output(**{"text/plain": "a", "text/markdown": "**b**"}), "\n**b**\n"),
    (output(**{"text/plain": "a", "text/html": "<style>x</style><b></b>"}), '<div class="table-wrapper"><b></b>'),
    (output(**{"text/plain": "a", "image/png": "aGk="}), "![Output of the cell cell 0, made]("),
    ({"output_type": "stream", "name": "stdout", "text": "said ``` so\n"}, "````text\nsaid ``` so\n````"),
])
def test_the_richest_form_of_an_output_is_shown(tmp_path, given, part):
    assert part in shown(notebook(tmp_path, ("code", "run()", [given])))


def test_equal_pictures_share_a_file(tmp_path):
    pictures = Pictures()
    twice = [output(**{"image/png": "aGk="}), output(**{"image/png": "aGk="})]
    shown(notebook(tmp_path, ("code", "draw()", twice)), pictures)
    assert len(pictures.found) == 1


TABLE = "\n".join([
    "|  | Core<br>printed | bits<br>rerun, 3 seeds |",
    "|:--|--:|--:|",
    "| a | 1 | 2 ± 1 |",
    "| b \\| c | 3 |  |",
    "",
    "after | it",
])


def test_only_what_has_values_becomes_a_link():
    anchors = {("a", "bits", "rerun"): "value-1", ("b \\| c", "bits", "rerun"): "value-2"}
    linked = linked_table(TABLE, anchors)
    assert linked.count("<a ") == 1 and '| a | 1 | <a href="#value-1">2 ± 1</a> |' in linked
    assert linked.endswith("after | it") and linked_table(TABLE, {}).count("<a ") == 0


def test_a_film_can_be_stopped(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    page = films_play("![the-films](x.gif)\n\n![the-rest](y.gif)", "The films", tmp_path)
    assert '<video src="x.mp4" controls' in page and 'aria-label="The films"' in page
    assert "![The films](y.gif)" in page


@pytest.mark.parametrize("change, words", [
    ({}, "2 stored runs stand behind its numbers, on seeds 0 and 1. They took 5 minutes in all, by the clock."),
    ({"runs_cpu_seconds": 120.0}, "They took 2 minutes of processor time in all."),
    ({"runs": ["a"], "seeds": [3]}, "1 stored run stands behind its numbers, on seed 3."),
    ({"runs": [], "answers": ["printed"], "seeds": []}, "No training stands behind its numbers."),
    ({"git": {"commit": "a" * 40, "dirty": True}}, "with changes on top"),
    ({"git": {}}, "no commit was recorded"),
    ({"rests_on": {"pool": "c" * 24}}, "**Rests on:** pool `cccccccccccc`."),
])
def test_a_manifest_in_words(change, words):
    manifest = {
        "scale": "laptop", "answers": ["rerun"], "runs": ["a", "b"], "seeds": [0, 1], "runs_seconds": 300.0,
        "git": {"commit": "b" * 40, "dirty": False}, "created": "2026-11-29T09:25:45Z", "seconds": 9.3,
        "host": {"cpu": "Some CPU", "cores": 2}, "versions": {"python": "3.11.7", "torch": "2.13.0", "scipy": "1"},
    }
    said = made_in_words(manifest | change)
    assert words in said and "29 November 2026" in said and "Some CPU, 2 cores" in said


@pytest.mark.parametrize("exhibit", everything("all"), ids=lambda e: f"{e.paper}-{e.id}")
def test_every_exhibit_has_its_page(exhibit):
    page = exhibit_page(exhibit)
    assert page.startswith("# ") and "## Side by side" in page and "## What ran" in page
    has_values = (ROOT / "figures" / exhibit.paper / f"{exhibit.name}.values.csv").is_file()
    assert ("## The runs behind the numbers" in page) == has_values


def test_the_page_of_a_study_has_every_part():
    page = exhibit_page(get_exhibit("table-4"))
    for part in ("## Reading", "## Verdicts", "## What differs from the paper, and why", "## What ran"):
        assert part in page
    assert 'href="#value-' in page
    assert 'table_04_ran.html#cell-table' in page


@pytest.mark.parametrize("own, decides", [("reproduced", "reproduced"), ("not run", "inconclusive")])
def test_the_page_that_a_claim_names_decides_before_others_unless_it_is_silent(own, decides):
    exhibit, other = get_exhibit("table-4"), get_exhibit("table-5")
    verdict = lambda outcome: {"verdicts": [{"claim": "claim-6a", "source": "rerun", "outcome": outcome}]}
    for order in ((exhibit, other), (other, exhibit)):
        said = outcomes_of({e: verdict(own if e is exhibit else "inconclusive") for e in order})
        assert said[exhibit.paper, "claim-6a"]["rerun"]["outcome"] == decides


def test_the_matrix_says_what_the_ledger_says():
    "Of every claim that some page has judged."
    from dclm_nb.exhibits.ledger import ledger
    said = outcomes_of({exhibit: manifest_of(exhibit) for exhibit in everything("all")})
    ours = {(v.claim.paper, v.claim.id, v.source): v.outcome for v in ledger("all")}
    found = {(*claim, source): verdict["outcome"] for claim, of in said.items() for source, verdict in of.items()}
    assert {key: ours[key] for key in found} == found


def test_the_matrix_holds_every_exhibit_and_every_claim():
    tables, found = matrix(), counts()
    assert tables["exhibits"].count('<tr role="row" data-') == len(everything("all"))
    assert tables["claims"].count('<tr role="row" id="') == found["claims"]
    assert found["answers"]["printed"] <= found["exhibits"]


def test_the_sidebar_opens_the_room_of_a_page():
    rooms = all_rooms()
    shown = sidebar(rooms, "figures/dclm/table_04_ran", lambda page: f"{page}.html")
    assert 'href="figures/dclm/table_04.html" aria-current="page"' in shown
    assert "figures/dclm/table_05.html" in shown and "figures/svd/figure_01.html" not in shown
    before, after = neighbours(rooms, "figures/dclm/table_04")
    assert (before.title, after.title) == ("Table 3", "Table 5")


def light(colour: str) -> float:
    "The relative luminance of `#rrggbb`, as WCAG 2 defines it."
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_words_on_colour_can_be_read():
    "Each colour of a chip on its ground, in both themes: a contrast of 4.5 at least."
    css = (ROOT / "nbs/site/assets/site.css").read_text()
    pairs = re.findall(r"--(\w+): (#\w{6}); --\1-back: (#\w{6})", css)
    assert len(pairs) == 12
    for name, front, back in pairs:
        low, high = sorted((light(front), light(back)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_the_walk_finds_what_is_lost(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#part">1</a><a href="b.html#lost">2</a><a href="../out.html">3</a><img src="p.png" alt="">'
        '<script src="https://cdn.example/x.js"></script><a href="https://example.org">4</a>'
    )
    (tmp_path / "b.html").write_text('<p id="part">')
    found = walk(tmp_path)
    assert {address for _, address in found.broken} == {"b.html#lost", "../out.html", "p.png"}
    assert found.wordless == ["a.html"] and found.fetched == {"https://cdn.example/x.js"}
    assert found.away == {"https://cdn.example/x.js", "https://example.org"}


NAMES = {"atomic_write": "nbs/core/06_files.html#cell-a", "UserError": "nbs/core/00_errors.html#cell-b", "main": "x"}


@pytest.mark.parametrize("prose, links", {
    "With `atomic_write` it is whole.": 1,
    "With `atomic_write(path, data)` it is whole; `UserError` says why.": 2,
    "`main` is a word, `other_name` is nobody's.": 0,
    "# About `atomic_write`": 0,
    "# About `atomic_write`\n\nWith `atomic_write` it is whole.\n\n```\nx\n```\n\n`UserError`": 2,
    "[`atomic_write`](06_files.md)": 0,
    '<a href="x">`atomic_write`</a>': 0,
    "```\n`atomic_write`\n```": 0,
    "``a `atomic_write` b``": 0,
}.items())
def test_names_in_prose_become_links(prose, links):
    from dclm_nb.site.names import linked_names
    assert linked_names(prose, "nbs/lm/01_model", NAMES).count('<a class="name"') == links


def test_a_name_leads_to_the_cell_that_defines_it():
    from dclm_nb.site.names import defined_names, linked_names
    names = defined_names(ROOT)
    assert len(names) > 500 and names["atomic_write"].startswith("nbs/core/06_files.html#cell-")
    linked = linked_names("`atomic_write`", "nbs/core/06_files", names)
    assert f'href="#{names["atomic_write"].partition("#")[2]}"' in linked


@pytest.mark.parametrize("holds", ["letter.txt", "index.html", "reproduce/mine.md", "searchindex.js", None])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, holds):
    from dclm_nb.site.build import build_site
    out = tmp_path / "home"
    if holds is None: out.write_text("a file")
    else:
        (out / holds).parent.mkdir(parents=True)
        (out / holds).write_text("mine")
    with pytest.raises(UserError, match="something other than a site"): build_site(out)
    assert (out / holds if holds else out).is_file()
