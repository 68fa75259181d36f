"""The note beside a file: what was written is told from what is there, whoever dies between the two writes."""
import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from damages import DAMAGES, harm

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import atomic_write, damage, intact, kept_file, note_sum, read_json, sum_beside
from dclm_nb.core.identity import Identity, claim
from dclm_nb.core.store import RunStore, tree_hash

DATA = bytes(range(256)) * 9


@pytest.mark.parametrize("how", DAMAGES)
def test_every_damage_is_seen_and_said(tmp_path, how):
    path = atomic_write(tmp_path / "a.bin", DATA, noted=True)
    assert damage(path) == "" and intact(path, "make it again") == path
    harm(path, how)
    with pytest.raises(UserError, match=rf"{tmp_path.name}/a.bin (has|is missing).*; make it again"):
        intact(path, "make it again.")
    assert "\n" not in damage(path)


def test_a_bit_that_flips_without_a_new_time_of_change_is_seen(tmp_path):
    path = atomic_write(tmp_path / "a.bin", DATA, noted=True)
    state = path.stat()
    assert not damage(path)
    harm(path, "one bit")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "other content" in damage(path)


@pytest.mark.parametrize("note", [None, "", "\0" * 20, "[]", "{}", '[{"size": 1}]', "[3]", '{"what": "foreign"}'])
def test_what_nothing_legible_is_noted_of_is_not_damaged(tmp_path, note):
    "Files of earlier versions and of others, and notes that were cut short."
    path = atomic_write(tmp_path / "a.bin", DATA, noted=True)
    sum_beside(path).unlink() if note is None else sum_beside(path).write_text(note)
    assert damage(path) == ""


def _ckpt(path, data):
    with zipfile.ZipFile(path, "w") as file: file.writestr("data/0", data)


@pytest.mark.parametrize("name, write", [
    ("a.json", lambda path: path.write_text(json.dumps(list(range(99))))),
    ("a.jsonl.gz", lambda path: path.write_bytes(gzip.compress(DATA))),
    ("a.ckpt", lambda path: _ckpt(path, DATA)),
])
@pytest.mark.parametrize("how", ["cut", "zeros", "empty"])
def test_without_a_note_the_format_is_asked(tmp_path, name, write, how):
    write(path := tmp_path / name)
    assert damage(path) == ""
    harm(path, how)
    assert damage(path) in ("cannot be read", "is damaged", "is empty")


DYING = """
import os, sys
from dclm_nb.core.files import atomic_write
replace, calls = os.replace, [0]
def dying(a, b):
    calls[0] += 1
    if calls[0] == int(sys.argv[2]): os._exit(9)
    replace(a, b)
os.replace = dying
for text in ("one", "two", "three"): atomic_write(sys.argv[1], text, noted=True)
"""


@pytest.mark.parametrize("at, left", [(1, None), (2, "one"), (3, "two")])
def test_who_dies_before_the_file_takes_its_name_has_damaged_nothing(tmp_path, at, left):
    path = tmp_path / "a.txt"
    assert subprocess.run([sys.executable, "-c", DYING, str(path), str(at)]).returncode == 9
    if left is None: assert not path.exists() and damage(path) == "is missing"
    else: assert path.read_text() == left and damage(path) == ""
    atomic_write(path, "new", noted=True)
    assert damage(path) == ""
    path.write_text("one")
    assert damage(path)


def test_sums_are_no_content(tmp_path):
    "Neither the hash of a folder nor the key and the files of a run know of them."
    for name, noted in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        atomic_write(tmp_path / name / "x.json", "{}", noted=noted)
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b")
    run = RunStore(tmp_path / "store").run(_writes, {})
    assert list(run.manifest["files"]) == ["x.json"] and RunStore(tmp_path / "store").run(_writes, {}).key == run.key
    for path in run.folder.glob(".*.sum"): path.unlink()            # as a run of an earlier version is
    assert RunStore(tmp_path / "store").get(run.key, full=True).result == {"n": 1}
    assert RunStore(tmp_path / "store").verify() == [(run.key, "")]


def _writes(config: dict, seed: int, folder: Path) -> dict:
    atomic_write(folder / "x.json", '{"n": 1}', noted=True)
    return {"n": 1}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_cache_is_made_again(tmp_path, how):
    made = []
    def make() -> bytes: made.append(1); return DATA
    path = kept_file(tmp_path / "table.u64", make)
    assert kept_file(path, make) == path and len(made) == 1
    harm(path, how)
    assert kept_file(path, make).read_bytes() == DATA and len(made) == 2
    sum_beside(path).unlink()                                       # of an earlier version: made again, once
    kept_file(path, make), kept_file(path, make)
    assert len(made) == 3


@pytest.mark.parametrize("how", [h for h in DAMAGES if h != "deleted"])
@pytest.mark.parametrize("noted", [True, False])
def test_whose_a_folder_is_cannot_be_guessed_from_a_damaged_note(tmp_path, how, noted):
    whose = Identity.of("toy/walk", 1, {"steps": 5})
    claim(tmp_path / "run.json", whose)
    claim(tmp_path / "run.json", whose)
    if not noted: sum_beside(tmp_path / "run.json").unlink()
    harm(tmp_path / "run.json", how)
    said = "remove the folder and start again, or choose an empty folder" if noted or how != "one bit" else "."
    with pytest.raises(UserError, match=said): claim(tmp_path / "run.json", whose)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"x"', "{", "\ufeff", "[" * 100_000, '{"steps": "3"}', "{}"])
def test_foreign_json_is_one_line(tmp_path, text):
    (path := tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a.json is not .*; make it again"): read_json(path, {"steps": int})


def test_a_note_may_be_written_later(tmp_path):
    (path := tmp_path / "rows.csv").write_text("1\n")
    note_sum(path)
    path.write_text("2\n")
    assert "other content" in damage(path)
    note_sum(path)
    assert not damage(path)


@pytest.mark.parametrize("length", [1, 100, 240, 255])
def test_names_of_any_length(tmp_path, length):
    (path := tmp_path / ("n" * length)).write_text("1")
    note_sum(path)
    path.write_text("2")
    assert damage(path)
