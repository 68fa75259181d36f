"The site as it is built, and as a real browser shows it."
import os
import re
import sys
from pathlib import Path

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import everything

pytest.importorskip("sphinx", reason="the site needs its requirements: pip install -e '.[docs]'")
pytest.importorskip("furo", reason="the site needs its requirements: pip install -e '.[docs]'")
ROOT = project_root()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    "The built site: the one that `DCLM_NB_SITE` names, as CI has just made it, or a new one."
    if found := os.environ.get("DCLM_NB_SITE"): return Path(found)
    from dclm_nb.site.build import build_site
    return build_site(tmp_path_factory.mktemp("built") / "site").folder


@pytest.fixture(scope="module")
def found(site):
    from dclm_nb.site.links import walk
    return walk(site)


def test_every_relative_link_leads_somewhere(found):
    assert found.links > 10_000 and not found.broken


def test_no_page_asks_the_network_and_every_picture_has_words(found):
    assert not found.fetched and not found.wordless


def test_every_notebook_and_every_exhibit_has_a_page(site):
    from dclm_nb.site.places import page_of
    notebooks = [f.relative_to(ROOT) for folder in ("nbs", "figures") for f in (ROOT / folder).rglob("*.ipynb")]
    assert not [file for file in notebooks if not (site / f"{page_of(file)}.html").is_file()]
    assert not [e.id for e in everything("all") if not (site / "figures" / e.paper / f"{e.name}.html").is_file()]


def test_directives_and_hidden_cells_are_nowhere(site):
    "In code; prose may speak of them."
    code = re.compile(r'<div class="highlight-python[^"]*">.*?</pre>', re.S)
    directive = re.compile(r'<span class="c1">#\| *(export|hide|default_exp)')
    for file in (site / "nbs").rglob("*.html"):
        assert not [c for c in code.findall(file.read_text(encoding="utf-8")) if directive.search(c)], file


def test_formulas_are_drawn_without_a_network(site):
    page = (site / "nbs/image/09_flow.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 5 and not re.search("<script[^>]*mathjax", page, re.I)


def test_the_site_is_small(site):
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 50e6


CORE = "nbs/lm/09_aggregate.html#cell-core-score"
SOUGHT = {
    "a table": "figures/dclm/table_12.html",
    "the cell that computes Core": CORE,
    "how to curate an archive": "readme.html#your-own-crawl",
    "how to draw from the image model": "readme.html#drawing-from-a-small-image-model",
    "what the video filters catch": "figures/svd/extra_filters.html",
}


def clicks(site: Path, start: str, most: int) -> dict[str, int]:
    "How many links of texts, not of the sidebar, lead from a page to each address."
    found, now = {start: 0}, [start]
    for count in range(1, most + 1):
        pages, now = dict.fromkeys(address.partition("#")[0] for address in now), []
        for page in pages:
            text = (site / page).read_text(encoding="utf-8")
            text = text[text.index("<article"):text.index("</article>")]
            for address in re.findall(r'<a [^>]*?href="([^":]+)"', text):
                path, _, part = address.partition("#")
                to = os.path.normpath(Path(page).parent / path) if path else page
                if to.endswith(".html"): now += [to, f"{to}#{part}"]
        now = [address for address in dict.fromkeys(now) if address not in found]
        found |= dict.fromkeys(now, count)
    return found


@pytest.mark.parametrize("start, most", [("index.html", 1), ("readme.html", 2)])
def test_what_a_newcomer_asks_for_is_near(site, start, most):
    found = clicks(site, start, most)
    assert not {what for what, address in SOUGHT.items() if address not in found}


def test_pictures_are_small_and_say_how_large_they_are(site):
    from PIL import Image
    kinds = [file.suffix for file in (site / "_images").iterdir()]
    assert kinds.count(".png") < 10 and kinds.count(".gif") == 0 and kinds.count(".webp") > 100
    page = (site / "nbs/image/09_flow.html").read_text(encoding="utf-8")
    for name, width, height in re.findall(r'<img [^>]*_images/([^"]+)" width="(\d+)" height="(\d+)"', page):
        assert Image.open(site / "_images" / name).size == (int(width), int(height))


WIDTHS = {"phone": 390, "tablet": 820, "desk": 1400}
PAGES = (
    "index.html",
    "readme.html",
    "nbs/image/09_flow.html",
    "figures/dclm/table_04.html",
    "figures/dclm/table_04_ran.html",
    "figures/svd/figure_01.html",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    "A browser; without one the test is left out and says so."
    sys.path.insert(0, str(Path(__file__).parent))
    from browser import Browser, installed
    if not installed(): pytest.skip("no browser: the site is not looked at (apt-get install chromium)")
    pytest.importorskip("websocket", reason="no websocket-client: the site is not looked at (pip install -e '.[docs]')")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_pages_fit_their_window_and_the_console_is_silent(site, browser, tmp_path_factory, width):
    shots = tmp_path_factory.getbasetemp() / "screenshots"
    shots.mkdir(exist_ok=True)
    for page in PAGES:
        browser.open((site / page).as_uri(), width)
        assert browser.run("document.documentElement.scrollWidth") <= width, page
        browser.picture(shots / f"{page.replace('/', '_')}_{width}.png")
    said, browser.said[:] = list(browser.said), []
    assert not said
    print(f"screenshots: {shots}")


@pytest.mark.parametrize("page", ["figures/tradeoffs/figure_a.html", "nbs/stories/00_dclm.html", "readme.html"])
def test_a_figure_can_be_read_on_a_phone(site, browser, page):
    "It is as wide as its words need, moves in a box of its own, and opens by itself."
    browser.open((site / page).as_uri(), 390)
    first = "[...document.querySelectorAll('article a.picture img')].find(img => img.getAttribute('width') > 640)"
    browser.wait_for(f"{first}.getBoundingClientRect().width >= 600")
    assert browser.run(f"{first}.closest('p').getBoundingClientRect().width") <= 390
    assert browser.run(f"{first}.closest('a').href") == browser.run(f"{first}.src")
    assert browser.run("document.documentElement.scrollWidth") <= 390 and not browser.said


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_buttons_of_the_head_do_not_overlap(site, browser, width):
    browser.open((site / "index.html").as_uri(), width)
    edges = """(() => [...document.querySelectorAll('.header-right > *')].map(e => e.getBoundingClientRect())
               .filter(box => box.width).map(box => [box.left, box.right]))()"""
    boxes = sorted(browser.run(edges))
    assert all(right + 4 <= left for (_, right), (left, _) in zip(boxes, boxes[1:]))


VISIBLE = "[...document.querySelectorAll('#{}  tbody tr')].filter(row => !row.hidden).length"
CHOOSE = """(() => {{ const form = document.querySelector('form.filters'); form.elements['{}'].value = '{}';
            form.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"""


def test_the_matrix_is_filtered_and_sorted(site, browser):
    rows = lambda table: browser.run(VISIBLE.format(table))
    browser.open((site / "index.html").as_uri(), 1400)
    assert rows("exhibit-matrix") == len(everything("all"))
    browser.run(CHOOSE.format("paper", "svd"))
    assert rows("exhibit-matrix") == len(everything("svd"))
    browser.run(CHOOSE.format("verdict", "not reproduced"))
    few = rows("claim-matrix")
    browser.run(CHOOSE.format("words", "no such words"))
    assert rows("exhibit-matrix") == 0 and "0 of" in browser.run("document.querySelector('.count').textContent")
    browser.run("document.querySelector('form.filters').reset()")
    browser.wait_for(f"{VISIBLE.format('exhibit-matrix')} == {len(everything('all'))}")
    assert few < rows("claim-matrix")
    first = "document.querySelector('#claim-matrix tbody tr').cells[5].textContent"
    for order in ("ascending", "descending"):
        browser.run("document.querySelectorAll('#claim-matrix thead button')[5].click()")
        head = "document.querySelectorAll('#claim-matrix thead th')[5].getAttribute('aria-sort')"
        assert browser.run(head) == order
        assert ("reproduced" in browser.run(first)) == (order == "ascending")
    assert not browser.said


def test_a_number_leads_to_its_run(site, browser):
    browser.open((site / "figures/dclm/table_04.html").as_uri(), 1400)
    browser.run("document.querySelector('a[href^=\"#value-\"]').click()")
    browser.wait_for("document.querySelector('details.behind').open")
    assert browser.run("document.querySelector('tbody:target code').textContent").strip()
    browser.wait_for("document.querySelector('tbody:target').getBoundingClientRect().top < 900")


def test_films_play(site, browser):
    browser.open((site / "figures/svd/figure_01.html").as_uri(), 1400)
    browser.wait_for("document.querySelector('video').readyState >= 2")
    browser.wait_for("document.querySelector('video').currentTime > 0")
    assert not browser.said


def test_search_works_without_a_server(site, browser):
    browser.open((site / "search.html").as_uri() + "?q=perplexity+filtering", 820)
    browser.wait_for("document.querySelectorAll('#search-results li').length > 3")
    assert not browser.said


def test_the_tables_are_there_without_javascript(site):
    "What a screen reader and a reader without scripts get: real tables with heads and captions, no idle filters."
    page = (site / "index.html").read_text(encoding="utf-8")
    assert page.count("<caption>") == 2 and page.count('scope="row"') == page.count('role="rowheader"')
    assert '<form class="filters" role="search" aria-label="Filter the tables" hidden>' in page
    assert page.count("<h1>") == 1
