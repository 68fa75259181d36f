"""The table of the fault suite counts what it says."""
import ast
from fnmatch import fnmatchcase
from pathlib import Path

import families
import pytest

HERE = Path(__file__).parent
NAMES = [f"{file.relative_to(HERE).as_posix()}::{node.name}" for file in sorted(HERE.rglob("test_*.py"))
         for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
TESTS = [name for name in NAMES if name.split("::")[1].startswith("test_")]
PATTERNS = [(family, pattern) for family, (_, patterns) in families.FAMILIES.items() for pattern in patterns.split()]


def fits(name: str, pattern: str) -> bool:
    """The three tests of a walk stand in their helper."""
    return fnmatchcase(name, pattern) or "_given.py" in name and pattern.endswith("_given.py::*")


class Item:
    """What `family_of` asks a test of pytest."""
    def __init__(self, name): self.nodeid = f"tests/{name}"

    def get_closest_marker(self, _): return None


@pytest.mark.parametrize("family, pattern", PATTERNS)
def test_every_pattern_fits_a_test(family, pattern):
    assert any(fits(name, pattern) for name in NAMES)


def test_every_test_of_the_fault_suite_has_a_family():
    assert not [name for name in TESTS if name.startswith("faults/") and not families.family_of(Item(name))]


@pytest.mark.parametrize("name, family", [
    ("core/test_notes.py::test_a_note", "secret"), ("exhibits/test_interrupted.py::test_a_kill", "kill"),
    ("curation/test_warc.py::test_anything", "warc"), ("core/test_survivors.py::test_a_child_ends", "resource"),
    ("exhibits/test_showcase.py::test_smoke_claims_nothing", ""), ("site/test_site_pages.py::test_links_turn", ""),
    ("core/test_runs_lock.py::test_moving_is_free_for_lock_and_key", ""), ("lm/test_tasks.py::test_the_table", ""),
])
def test_a_name_belongs_where_its_words_say(name, family):
    assert families.family_of(Item(name)) == family


def test_the_table_says_what_failed_what_is_missing_and_what_is_not_here():
    reports = [("kill", "passed", 100), ("kill", "failed", 1), ("disk", "passed", 30), ("html", "skipped", 2)]
    lines = {line.split()[0]: line for line in families.table(reports)}
    assert lines["kill"].split()[1:4] == ["101", "100", "128"] and "1 FAILED, 27 TOO FEW" in lines["kill"]
    assert lines["disk"].split()[1:4] == ["30", "30", "30"] and "FEW" not in lines["disk"]
    assert "40 TOO FEW, 2 not here" in lines["html"] and lines["all"].split()[1:3] == ["131", "130"]
