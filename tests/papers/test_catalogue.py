"""The catalogue: complete, consistent with its files, forgiving about names."""
import csv
from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import _exhibit, catalogue, everything, exhibit_id, extras, get_exhibit
from dclm_nb.papers.exhibit import ANSWERS
from dclm_nb.papers.exhibit import is_generated
from dclm_nb.papers.frames import printed_number, read_printed
from dclm_nb.papers.paper import papers


def test_every_exhibit_of_the_three_papers_is_there():
    ids = {p: {e.id for e in catalogue(p)} for p in papers()}
    assert ids["dclm"] == {f"table-{n}" for n in range(1, 35)} | {f"figure-{n}" for n in range(1, 13)}
    assert ids["svd"] == {"table-1", "table-2"} | {f"figure-{n}" for n in range(1, 27) if n != 9}
    assert ids["tradeoffs"] == {f"figure-{c}" for c in "abcdefghij"} | {f"table-{c}" for c in "abcdef"}


def test_our_own_slots_say_so_and_print_nothing():
    for e in catalogue("tradeoffs"):
        assert e.paper_ref is None and "our numbering" in e.label
        assert "printed" not in e.answers and not e.printed_file.exists()
    assert all(e.paper_ref for p in ("dclm", "svd") for e in catalogue(p))


def test_each_printed_file_belongs_to_an_exhibit_that_can_have_it():
    for paper in papers():
        files = {e.printed_file.name for e in catalogue(paper) if "printed" in e.answers}
        assert {f.name for f in (project_root() / "reproduce" / paper / "printed").glob("*.csv")} == (
            files if files else set()
        )


@pytest.mark.parametrize("paper", ["dclm", "svd"])
def test_printed_cells_are_unique_and_named(paper):
    for e in catalogue(paper):
        cells = [(p.row, p.column) for p in read_printed(paper, e.id)] if e.printed_file.exists() else []
        assert len(cells) == len(set(cells)) and all(r and c for r, c in cells), e.id


# columns of ticks, which our rows spell out
MARKS = ("exact_dedup", "minhash", "suffix_array", "bloom_filter")


def cells_of_reference(file: Path) -> list[str]:
    """Every cell of a reference table, numbers and names of rows alike."""
    with open(file, newline="", encoding="utf-8") as lines: rows = list(csv.DictReader(lines))
    return [value for row in rows for column, value in row.items() if value and column not in ("source", *MARKS)]


def test_no_printed_value_of_the_reference_data_is_absent(shared):
    """Every value of the reference tables stands in the printed file of its exhibit, as a value or in a row's name."""
    for paper in ("dclm", "svd"):
        for e in catalogue(paper):
            file = shared / "papers" / paper / "values" / f"{e.name}.csv"
            if e.kind != "table": continue
            ours = read_printed(paper, e.id)
            words = {p.text for p in ours} | {w for p in ours for w in (p.row, p.column, p.note, *p.row.split(" / "))}
            lost = [v for v in cells_of_reference(file) if v not in words and not any(v in w for w in words)]
            assert not lost, (paper, e.id, lost[:5])


def test_what_is_printed_adds_up_to_the_inventory():
    """Printed values: of all 34 tables and 6 of 12 figures of DataComp-LM, of 2 tables and 6 of 25 figures of the video
    paper."""
    has = {p: [e.id for e in catalogue(p) if e.printed_file.is_file()] for p in papers()}
    assert [i for i in has["dclm"] if i.startswith("figure")] == [f"figure-{n}" for n in (1, 3, 4, 7, 8, 9)]
    assert len(has["dclm"]) == 34 + 6
    assert has["svd"] == ["table-1", "table-2", *(f"figure-{n}" for n in ("2", "3", "4", "6", "10", "18"))]
    assert has["tradeoffs"] == []
    for paper, ids in has.items(): assert ids == [e.id for e in catalogue(paper) if "printed" in e.answers]
    blank = [
        (p.row, p.column) for p in read_printed("svd", "figure-2") + read_printed("svd", "figure-10") if not p.text
    ]
    # a curve and a histogram that are only in images
    assert len(blank) == 2


def test_printed_values_are_those_of_the_reference_data(shared):
    """Every number of our printed files occurs in the reference file of the same exhibit, and as often."""
    for n in range(1, 35):
        with open(shared / "papers" / "dclm" / "values" / f"table_{n:02d}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        theirs = sorted(
            v for r in rows for k, v in r.items() if k != "source" and printed_number(v)[0] == printed_number(v)[0]
        )
        ours = [p.text for p in read_printed("dclm", f"table-{n}") if p.value == p.value]
        assert not [v for v in ours if v not in theirs], n
    table_4 = {(p.row, p.column): p.value for p in read_printed("dclm", "table-4")}
    with open(shared / "papers" / "dclm" / "values" / "table_04.csv", newline="") as file:
        for r in csv.DictReader(file):
            assert (table_4[r["filter"], "core"], table_4[r["filter"], "extended"]) == (
                float(r["core"]),
                float(r["extended"]),
            )


def test_built_is_looked_up_and_never_written():
    for paper in papers():
        entries = yaml.safe_load((project_root() / "reproduce" / paper / "exhibits.yaml").read_text())
        assert not any("built" in e for e in entries.values())
        assert all(set(e["answers"]) <= set(ANSWERS) for e in entries.values())
    for e in catalogue("all"):
        assert e.has_page == e.notebook.is_file() and e.built == (e.has_page and not is_generated(e.notebook))


def test_a_file_that_is_no_notebook_is_not_said_to_be_generated(tmp_path):
    for text in ("", "{", "{}", '{"cells": []}', '{"cells": [{"id": "title"}]}'):
        (tmp_path / "x.ipynb").write_text(text)
        assert not is_generated(tmp_path / "x.ipynb")
    assert not is_generated(tmp_path / "absent.ipynb")


def test_where_the_paper_has_it():
    assert [get_exhibit(n, "svd").place for n in ("table-1", "figure-1", "figure-12")] == [
        "Section 3.1",
        "Page 1",
        "App. C",
    ]
    assert get_exhibit("table-4").place == ""


def test_extras_are_exhibits_of_ours_beside_the_papers():
    """They are found by name, have files of their own, and are in no list of the papers' exhibits."""
    assert not {e.id for e in extras("all")} & {e.id for e in catalogue("all")} and len(catalogue("all")) == 89
    assert everything("dclm") == (*catalogue("dclm"), *extras("dclm")) and len(everything("all")) == 89 + len(
        extras("all")
    )
    for e in extras("all"):
        assert e.is_extra and e.paper_ref is None and "ours" in e.label and "our numbering" not in e.label
        assert e.notebook.name == f"{e.id.replace('-', '_')}.ipynb" and "printed" not in e.answers
    assert not any(e.is_extra for e in catalogue("all"))


@pytest.mark.parametrize("name", ["extra-run-noise", "extra_run_noise", "Extra run noise", " EXTRA Run_Noise "])
def test_an_extra_is_found_by_any_usual_spelling(name): assert get_exhibit(name, "dclm").id == "extra-run-noise"


def test_an_extra_must_look_like_one_and_so_must_an_exhibit():
    entry = {"title": "x", "answers": ["replayed"]}
    for id, pattern in [("table-4", r"extra-[a-z]+"), ("extra-run-noise", r"(table|figure)-(\d+|[a-z])")]:
        with pytest.raises(UserError, match="is not of the form"): _exhibit("dclm", id, entry, pattern)


@given(
    st.sampled_from(["table", "Table", "tab", "T", "tbl", "TABLE"]),
    st.sampled_from(["-", "_", " ", "", ". ", "-0", "_00"]),
    st.integers(1, 34),
)
def test_tables_are_found_by_any_usual_spelling(word, between, number):
    assert get_exhibit(f"{word}{between}{number}", "dclm").id == f"table-{number}"


@given(st.text(max_size=30))
def test_any_other_name_is_one_line(name):
    if exhibit_id(name) in {e.id for e in everything("dclm")}: return
    with pytest.raises(UserError) as error: get_exhibit(name, "dclm")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entry, line", [
    ({"answers": ["rerun"]}, "it has no title"), ({"title": "x"}, "it has no answers"), (None, "it has no fields"),
    ({"title": "x", "answers": ["recepie"]}, "unknown answer 'recepie'; there are: printed"),
    ({"title": "x", "answers": ["recipe"], "colour": 1}, "unknown field 'colour'; there are: answers")])
def test_a_typing_error_in_the_catalogue_is_one_line(entry, line):
    with pytest.raises(UserError, match=line) as error: _exhibit("dclm", "table-99", entry)
    assert "exhibit table-99" in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_id_is_one_line():
    with pytest.raises(UserError, match="not of the form"): _exhibit("dclm", "tabel 9", {"title": "x", "answers": []})


@pytest.mark.parametrize("name, paper, said", [
    ("figure-b", "dclm", "dclm has no figure-b; tradeoffs has one: --paper tradeoffs (make: PAPER=tradeoffs)"),
    ("Table 1", "tradeoffs", "tradeoffs has no table-1; dclm and svd have one: --paper dclm (make: PAPER=dclm)"),
    ("extra-filters", "dclm", "dclm has no extra-filters; svd has one: --paper svd (make: PAPER=svd)"),
    ("figure-9", "svd", "part of figure-10; dclm has one: --paper dclm (make: PAPER=dclm)")])
def test_the_papers_that_have_an_exhibit_are_named(name, paper, said):
    with pytest.raises(UserError) as error: get_exhibit(name, paper)
    assert str(error.value).endswith(said)


@pytest.mark.parametrize("name, rests", [("claim-3", "; claim-3 of dclm rests on table-3"), ("Claim 999", ""),
                                         ("claims", "")])
def test_who_asks_for_a_claim_is_sent_to_the_claims(name, rests):
    with pytest.raises(UserError) as error: get_exhibit(name, "dclm")
    assert str(error.value) == (f"{name!r} is no table or figure: dclm-nb claims --paper dclm shows all claims and "
                                f"their verdicts (make claims PAPER=dclm){rests}")
