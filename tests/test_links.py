"Every relative link of the checkout leads to a file, and its part to a heading: pages, notebooks and what they showed."
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.site.places import turned_links

ROOT = project_root()
FOLDERS = ("nbs", "figures", "reproduce")
READ = [*sorted(ROOT.glob("*.md")), *(file for folder in FOLDERS for end in ("md", "ipynb")
                                      for file in sorted((ROOT / folder).rglob(f"*.{end}")))]
READ = [file for file in READ if not {"_out", "assets"} & set(file.parts)]         # assets: written for the site


def texts(file: Path) -> list[str]:
    "The Markdown of a file; of a notebook its cells, and what they showed as Markdown."
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md": return [text]
    cells = json.loads(text)["cells"]
    shown = ["".join(output.get("data", {}).get("text/markdown", ""))
             for cell in cells for output in cell.get("outputs", [])]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"] + shown


def links(text: str) -> list[str]:
    "Where the links of a text lead; what looks like one in code is none."
    found: list[str] = []

    def seen(link: re.Match) -> str:
        found.append(link["to"])
        turned_links(link["text"], seen)                            # a picture that is a link
        return link[0]

    turned_links(text, seen)
    return found + re.findall(r'<(?:img|video|a)\b[^>]*?\s(?:src|href)="([^"]+)"', text)


def slug(heading: str) -> str: return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def parts(file: Path) -> frozenset[str]:
    "The parts of a page or a notebook that a link may name: its headings, as GitHub and the site write them."
    text = re.sub(r"^```.*?^```", "", "\n\n".join(texts(file)), flags=re.M | re.S)
    plain = lambda heading: re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return frozenset(slug(plain(heading)) for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.M))


def astray(file: Path) -> Iterator[str]:
    "The relative links of a file that lead nowhere."
    for text in texts(file):
        for to in links(text):
            path, _, part = unquote(to).partition("#")
            if re.match(r"[a-z]+:|//", to): continue
            target = Path(os.path.normpath(file.parent / path)) if path else file
            if not target.exists() or not target.is_relative_to(ROOT): yield to
            elif part and target.suffix in (".md", ".ipynb"):
                if slug(part.replace("-", " ")) not in parts(target): yield to


@pytest.mark.parametrize("file", READ, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_and_every_anchor_leads_somewhere(file):
    assert not list(astray(file))


@pytest.mark.parametrize("link, leads", {
    "[a](b.md)": True,
    "[a](b.md#the-first-part)": True,
    "[a](b.ipynb#The-second-part)": True,
    "[a](#here)": True,
    "[a](https://example.org/x#y)": True,
    "`[a](lost.md)`": True,
    "[a](lost.md)": False,
    "[a](b.md#lost)": False,
    "[a](b.ipynb#lost)": False,
    "[a](#lost)": False,
    "![a](lost.png)": False,
    "[![a](lost.png)](b.md)": False,
    "[a](b.ipynb#not-a-heading)": False,
    '<video src="lost.mp4"></video>': False,
}.items())
def test_the_walk_finds_what_is_lost(tmp_path, monkeypatch, link, leads):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    cells = [{"cell_type": "markdown", "source": "## The `second` part"},
             {"cell_type": "code", "source": "## not a heading", "outputs": []}]
    (tmp_path / "b.md").write_text("# The first part")
    (tmp_path / "b.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "a.md").write_text(f"# Here\n\n{link}\n")
    assert (not list(astray(tmp_path / "a.md"))) == leads


SOUGHT = ("figures/dclm/table_12.md", "nbs/lm/09_aggregate.ipynb", "nbs/curation/22_pipeline.ipynb",
          "nbs/image/16_checkpoints.ipynb", "figures/svd/extra_filters.md", "nbs/video/15_filters.ipynb")


def test_what_a_newcomer_asks_for_is_two_clicks_from_the_readme():
    "A table, the cell that computes Core, curation of text, the image model, and what the filters of films catch."
    found = now = {ROOT / "README.md"}
    for _ in range(2):
        ends = {file.parent / to.partition("#")[0] for file in now for text in texts(file) for to in links(text)}
        now = {file for end in ends if (file := Path(os.path.normpath(end))).suffix in (".md", ".ipynb")} - found
        now = {file for file in now if file.is_file()}
        found = found | now
    assert not [place for place in SOUGHT if ROOT / place not in found]
