"""A finished run, and one that was interrupted, whose files were damaged since: made again to the same bytes."""
import shutil
import sys
from pathlib import Path

import pytest
from damages import DAMAGES, harm
from notes import curate_notes, notes_pipeline, write_notes

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.stages.documents import load_documents, read_lines
from dclm_nb.stages.reading import into_shards

FILES = ["long/00001.jsonl.gz", "records/00000.json", "removed/short/00002.jsonl.gz", "kept/00000.jsonl.gz",
         "removed/copies/00000.jsonl.gz", "report.json"]


@pytest.fixture(scope="module")
def notes(tmp_path_factory): return write_notes(tmp_path_factory.mktemp("notes") / "texts")


@pytest.fixture(scope="module")
def report(notes, tmp_path_factory): return curate_notes(notes, tmp_path_factory.mktemp("out"))


@pytest.fixture
def copy(report, tmp_path):
    shutil.copytree(report.folder, tmp_path / report.key)
    return tmp_path / report.key


def content(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("[!.]*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files
            if not {"logs", "heartbeat"} & set(p.relative_to(folder).parts)}


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an earlier version"])
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_what_was_damaged_is_named_and_made_again(notes, report, copy, capsys, file, how, noted):
    if not noted:
        for path in copy.rglob(".*.sum"): path.unlink()
        if file.endswith(".json") and how == "one bit": pytest.skip("JSON alone does not know")
        if file == "records/00000.json" and how == "foreign": pytest.skip("nor does it know whose it is")
    harm(copy / file, how)
    again = curate_notes(notes, copy.parent)
    assert again.data == report.data and content(copy) == content(report.folder)
    said = capsys.readouterr().err
    # a report that is gone is a run that has not ended
    if (file, how) != ("report.json", "deleted"): assert Path(file).name in said and "it is made again" in said


@pytest.mark.parametrize("how", DAMAGES)
def test_a_run_that_goes_on_does_not_go_on_from_damage(notes, report, copy, how):
    "Interrupted behind the first stage; a disk damages what that stage has left."
    shutil.rmtree(copy / "kept"), shutil.rmtree(copy / "removed" / "copies"), (copy / "report.json").unlink()
    for stage in ("unique", "report"): shutil.rmtree(copy / "logs" / stage)
    harm(copy / "long" / "00001.jsonl.gz", how)
    assert curate_notes(notes, copy.parent).data == report.data and content(copy) == content(report.folder)


def test_without_its_logs_a_whole_run_is_taken_and_a_damaged_one_made_again(notes, report, copy):
    shutil.rmtree(copy / "logs")
    written = lambda: {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    before = written()
    assert curate_notes(notes, copy.parent).data == report.data and written() == before
    harm(copy / "kept" / "00001.jsonl.gz", "cut")
    assert curate_notes(notes, copy.parent).data == report.data and content(copy) == content(report.folder)


@pytest.mark.parametrize("how", DAMAGES)
def test_who_reads_the_documents_of_a_damaged_run_gets_one_line(copy, how):
    if how == "foreign": harm(copy / "kept/00000.jsonl.gz", how)
    else: harm(copy / "kept/00000.jsonl.gz", how)
    with pytest.raises(UserError, match="kept/00000.jsonl.gz is (damaged|missing).*makes it again"):
        list(load_documents(copy / "kept", range(4)))
    if how != "deleted":
        with pytest.raises(UserError): list(read_lines(copy / "kept/00000.jsonl.gz"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"jobs": 3, "whole": true}', '{"jobs": [], "whole": "no"}', "\0"])
def test_a_foreign_note_of_what_was_submitted_is_one_line(notes, report, copy, text, sbatch):
    (copy / "report.json").unlink()
    (copy / "submitted.json").write_text(text)
    with pytest.raises(UserError, match="submitted.json is not .*squeue"):
        curate_notes(notes, copy.parent, executor="slurm")


def test_a_finished_run_is_hashed_and_no_stage_is_begun(notes, report, copy, monkeypatch):
    def fails(*_, **__): raise AssertionError("began a stage")
    monkeypatch.setattr(sys.modules["dclm_nb.stages.running"], "run_stages", fails)
    assert curate_notes(notes, copy.parent).data == report.data
    assert notes_pipeline(into_shards(notes, 2), 3, copy)[0].is_whole(copy, 0)


def _moved(path: Path, to: Path) -> None:
    for one, other in ((path, to), (sum_beside(path), sum_beside(to))): shutil.copy(one, other)


def _swapped(folder: Path) -> None:
    one, other = folder / "kept/00000.jsonl.gz", folder / "kept/00001.jsonl.gz"
    _moved(one, folder.parent / "x"), _moved(other, one), _moved(folder.parent / "x", other)


FOREIGN = {
    "two shards that changed places": _swapped,
    "a shard in the place of another": lambda f: _moved(f / "kept/00001.jsonl.gz", f / "kept/00000.jsonl.gz"),
    "a shard more": lambda f: _moved(f / "kept/00000.jsonl.gz", f / "kept/00009.jsonl.gz"),
    "a removal more": lambda f: _moved(f / "removed/short/00002.jsonl.gz", f / "removed/short/00007.jsonl.gz"),
    "a record edited": lambda f: (f / "records/00000.json").write_text(
        (f / "records/00000.json").read_text().replace('"records": ', '"records": 1')),
    "a report edited": lambda f: (f / "report.json").write_text(
        (f / "report.json").read_text().replace('"left": ', '"left": 1')),
    "a list cut": lambda f: harm(f / ".parts.json", "cut"),
}


@pytest.mark.parametrize("how", FOREIGN)
def test_a_finished_run_knows_its_own_files(notes, report, copy, capsys, how):
    FOREIGN[how](copy)
    if "edited" in how:
        for path in copy.rglob(".*.sum"): path.unlink()
    again = curate_notes(notes, copy.parent)
    assert again.data == report.data and content(copy) == content(report.folder)
    assert "it is made again" in capsys.readouterr().err
    assert curate_notes(notes, copy.parent).data == report.data and "again" not in capsys.readouterr().err


def test_a_run_that_an_earlier_version_finished_is_taken_with_a_line(notes, report, copy, capsys):
    (copy / ".parts.json").unlink()
    assert curate_notes(notes, copy.parent).data == report.data
    assert "cannot be checked" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.txt", "sheet/1.html", "logs/mine.txt"])
def test_what_somebody_writes_beside_a_finished_run_stays(notes, report, copy, capsys, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("mine")
    assert curate_notes(notes, copy.parent).data == report.data and (copy / name).read_text() == "mine"
    assert "again" not in capsys.readouterr().err
