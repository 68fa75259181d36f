"""The README: what is counted in it is current, its commands exist, its links lead somewhere, its lines fit a page."""
import ast
import inspect
import json
import re
import shlex
from functools import cache

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.exhibits.at_a_glance import badges
from dclm_nb.exhibits.offers import settle_scale
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.contrasts import VERDICTS
from dclm_nb.papers.exhibit import ANSWERS
from dclm_nb.papers.paper import get_scale
from dclm_nb.papers.scale import DIAL

ROOT = project_root()
SOURCE = json.loads((ROOT / "nbs/index.ipynb").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
COUNTED = [cell for cell in SOURCE["cells"] if "hide-input" in cell["metadata"].get("tags", [])]
COMMANDS = [line.split("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
            for line in block.replace("\\\n", "").splitlines() if line.strip()]
COMMANDS += re.findall(r"`((?:make|dclm-nb)(?: [^`]+)?)`", README)


@pytest.mark.parametrize("cell", COUNTED, ids=lambda cell: cell["id"])
def test_what_is_counted_is_what_its_cell_says_today(cell):
    *before, last = "".join(cell["source"]).strip().split("\n", 1)
    names: dict = {}
    exec("\n".join(before), names)
    now = eval(last.strip(), names).markdown
    [shown] = ["".join(output["data"]["text/markdown"]) for output in cell["outputs"]]
    assert now.strip() == shown.strip(), "run nbs/index.ipynb again, then make readme"
    assert now.strip().replace("](../", "](") in README


def test_there_is_something_counted(): assert len(COUNTED) >= 3


def test_the_badges_are_what_the_settings_and_the_results_say():
    for name, svg in badges().items():
        assert (ROOT / "nbs/badges" / name).read_text(encoding="utf-8") == svg, "run nbs/exhibits/18_at_a_glance.ipynb"
        assert f"(nbs/badges/{name})" in README


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w%-]*):", (ROOT / "Makefile").read_text(), re.M))


def options_of(words: list[str]) -> None:
    "Go down the commands of `dclm-nb` by `words`, and find each option that is named."
    import typer
    from dclm_nb.cli import app
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}): command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    assert not {word for word in words if word.startswith("--") and word != "--help"} - known, words
    assert not hasattr(command, "commands") or not words or words[0].startswith("-"), words


def names_of(program: str) -> None:
    "Import what a program imports, and find each name that it calls."
    tree, known = ast.parse(program), {}
    exec("\n".join(ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)), known)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call): inspect.signature(known[call.func.id]).bind(*call.args, *call.keywords)


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_of_the_readme_exists(line):
    words = shlex.split(line)
    if words[0].endswith("dclm-nb"): options_of(words[1:])
    elif words[0] == "make":
        given = dict(word.split("=", 1) for word in words if "=" in word)
        target = next((word for word in words[1:] if "=" not in word), "help")
        if "-" in target:
            kind, exhibit = target.split("-", 1)
            found, scale = get_exhibit(exhibit, given.get("PAPER", "")), given.get("SCALE")
            settle_scale(found, get_scale(scale, found.paper) if scale else None)
            target = f"{kind}-%"
        assert target in make_targets()
    elif words[0].endswith("python") and words[1] == "-c": names_of(words[2])
    elif words[0].endswith("python"): assert (ROOT / words[-1]).exists()
    else: assert words[0].endswith("pip"), f"nobody has looked at {line}"


def slug(heading: str) -> str: return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("file", ["README.md", "GLOSSARY.md"])
def test_its_links_lead_somewhere(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    headings = {slug(h) for h in re.findall(r"^#+ (.+)$", text, re.M)}
    for to in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, part = to.partition("#")
        assert (ROOT / path).exists() if path else part in headings, to


def test_its_lines_of_code_fit_and_hold_no_times():
    blocks = re.findall(r"```(?:sh|python)\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines and max(map(len, lines)) <= 95             # wider ones are cut on a page of 900 pixels
    assert not [line for line in lines if re.search(r"#.*\b(minutes?|seconds?|hours?)\b", line)]


def test_no_column_of_its_tables_holds_one_constant():
    for table in re.findall(r"((?:^\|.*\n){4,})", README, re.M):
        rows = [line.strip("|\n ").split("|") for line in table.strip().splitlines()[2:]]
        for column in list(zip(*rows))[1:]:
            shown = {re.sub(r"\(.*?\)", "", cell).strip() for cell in column} - {""}
            assert len(shown) > 1, column


def defined() -> set[str]:
    "The words that the glossary explains."
    return set(re.findall(r"\*\*([^*]+)\*\*", (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("words", [ANSWERS, DIAL, *VERDICTS.values(), ("study", "catalogue", "exhibit", "blessed")])
def test_the_house_s_words_are_in_the_glossary(words): assert set(words) <= defined()


@pytest.mark.parametrize("file", ["README.md", *(f"nbs/stories/{name}.ipynb" for name in ("00_dclm", "01_tradeoffs",
                                                                                         "02_svd"))])
def test_the_glossary_is_one_click_away(file): assert "GLOSSARY.md" in (ROOT / file).read_text(encoding="utf-8")


def test_the_citation_names_this_version_and_the_papers():
    import configparser

    import yaml
    from dclm_nb.papers.paper import papers
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (settings := configparser.ConfigParser(interpolation=None)).read(ROOT / "settings.ini")
    assert (told["version"], told["license"]) == (settings["DEFAULT"]["version"], "Apache-2.0")
    cited = {reference["identifiers"][0]["value"]: reference["title"] for reference in told["references"]}
    assert cited == {f"arXiv:{paper.arxiv}": paper.title for paper in papers().values()}
    assert all(reference["authors"] and reference["type"] == "article" for reference in told["references"])
