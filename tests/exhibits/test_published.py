"""What a visitor of a git host sees: pages complete by themselves, links that lead somewhere, an index in step with the
manifests."""

import json
import re

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.paper import get_scale, papers
from dclm_nb.exhibits.published import (
    gallery, index_of_papers, library_behind, page_markdown, published_notebook, rebased,
)
from dclm_nb.exhibits.render import Comparison
from dclm_nb.exhibits.showcase import Sections, Showcase
from dclm_nb.papers.frames import tidy

FIGURES = project_root() / "figures"
PAGES = sorted(FIGURES.rglob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)\)|(?:src|href)=\"(?!https?:)([^\"#]+)\"")


def links(page):
    return [one or other for one, other in LINK.findall(page.read_text(encoding="utf-8"))]


def shown(tmp_path, order):
    frame = tidy([dict(row=r, column="core", value=v) for r, v in (("resiliparse", 24.1), ("WET files", 20.7))],
                 paper="dclm", exhibit="table-3", source="replayed")
    show = Showcase("dclm", "table-3", scale="replay", out_dir=tmp_path).add(frame)
    for name in order: getattr(show, name)()
    show.save()
    return (tmp_path / "table_03.md").read_text(encoding="utf-8")


def test_a_page_has_the_notebook_s_beginning_its_figures_and_its_reading(tmp_path):
    page = shown(tmp_path, ["table", "figure", "verdicts", "figure"])
    places = [
        page.index(part)
        for part in (
            "# Table 3",
            "## Side by side",
            "(table_03.svg)",
            "## Reading",
            "## Verdicts",
            "(table_03_2.svg)",
            "## How this was made",
        )
    ]
    assert places == sorted(places) and (tmp_path / "table_03_2.svg").is_file()


def test_what_is_shown_first_comes_first(tmp_path):
    page = shown(tmp_path, ["figure", "table"])
    assert page.index("(table_03.svg)") < page.index("## Side by side") < page.index("## Reading")


def test_an_exhibit_without_a_notebook_has_a_page_with_its_title():
    class Bare:
        exhibit, scale = get_exhibit("figure-3", "svd"), get_scale("replay")
        sections = Sections("figure_03")
        frame = ()
        answers = Comparison(get_exhibit("figure-3", "svd"), (), (), {})
        runs, peak_mb = set(), 300.0
    page = page_markdown(Bare())
    assert page.startswith("# Figure 3: ") or Bare.exhibit.built
    assert "arXiv 2311.15127" in page and "memory" not in page
    Bare.runs = {"abc"}
    assert page_markdown(Bare()) == page[:-1] + "\n- Peak memory: 0.3 GB in the largest process.\n"


def test_a_smoke_run_says_that_it_means_nothing_and_does_not_read_other_numbers():
    class Smoke:
        exhibit, scale = get_exhibit("table-4"), get_scale("smoke")
        sections, frame, runs, peak_mb = Sections("table_04"), (), (), 0.0
        answers = Comparison(get_exhibit("table-4"), (), (), {})
        runs = set()
    page, Smoke.scale = page_markdown(Smoke()), get_scale("laptop")
    assert "Its numbers mean nothing" in page and "## Reading" not in page
    assert "mean nothing" not in page_markdown(Smoke()) and "## Reading" in page_markdown(Smoke())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(FIGURES).as_posix())
def test_every_link_of_a_published_page_leads_somewhere(page):
    missing = [link for link in links(page) if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to what is not there: {missing}"


@pytest.mark.parametrize("paper", [name for name in papers() if (FIGURES / name).is_dir()])
def test_the_index_is_in_step_with_the_manifests(paper):
    assert (FIGURES / paper / "README.md").read_text(encoding="utf-8") == gallery(paper), (
        "run make bless, or write_galleries()"
    )
    assert (FIGURES / "README.md").read_text(encoding="utf-8") == index_of_papers()


def test_a_published_notebook_names_no_machine_and_keeps_what_was_computed(tmp_path):
    cell = {
        "id": "save",
        "cell_type": "code",
        "execution_count": 1,
        "source": ["show.save()"],
        "metadata": {"papermill": {"start_time": "2026-11-29"}, "execution": {"iopub": "2026"}},
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["0.115\n"]},
            {"output_type": "stream", "name": "stderr", "text": ["warning: /home/somebody"]},
            {
                "output_type": "execute_result",
                "execution_count": 1,
                "metadata": {},
                "data": {"image/png": "aGk=", "text/plain": "<Figure>"},
            },
        ],
    }
    ran = tmp_path / "ran.ipynb"
    ran.write_text(
        json.dumps({"cells": [cell], "metadata": {"papermill": {"input_path": "/home/somebody"}}}), encoding="utf-8"
    )
    text = published_notebook(ran)
    assert "somebody" not in text and "2026" not in text and "0.115" in text and "aGk=" in text


def test_links_of_a_page_are_turned_to_where_they_lead(tmp_path):
    here, base = tmp_path / "reproduce" / "_out" / "x", tmp_path / "reproduce" / "_out"
    assert (
        rebased("[n](../../reproduce/dclm/n.ipynb), ![f](f.svg), [s](#head)", here, base, tmp_path)
        == "[n](../dclm/n.ipynb), ![f](x/f.svg), [s](#head)"
    )


def test_the_studies_behind_a_study_are_behind_its_page():
    behind = {path.name for path in library_behind(get_exhibit("figure-b", "tradeoffs").notebook)}
    assert {"03_compute_grid.ipynb", "02_tuning.ipynb", "01_runs.ipynb"} <= behind
