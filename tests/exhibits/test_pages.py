"""A page for every exhibit: made from the catalogue where nothing is built, in step with it, never counted as more."""
import json
import re

import matplotlib
import nbformat
import pytest

from dclm_nb.exhibits import pages
from dclm_nb.exhibits.offers import read_parameters
from dclm_nb.papers.paper import papers, scales_of
from dclm_nb.papers.catalogue import catalogue, everything, get_exhibit
from dclm_nb.papers.exhibit import GENERATED, Exhibit
from dclm_nb.papers.claims import read_claims
from dclm_nb.exhibits.described import deciders, not_yet, read_stages, recipe_of, stages_frame
from dclm_nb.exhibits.described import test_in_words as in_words
from dclm_nb.exhibits.status import page_kind, standing, summary
from dclm_nb.papers.frames import read_printed

matplotlib.use("Agg")
GENERATED_PAGES = pages.without_notebook()


def run_cells(exhibit, folder):
    """The code cells of a notebook, without a kernel."""
    scope, notebook = {}, nbformat.read(exhibit.notebook, 4)
    for cell in notebook.cells:
        if cell.cell_type != "code": continue
        exec(compile(cell.source, f"{exhibit.name}.ipynb#{cell.id}", "exec"), scope)
        if "parameters" in cell.metadata.get("tags", []): scope["out_dir"] = str(folder)
    return scope["show"]


def test_every_catalogued_exhibit_has_a_page():
    assert len(catalogue()) == 89 and all(e.has_page for e in catalogue())
    kinds = {kind: [e for e in catalogue() if page_kind(e) == kind] for kind in ("study", "replay", "catalogue")}
    assert sum(map(len, kinds.values())) == len(catalogue()) and kinds["catalogue"] == GENERATED_PAGES
    assert all("rerun" in e.answers for e in kinds["study"])


def test_the_pages_are_those_that_the_catalogue_makes():
    assert not pages.out_of_step(), "run dclm-nb pages: " + ", ".join(f"{e.paper} {e.id}" for e in pages.out_of_step())


def test_each_exhibit_without_a_notebook_says_what_it_shows_and_what_it_would_take():
    for e in GENERATED_PAGES:
        assert e.shows and e.takes and not e.shows.endswith(".") and not e.takes.endswith("."), e.id
        assert "would take" in not_yet(e) and (not e.answers.count("rerun") or "rerun" in not_yet(e))


@pytest.mark.parametrize("exhibit", GENERATED_PAGES, ids=lambda e: f"{e.paper} {e.id}")
def test_a_page_from_the_catalogue_runs_and_promises_nothing(exhibit, tmp_path):
    show = run_cells(exhibit, tmp_path)
    manifest = json.loads((tmp_path / f"{exhibit.name}.manifest.json").read_text())
    text = (tmp_path / f"{exhibit.name}.md").read_text()
    assert manifest["status"] == "ok" and not {"replayed", "rerun"} & set(manifest["answers"])
    assert not manifest["runs"] and not len(show.frame)
    notes = {p.note for p in read_printed(exhibit.paper, exhibit.id) if p.note}
    assert all(note in text for note in notes)                              # a value that was read elsewhere says so
    assert exhibit.shows in text and not_yet(exhibit) in text
    assert all(f"**{claim}**" in text for claim in exhibit.claims)
    printed = read_printed(exhibit.paper, exhibit.id) if exhibit.printed_file.is_file() else []
    shown = (tmp_path / f"{exhibit.name}.csv").read_text() if printed else ""
    assert ("printed" in manifest["answers"]) == bool(printed)
    assert shown.count(",printed,") == sum(bool(p.text) for p in printed)


def test_a_page_is_no_notebook_of_its_own(tmp_path):
    for e in GENERATED_PAGES:
        there = standing(e, tmp_path)                                       # no result is stored there
        assert not e.built and there.page == "catalogue"
        assert there.marks["rerun"] in ("○", "") and there.marks["replayed"] in ("○", "")
    said, n = summary([standing(e, tmp_path) for e in GENERATED_PAGES]), len(GENERATED_PAGES)
    assert said.startswith(f"{n} of {n} exhibits have a page ({n} from the catalogue);") and "rerun 0 of" in said


def test_only_what_is_out_of_step_is_written_and_no_own_notebook(tmp_path, monkeypatch):
    """A page that was changed by hand is made again; a notebook of its own stays as it is."""
    monkeypatch.setattr(Exhibit, "notebook", property(lambda self: tmp_path / f"{self.paper}-{self.name}.ipynb"))
    own = get_exhibit("table-4")
    own.notebook.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])))
    before = own.notebook.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(pages, "catalogue", lambda paper="all": (own, *catalogue("svd")))
        assert len(pages.write_pages()) == len(catalogue("svd")) and pages.write_pages() == []
        assert own.notebook.read_bytes() == before
        changed = get_exhibit("figure-3", "svd").notebook
        changed.write_text(changed.read_text().replace("show.table()", "show.table('quality')"))
        assert [e.id for e in pages.out_of_step()] == ["figure-3"] and pages.write_pages() == [changed]


def test_a_page_has_the_form_of_a_committed_notebook():
    for e in GENERATED_PAGES:
        notebook = nbformat.reads(pages.page_notebook(e), 4)
        nbformat.validate(notebook)
        code = [c for c in notebook.cells if c.cell_type == "code"]
        assert notebook.cells[0].id == GENERATED and sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
        assert not any(c.outputs or c.execution_count for c in code) and 7 <= len(notebook.cells) <= 10
        assert bool(e.claims) == any(c.id == "verdicts" for c in code)


def test_every_test_of_every_claim_can_be_said():
    for claim in read_claims():
        for test in claim.tests:
            said = in_words(test)
            assert said and all(row in said for pair in test.pairs for row in pair), claim.id
    words = {(c.paper, c.id): [in_words(t) for t in c.tests] for c in read_claims()}
    assert words["dclm", "claim-3"] == ["Core: resiliparse and trafilatura above WET files each by more than 2.5"]
    others = "CogVideo (ZH), CogVideo (EN), Make-A-Video, Video LDM, MagicVideo and PYOCO"
    assert words["svd", "claim-13"][0].endswith(f"SVD (ours) below {others}")
    assert words["dclm", "claim-13"][0] == "Core: Bloom filter within 0.5 of exact + MinHash + suffix array"
    assert deciders(get_exhibit("table-25")).count("(Table 7)") == 1


def test_the_papers_trainings_are_those_of_the_text(shared):
    import csv
    with open(shared / "papers/svd/values/training_stages.csv", newline="") as file: rows = list(csv.DictReader(file))
    theirs = {row.pop("stage"): row for row in rows}
    ours = read_stages("svd")
    assert list(ours) == list(theirs)
    for name, row in ours.items():
        assert {k: v for k, v in row.items() if k != "extra"} == {k: theirs[name][k] for k in row if k != "extra"}


def test_an_exhibit_with_trainings_can_have_a_recipe():
    for e in catalogue():
        if e.stages or e.paper_runs: assert "recipe" in e.answers, e.id
        if e.stages: assert len(stages_frame(e)) == len(e.stages)
        assert isinstance(recipe_of(e), str) == (not e.stages and not e.paper_runs)
    frame = stages_frame(get_exhibit("table-2", "svd"))
    assert frame.loc["video pretrain a", "samples"] == f"{150_000 * 1536:,}"
    assert frame.loc["image edm switch", "batch"] == ""


def test_all_papers_are_covered(): assert {e.paper for e in catalogue()} == set(papers())


def test_stored_pages_from_the_catalogue_change_no_verdict_and_no_answer(tmp_path):
    from dclm_nb.exhibits.ledger import ledger
    before = [(v.claim.id, v.source, v.outcome) for v in ledger("svd", tmp_path)]
    marks = {e.id: standing(e, tmp_path).marks for e in catalogue("svd")}
    for name in ("table-2", "figure-3", "figure-10", "figure-16"):
        exhibit = get_exhibit(name, "svd")
        run_cells(exhibit, tmp_path / "reproduce" / "_out" / "svd" / exhibit.name / "replay")
    assert [(v.claim.id, v.source, v.outcome) for v in ledger("svd", tmp_path)] == before
    assert {e.id: standing(e, tmp_path).marks for e in catalogue("svd")} == marks


@pytest.mark.parametrize("exhibit", everything(), ids=lambda e: f"{e.paper} {e.id}")
def test_a_notebook_says_the_scales_that_the_catalogue_offers(exhibit):
    said = read_parameters(exhibit.notebook)["scale"]
    named = {word for word in re.findall(r"[\w+-]+", said) if word in scales_of(exhibit.paper)}
    assert named == set(exhibit.scales), said
