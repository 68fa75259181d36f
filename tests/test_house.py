"""The house: every room on its floor, no stairs upwards, no circles, and no room but a paper's own knows its name."""
import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dclm_nb.core.paths import project_root
from dclm_nb.papers.paper import papers

# A module may import from its own room and from rooms on lower floors.
FLOORS = [
    {"core"},
    {"papers", "learn", "shards", "judging", "stages"},
    {"drawing", "curation", "lm", "image", "video"},
    {"studies"},                        # what several papers' studies share
    {"studies.<paper>"},
    {"exhibits"},
    {"site"},
    {"cli"},
    {"__main__"},
]
PACKAGE = "dclm_nb"


@cache
def modules() -> dict[str, Path]:
    root = project_root() / PACKAGE
    names = {f: ".".join(f.relative_to(root).with_suffix("").parts) for f in root.rglob("*.py")}
    return {name: f for f, name in names.items() if not name.endswith(("__init__", "_modidx"))}


def imported(name: str, at_run_time: bool = True) -> set[str]:
    "The modules that one imports, also inside functions; what is imported for the type checker alone is left out."
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or (at_run_time and id(node) in typing_only): continue
        base = name.split(".")[:-node.level] if node.level else (node.module or "").split(".")
        if node.level: base += (node.module or "").split(".") if node.module else []
        elif base[0] != PACKAGE: continue
        else: base = base[1:]
        for alias in node.names:
            whole = [".".join(base), ".".join([*base, alias.name])]
            found.add(next((m for m in reversed(whole) if m in modules()), whole[0]))
    return {m for m in found if m in modules() and m != name}


def room(module: str) -> str:
    parts = module.split(".")
    if parts[0] == "studies" and len(parts) > 2: return "studies.<paper>"
    return parts[0]


def floor(module: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_module_is_in_a_room_of_the_plan():
    assert {room(m) for m in modules()} <= set.union(*FLOORS)


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_module_reaches_upwards_or_across(module):
    def allowed(other: str) -> bool:
        if room(other) == room(module):
            # one wing does not lean on another
            return room(module) != "studies.<paper>" or other.split(".")[1] == module.split(".")[1]
        return floor(other) < floor(module) or (room(module), room(other)) in ACROSS
    assert not [other for other in imported(module) if not allowed(other)]


# Rooms of one floor that lean on each other, one way only.
ACROSS = {("curation", "lm")}


def test_modules_import_each_other_without_a_circle():
    "Also not for the type checker."
    try: list(TopologicalSorter({m: imported(m, at_run_time=False) for m in modules()}).static_order())
    except CycleError as circle: pytest.fail(" -> ".join(circle.args[1]))


def shared_texts() -> dict[str, str]:
    "What belongs to no paper: code of the shared rooms without comments and docstrings, and the Makefile."
    rooms = ("core", "papers", "drawing", "exhibits", "site", "cli")
    texts = {m: ast.unparse(ast.parse(f.read_text())) for m, f in modules().items() if room(m) in rooms}
    return texts | {"Makefile": (project_root() / "Makefile").read_text()}


@pytest.mark.parametrize("name", list(papers()))
def test_no_shared_room_knows_the_name_of_a_paper(name):
    named = re.compile(rf"(?<![\w-]){name}(?![\w-])")
    assert not [place for place, text in shared_texts().items() if named.search(text)]


TOY_WING = '''
from dclm_nb.papers.frames import tidy
from dclm_nb.papers.paper import Cost, Paper, Replay
from dclm_nb.papers.scale import Scale


def study(exhibit):
    "The one study: both rows of the first table, measured."
    if exhibit.id != "table-1": return None
    rows = [dict(row="ours", column="score", value=2.0), dict(row="theirs", column="score", value=1.0)]
    return tidy(rows, paper="toy", exhibit="table-1", source="replayed")


PAPER = Paper(
    name="toy", title="A toy", arxiv="9901.00001", numbering="its own",
    scales=(Scale("toy-1x", "one parameter and one token", needs="cluster"),),
    replay=Replay(frame=study),
    cost=Cost(there=lambda exhibit, scale: [("at toy-1x", "one second of one finger")]),
)
'''
TOY_EXHIBITS = """
table-1: {title: Who is better, answers: [replayed, recipe], shows: Two rows and one score, takes: an afternoon}
table-2: {title: What it costs, answers: [recipe], shows: One row of costs, takes: another afternoon}
figure-1: {title: How it looks, answers: [rerun], shows: A drawing, takes: a pencil}
"""
TOY_COLUMNS = "columns: {score: {label: Score, better: more}}"
TOY_CLAIMS = """
claim-1:
  text: Ours is better than theirs.
  where: Section 1
  exhibit: table-1
  tests: [{kind: above, columns: [score], pairs: [[ours, theirs]]}]
"""


@pytest.fixture(scope="module")
def house_with_a_toy(tmp_path_factory) -> Path:
    "A copy of the checkout to which a fourth paper has moved in: three files, and labels."
    root = tmp_path_factory.mktemp("house")
    for name in ("dclm_nb", "reproduce"):
        shutil.copytree(project_root() / name, root / name, ignore=shutil.ignore_patterns("_out", "__pycache__"))
    shutil.copy(project_root() / "settings.ini", root)
    for place, text in {
        "dclm_nb/studies/toy/paper.py": TOY_WING,
        "reproduce/toy/exhibits.yaml": TOY_EXHIBITS,
        "reproduce/toy/claims.yaml": TOY_CLAIMS,
        "reproduce/toy/columns.yaml": TOY_COLUMNS,
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    return root


def said(root: Path, *command: str) -> str:
    code = f"from dclm_nb.cli import main; main({list(command)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={"PATH": "", "PYTHONPATH": str(root),
                          "DCLM_NB_HOME": str(root / "home"), "COLUMNS": "160"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fourth_paper_moves_in_with_three_files_and_labels(house_with_a_toy):
    root = house_with_a_toy
    status = said(root, "status", "--paper", "toy")
    assert all(line in status for line in ("A toy", "table-1", "Who is better", "table-2", "figure-1"))
    assert "follows (no ruler)" in said(root, "claims", "--paper", "toy")
    assert "one second of one finger" in said(root, "budget", "table-1", "--paper", "toy", "--scale", "toy-1x")
    assert "3 of 3 pages" in said(root, "pages", "--paper", "toy")
    assert (root / "reproduce/toy/table_01.ipynb").is_file() and (root / "reproduce/toy/figure_01.ipynb").is_file()
    report = Path(said(root, "report").strip()).read_text()
    assert "## A toy" in report and "| toy | table-1 |" in report
    again = said(root, "reproduce", "table-1", "--paper", "toy", "--scale", "replay", "--here")
    assert "Who is better" in again and "Score ↑" in again and "table_01.manifest.json" in again


def changed(root: Path, tmp_path: Path, place: str, text: str | None) -> Path:
    "The house with a toy, and one file of it rewritten or gone."
    shutil.copytree(root, house := tmp_path / "house")
    if text is None: (house / place).unlink()
    else: (house / place).write_text(text)
    return house


@pytest.mark.parametrize("place", ["reproduce/toy/claims.yaml", "reproduce/toy/columns.yaml"])
@pytest.mark.parametrize("text", [None, ""])
def test_a_paper_may_have_no_claims_and_no_labels(house_with_a_toy, tmp_path, place, text):
    house = changed(house_with_a_toy, tmp_path, place, text)
    assert "table-1" in said(house, "status", "--paper", "toy") and said(house, "claims", "--paper", "toy")


@pytest.mark.parametrize("text, line", [
    ("raise ValueError('nobody is at home')", "studies/toy cannot be asked: ValueError: nobody is at home"),
    ("import no_such_library", "studies/toy cannot be asked: ModuleNotFoundError"),
    ("x = 1", "studies/toy cannot be asked: AttributeError"),
    (TOY_WING.replace('name="toy"', 'name="doll"'), "both must have one name"),
    (TOY_WING.replace('Scale("toy-1x"', 'Scale("laptop"'), "a position of the dial")])
def test_a_wing_that_cannot_be_asked_is_one_line(house_with_a_toy, tmp_path, text, line):
    house = changed(house_with_a_toy, tmp_path, "dclm_nb/studies/toy/paper.py", text)
    code = "from dclm_nb.cli import main; main(['status', '--paper', 'dclm'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=house, env={"PATH": "", "PYTHONPATH": str(house),
                          "DCLM_NB_HOME": str(house / "home")}, capture_output=True, text=True)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1
