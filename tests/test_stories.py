"The stories: what a student finds in each of them, and that it calls the library instead of copying it."
import json
import re
from pathlib import Path

import pytest

from dclm_nb.core.paths import project_root

STORIES = sorted((project_root() / "nbs" / "stories").glob("*.ipynb"))
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
HEADINGS = ("## The whole way", "## What this page cannot show", "## Summary", "## Exercises", "## Answers")
LARGEST = 350_000                                   # bytes of a story with its outputs


def cells(story: Path, kind: str) -> list[str]:
    "The sources of a story's cells of one kind."
    found = json.loads(story.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def text(story: Path) -> str:
    return "\n".join(cells(story, "markdown"))


def numbered(part: str) -> list[str]:
    "The numbers of the points in a text, whether they are a list or begin in bold."
    return re.findall(r"^\**(\d)\.", part, flags=re.MULTILINE)


def test_every_paper_has_a_story():
    assert [story.stem.split("_", 1)[1] for story in STORIES] == ["dclm", "tradeoffs", "svd"]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
class TestStory:
    def test_it_has_all_its_parts_in_order(self, story):
        places = [text(story).find(heading) for heading in HEADINGS]
        assert -1 not in places and places == sorted(places)

    def test_it_has_five_exercises_and_an_answer_to_each(self, story):
        exercises, answers = text(story).split("## Exercises")[1].split("## Answers")
        assert numbered(exercises) == numbered(answers) == list("12345")

    def test_it_exports_nothing(self, story):
        exports = re.compile(r"^#\|\s*(export|default_exp)", re.MULTILINE)
        assert not [source for source in cells(story, "code") if exports.search(source)]

    def test_its_links_lead_somewhere(self, story):
        links = [link for link in LINK.findall(text(story)) if not link.startswith("http")]
        assert links and not [link for link in links if not (story.parent / link).exists()]

    def test_it_ran_and_is_small(self, story):
        ran = [cell for cell in json.loads(story.read_text(encoding="utf-8"))["cells"] if cell.get("outputs")]
        assert ran and story.stat().st_size < LARGEST
