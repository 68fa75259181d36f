"""What may not be blessed: files that are not the exhibit's own, whatever a manifest says, and results of a commit that
this checkout does not have."""
import hashlib
import json
import math
import os
import shutil

import pytest
from repositories import committed, git

from dclm_nb.core.files import atomic_write
from dclm_nb.exhibits import results, showcase
from dclm_nb.exhibits.bless import bless

SECRET = "what nobody may publish"


@pytest.fixture
def made(tmp_path, monkeypatch):
    "A root that is a repository, the folder of a result in it, and a function that edits its manifest."
    root = tmp_path / "root"
    root.mkdir()
    commit = committed(root)
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(showcase, "git_state", lambda: {"commit": commit, "dirty": False})
    out = root / "reproduce/_out/dclm/table_04/replay"
    showcase.Showcase("dclm", "table-4", scale="replay", out_dir=out).save()

    def edit(**changes):
        path = out / "table_04.manifest.json"
        atomic_write(path, json.dumps(json.loads(path.read_text()) | changes), noted=True)     # as a forger would

    return root, out, edit


def blessed(root, allow=False) -> list[str]: return [reason for _, _, reason in bless("dclm", allow, root)]


def vouched(folder, name) -> dict:
    "A manifest's `files` with one more, whose hash is right."
    known = json.loads((folder / "table_04.manifest.json").read_text())["files"]
    return known | {name: hashlib.sha256(SECRET.encode()).hexdigest()}


def test_a_result_of_this_checkout_is_blessed(made):
    root, *_ = made
    assert blessed(root) == [""] and (root / "figures/dclm/table_04.md").is_file()


NAMES = [
    "../secret.txt", "table_04/../../secret.txt", "{root}/reproduce/_out/dclm/table_04/secret.txt",
    "x/../../secret.txt", "table_04.link", "linked/secret.txt",
    "..\\secret.txt", "./../secret.txt", "", ".", "/", "table_04\0.md",
]


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_copied(made, name, allow):
    root, out, edit = made
    (out.parent / "secret.txt").write_text(SECRET)
    os.symlink("../secret.txt", out / "table_04.link")
    os.symlink("..", out / "linked")
    edit(files=vouched(out, name.format(root=root)))
    (reason,) = blessed(root, allow)
    assert reason.startswith("changed since it was made") and "\n" not in reason
    assert not (root / "figures/dclm").exists()
    assert not any(SECRET in p.read_text(errors="replace") for p in root.rglob("*")
                   if p.is_file() and "_out" not in p.parts)


@pytest.mark.parametrize("name", ["README.md", "table_05.md", "figure_01.png", "table_0"])
def test_a_file_of_another_page_is_not_overwritten(made, name):
    root, out, edit = made
    (out / name).write_text(SECRET)
    edit(files=vouched(out, name))
    for allow in (False, True): assert "belong to another" in blessed(root, allow)[0]


def test_a_link_where_it_goes_is_not_followed(made, tmp_path):
    root, out, edit = made
    (out / "model").mkdir()
    (out / "model/w").write_text(SECRET)
    edit(files=vouched(out, "model/w"))
    assert blessed(root) == [""] and (root / "figures/dclm/model/w").read_text() == SECRET
    shutil.rmtree(root / "figures/dclm/model")
    (tmp_path / "away").mkdir()
    os.symlink(tmp_path / "away", root / "figures/dclm/model")
    from dclm_nb.core.errors import UserError
    with pytest.raises(UserError, match="lies elsewhere"): bless("dclm", root=root)
    assert not list((tmp_path / "away").iterdir())


@pytest.mark.parametrize("files", [None, [], "x", 7])
def test_a_manifest_without_files_is_left_out_in_one_line(made, files, capsys):
    root, out, edit = made
    edit(files=files)
    results._said.clear()                                   # it is said once in a process
    for allow in (False, True): assert blessed(root, allow) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no manifest (files)" in line and not (root / "figures/dclm").exists()


@pytest.mark.parametrize("key", ["../../x", "/etc", "*", "", "[", "abc/../x"])
def test_a_run_that_is_no_key_is_not_looked_for(made, key):
    root, _, edit = made
    for where in (dict(runs=[key]), dict(rests_on={"pool": key})):
        edit(**{"runs": [], "rests_on": {}} | where)
        assert blessed(root) == [f"changed since it was made: {key!r} is no key of a run"]


def test_whoever_allows_a_failed_run_does_not_get_changed_files(made):
    root, out, edit = made
    (out / "table_04.failed.ipynb").write_text("{}")
    assert blessed(root) == ["its last run failed"] and blessed(root, True) == [""]
    (out / "table_04.md").write_text("changed")
    for allow in (False, True): assert blessed(root, allow) == ["changed since it was made: table_04.md"]


def test_a_commit_of_another_repository_is_refused(made, tmp_path):
    root, out, edit = made
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("x")
    for commit in (committed(tmp_path / "other"), "c0ffee", "HEAD", "--all", "f" * 40):
        edit(git={"commit": commit, "dirty": False})
        assert blessed(root) == [f"made at the commit {str(commit)[:10]}, which is none of this checkout's"]
    edit(git={"commit": git(root, "rev-parse", "HEAD"), "dirty": False})
    assert blessed(root) == [""]
    shutil.rmtree(root / ".git")                                            # unpacked without a repository
    assert "none of this checkout's" in blessed(root)[0] and blessed(root, True) == [""]


@pytest.mark.parametrize("wrong", [
    {"git": "x"}, {"git": {"commit": True}}, {"git": {"commit": 7}}, {"answers": [None]}, {"runs": [3]},
    {"files": {"table_04.md": 5}},
    {"verdicts": [{"claim": "a"}]}, {"verdicts": [{"claim": "a", "source": "hearsay", "outcome": "supports"}]},
    {"files": {"table_04\ud800.md": "0"}}, {"versions": {"torch\ud800": "2"}}, {"seconds": math.inf}, {"seeds": ["1"]},
    {"another": {"a": ["\ud800"]}}, {"rests_on": {"a": None}}, {"host": [1]}, {"may_claim": "no"},
])
def test_a_manifest_with_one_wrong_field_is_named_with_it(made, wrong, capsys, monkeypatch):
    monkeypatch.setattr(results, "_said", set())
    root, out, edit = made
    edit(**wrong)
    assert blessed(root, allow=True) == [] and not (root / "figures").exists()
    assert f"is no manifest ({next(iter(wrong))})" in (said := capsys.readouterr().err) and said.count("\n") == 1


@pytest.mark.parametrize("files", [{}, {"table_04" + "x" * 400: "0"}, {"a/" * 3000 + "table_04.md": "0"}])
def test_a_manifest_that_vouches_for_nothing_is_not_blessed(made, files):
    root, out, edit = made
    edit(files=files)
    (reason,) = blessed(root, allow=True)
    assert reason.startswith("changed since it was made") and len(reason) < 400
    assert not (root / "figures/dclm/table_04.md").exists()
