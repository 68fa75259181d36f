"""The list of a finished folder's parts: foreign, changed, missing and added ones are seen, whatever lies beside."""
import json
import os
import shutil
from pathlib import Path

import pytest
from damages import DAMAGES, harm

from dclm_nb.core import parts
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import PARTS, atomic_write, noted_files, sum_beside
from dclm_nb.core.parts import check_parts, clear_parts, hurt_parts, write_last
from dclm_nb.core.store import RunStore, tree_hash

NAMES = ["report.json", "pool/0.txt", "pool/1.txt"]


def finish(folder: Path, text: str = "one") -> Path:
    (folder / "pool").mkdir(parents=True)
    for n in range(2): atomic_write(folder / f"pool/{n}.txt", f"{text} {n}" * 9, noted=True)
    write_last(folder / "report.json", json.dumps({"said": text}), ["pool/*.txt"])
    return folder


def move(path: Path, to: Path) -> None:
    "A file with its sum."
    for one, other in ((path, to), (sum_beside(path), sum_beside(to))): shutil.copy(one, other)


@pytest.mark.parametrize("how", [*DAMAGES, "another run's, with its sum"])
@pytest.mark.parametrize("sums", ["there", "deleted", "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_every_part_is_known(tmp_path, name, sums, how):
    folder, other = finish(tmp_path / "a"), finish(tmp_path / "b", "two")
    assert hurt_parts(folder) == {} and check_parts(folder, "begin again") is None
    if how in DAMAGES: harm(folder / name, how)
    else: move(other / name, folder / name)
    for note in folder.rglob(".*.sum"):
        if sums == "deleted": note.unlink()
        elif sums == "empty": note.write_text("")
    with pytest.raises(UserError, match=f"a/{name} (is|has) .*; begin") as said: check_parts(folder, "begin again")
    assert "\n" not in str(said.value) and [*hurt_parts(folder)] == [name]


def test_parts_that_changed_places_and_parts_that_were_added(tmp_path):
    folder = finish(tmp_path / "a")
    move(folder / "pool/0.txt", tmp_path / "0.txt"), move(folder / "pool/1.txt", folder / "pool/0.txt")
    move(tmp_path / "0.txt", folder / "pool/1.txt"), move(tmp_path / "0.txt", folder / "pool/2.txt")
    assert [*hurt_parts(folder)] == ["pool/0.txt", "pool/1.txt", "pool/2.txt"]
    assert hurt_parts(folder)["pool/2.txt"] == "was added later"


@pytest.mark.parametrize("name", ["notes.txt", "pool/.hidden", "logs/0.log", "last.ckpt"])
def test_what_no_pattern_names_is_nobodys_business(tmp_path, name):
    folder = finish(tmp_path / "a")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    assert hurt_parts(folder) == {}


@pytest.mark.parametrize("how", [h for h in DAMAGES if h != "deleted"])
def test_a_damaged_list_is_damage(tmp_path, how):
    folder = finish(tmp_path / "a")
    harm(folder / PARTS, how)
    assert hurt_parts(folder)


def test_a_folder_of_an_earlier_version_is_read_and_one_line_says_so_once(tmp_path, capsys):
    folder = finish(tmp_path / "a")
    (folder / PARTS).unlink()
    for _ in range(3): check_parts(folder, "begin again")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be checked" in said


def test_who_dies_before_the_last_file_has_not_finished(tmp_path, monkeypatch):
    folder = finish(tmp_path / "a")
    (folder / "report.json").unlink()
    def dies(path, data, noted=False): raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        writes = iter([parts.atomic_write, dies])
        patch.setattr(parts, "atomic_write", lambda *given, **how: next(writes)(*given, **how))
        with pytest.raises(KeyboardInterrupt): write_last(folder / "report.json", "{}", ["pool/*.txt"])
    assert not (folder / "report.json").exists()


def test_what_is_wrong_is_cleared_away_and_what_was_added_is_kept(tmp_path):
    folder = finish(tmp_path / "a")
    shutil.copy(folder / "pool/0.txt", folder / "pool/2.txt"), harm(folder / "pool/1.txt", "one bit")
    clear_parts(folder, hurt_parts(folder))
    assert sorted(os.listdir(folder / "pool")) == [".0.txt.sum", ".2.txt.aside", "0.txt"]
    assert (folder / "pool/.2.txt.aside").read_bytes() == (folder / "pool/0.txt").read_bytes()


def test_the_list_is_no_content(tmp_path):
    folder, listed = finish(tmp_path / "a"), finish(tmp_path / "b")
    (folder / PARTS).unlink()
    assert tree_hash(folder) == tree_hash(listed) and noted_files(folder / "pool") == noted_files(folder)[:2]
    def makes(config, seed, files): return {"n": len([finish(files / "a")])}
    written = RunStore(tmp_path / "store").run(makes, {}).manifest["files"]
    assert sorted(written) == sorted(f"a/{name}" for name in NAMES)


@pytest.mark.parametrize("where", ["parts", "patterns"])
@pytest.mark.parametrize("name", [
    "../thesis.txt", "a/../../thesis.txt", "{absolute}", "linked/thesis.txt", "..\\thesis.txt",
])
def test_a_list_that_names_something_outside_is_damaged_and_touches_nothing(tmp_path, where, name):
    (tmp_path / "out").mkdir(), (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "out" / "linked").symlink_to(tmp_path)
    write_last(tmp_path / "out" / "last.json", "{}", ["*.json"])
    told = json.loads((tmp_path / "out" / PARTS).read_text())
    name = name.format(absolute=tmp_path / "thesis.txt")
    if where == "parts": told["parts"][name] = {"size": 1, "sha256": "0" * 64}
    else: told["patterns"].append(name)
    (tmp_path / "out" / PARTS).write_text(json.dumps(told))
    hurt = hurt_parts(tmp_path / "out")
    assert hurt == {PARTS: "is damaged"} and clear_parts(tmp_path / "out", hurt) == []
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "thesis.txt"]


def test_what_lies_behind_a_link_that_leads_out_is_no_part(tmp_path):
    (tmp_path / "out").mkdir(), (tmp_path / "elsewhere").mkdir(), (tmp_path / "elsewhere" / "a.txt").write_text("a")
    (tmp_path / "out" / "linked").symlink_to(tmp_path / "elsewhere")
    write_last(tmp_path / "out" / "last.json", "{}", ["*/*.txt"])
    assert list(json.loads((tmp_path / "out" / PARTS).read_text())["parts"]) == ["last.json"]
    assert hurt_parts(tmp_path / "out") == {}
