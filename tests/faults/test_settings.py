"""Settings, claims and parameters that would run something or take the machine: YAML tags and bombs, text that looks
like code, and fastText's words in texts."""
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.settings import read_settings
from dclm_nb.curation.quality import ClassifierConfig, quality_scores, train_classifier
from dclm_nb.papers.catalogue import read_entries
from dclm_nb.papers.claims import _claim

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
HOSTILE = {
    "a call": "steps: !!python/object/apply:os.system ['touch ran']",
    "an object": "steps: !!python/object:os.Popen {}",
    "a module": "steps: !!python/module:os",
    "a name": "steps: !!python/name:os.system",
    "a tuple": "steps: !!python/tuple [1, 2]",
    "another tag": "steps: !mine 3",
    "in the key": "? !!python/object/apply:os.system ['touch ran']\n: 3",
    "a bomb of aliases": BOMB,
    "itself": "steps: &a [*a]",
    "a list": "- steps",
    "a text": "steps",
    "two documents": "steps: 1\n---\nsteps: 2",
    "deep": "steps: " + "[" * 5000,
    "cut": "steps: {",
    "a tab": "\tsteps: 1",
    "a key that is no text": "3: 4",
    "a date": "steps: 2001-01-01",
    "nan": "steps: .nan",
    "binary": "steps: !!binary aGk=",
    "bytes": b"steps: \xff\xfe",
    "zeros": b"\0" * 64,
    "UTF-16": "steps: 1".encode("utf-16"),
}


@dataclass
class Settings:
    steps: int = 1


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(name: str, value) -> Path:
    path = Path(f"{name}.yaml")
    path.write_bytes(value if isinstance(value, bytes) else value.encode())
    return path


def says_one_line(error: UserError) -> None:
    assert "\n" not in str(error) and len(str(error)) < 2000 and str(error).isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_settings(place, name):
    try: found = read_settings(written("settings", HOSTILE[name]), Settings)
    except UserError as error: says_one_line(error)
    else: assert type(found.steps) is int                       # UTF-16 with its mark is YAML
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_claims(place, name):
    """The file of claims, and each entry of it."""
    try: entries = read_entries(written("claims", HOSTILE[name]))
    except UserError as error: return says_one_line(error)
    finally: assert not Path("ran").exists()
    for key, entry in entries.items():
        with pytest.raises(UserError) as refused: _claim("dclm", key, entry)
        says_one_line(refused.value)


GOOD = dict(text="a", where="b", exhibit="table-4", tests=[dict(kind="ordering", columns=["core"], rows=["a", "b"])])


@pytest.mark.parametrize("change", [
    {"tests": None}, {"tests": 3}, {"tests": [3]}, {"tests": ["text"]}, {"tests": []} , {"exhibit": 3},
    {"exhibit": "table-999"}, {"text": None}, {"where": 3}, {"nonsense": 1}, {"also": 3}, {"also": ["table-999"]},
    {"stand_in": "x"}, {"note": ["x"]}, *({"tests": [GOOD["tests"][0] | odd]} for odd in (
        {"kind": "x"}, {"kind": None}, {"margin": "x"}, {"margin": float("nan")}, {"rows": 3}, {"columns": [1]},
        {"at_least": "x"}, {"stand_in": {"x": 1}}, {"grid": ["x"]}, {"pairs": [[1]]}, {"better": 3}, {"points": -1},
        {"lower": "no"}, {"kind": "bound"}, {"kind": "correlation"}, {"unknown": 1},
    )),
])
def test_an_entry_that_is_no_claim(change):
    try: _claim("dclm", "claim-x", GOOD | change)
    except UserError as error:
        says_one_line(error)
        assert str(error).startswith("dclm, claim-x: ")
    else: assert change == {"tests": []}                        # it decides nothing


def test_the_good_entry_is_one(): assert _claim("dclm", "claim-x", GOOD).id == "claim-x"


CODE = ['"; import os; os.system("touch ran"); "', "'''\nimport os\nos.system('touch ran')\n'''",
        "{os.system('touch ran')}",
        "$(touch ran)", "`touch ran`", "%run ran", "!touch ran", "\\", "a\nb", "x" * 10**5]


@pytest.mark.parametrize("text", CODE)
def test_a_parameter_is_a_text_and_never_code(place, text):
    """As papermill writes it, and as our own runner does."""
    from dclm_nb.exhibits.in_process import run_notebook
    cell = lambda id, source, *tags: {"cell_type": "code", "id": id, "metadata": {"tags": list(tags)},
                                      "source": source, "outputs": [], "execution_count": None}
    cells = [cell("first", 'text: str = ""', "parameters"), cell("second", "open('got', 'w').write(text)")]
    notebook = {"cells": cells,
                "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
                "nbformat": 4, "nbformat_minor": 5}
    Path("a.ipynb").write_text(json.dumps(notebook))
    executed, ok = run_notebook(Path("a.ipynb"), {"text": text})
    assert ok and Path("got").read_text() == text and not Path("ran").exists()


@pytest.mark.nightly
def test_papermill_takes_it_as_a_text_too(place):
    from papermill.translators import PythonTranslator
    for text in CODE:
        source = PythonTranslator.codify({"text": text})
        code = f"{source}\nopen('got', 'w').write(text)"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert Path("got").read_text() == text and not Path("ran").exists()


WORDS = ["__label__hq", "__label__cc __label__hq", "</s>", "\0", "\u2028", "a\rb\nc", "__label__" * 1000, "\ud83d",
         "🙂" * 999]


@pytest.mark.parametrize("word", WORDS)
def test_fasttext_reads_texts_and_no_control(tmp_path, word):
    quick = ClassifierConfig(dim=16, bucket=2000, epoch=1)
    texts = [f"one two three {i}" for i in range(4)]
    model = train_classifier([*texts[:2], word], texts[2:], tmp_path, quick)
    scores = quality_scores([word, *texts], model)
    assert len(scores) == 5 and ((0 <= scores) & (scores <= 1)).all()
