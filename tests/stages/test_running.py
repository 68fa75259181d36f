"""A whole pipeline of the room's own parts: the same bytes after kill -9 at any file and on two workers, a full disk,
and Slurm."""
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import forked
from notes import BOOKS, curate_notes, notes_pipeline, write_notes
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.stages.reading import into_shards
from dclm_nb.stages.running import sweep
from dclm_nb.stages.stage import forget_lost_tasks

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def notes(tmp_path_factory): return write_notes(tmp_path_factory.mktemp("notes") / "texts")


@pytest.fixture(scope="module")
def report(notes, tmp_path_factory): return curate_notes(notes, tmp_path_factory.mktemp("out"))


def bytes_of(report):
    return {
        str(p.relative_to(report.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(report.folder.rglob("*"))
        if p.is_file() and not {"logs", "heartbeat", "submitted.json"} & set(p.relative_to(report.folder).parts)
    }


def test_the_books_balance_and_every_paragraph_has_one_fate(report):
    assert report.funnel.left.tolist() == [14, 10, 7, 5] and report.funnel.stage.tolist()[1:] == list(BOOKS.order)
    removed, kept = [r["id"] for r in report.removed()], [d.id for d in report.kept()]
    assert sorted(removed + kept) == sorted("a/0 a/1 a/2 c/0 c/1 e/0 e/1 e/2 f/0 f/1".split())
    assert [(Path(f["source"]).stem, f["cause"]) for f in report.faults()] == [
        ("b", "empty file"), ("d", "not UTF-8"), ("f", "broken off"), ("g", "error: ZeroDivisionError")
    ]
    assert all(d.metadata["words"] >= 3 for d in report.kept())
    assert all(r["begins"] and r["stage"] and r["step"] for r in report.removed())


def test_two_workers_give_the_bytes_of_one(notes, report, tmp_path):
    assert bytes_of(curate_notes(notes, tmp_path, workers=2)) == bytes_of(report)


KILLED = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {HERE!r})
from notes import curate_notes

def main(paths, out, number):
    "Curate, and die before file `number` of the run takes its name."
    rename, done = os.replace, []
    def replace(a, b):
        # those of a log are no files of the run
        if "logs" not in Path(b).parts: done.append(b)
        if len(done) == number: os.kill(os.getpid(), signal.SIGKILL)
        return rename(a, b)
    os.replace = replace
    curate_notes([Path(p) for p in paths], Path(out))
"""


@pytest.fixture(scope="module")
def killed():
    with forked(KILLED) as call: yield call


# for each of four shards a record, two files of documents and one of removals; then the copies, the list of the parts
# and the report
FILES, SOME = 19, (2, 9, 13, 18, 19)


@pytest.mark.parametrize("number", [*SOME, *nightly(*(n for n in range(1, FILES + 1) if n not in SOME))])
def test_killed_at_any_file_and_continued_equals_uninterrupted(notes, report, killed, tmp_path, number):
    assert killed([str(p) for p in notes], str(tmp_path), number) == -9
    assert len([p for p in tmp_path.rglob("*.tmp")]) >= 1 and not list(tmp_path.rglob("report.json"))
    assert bytes_of(curate_notes(notes, tmp_path)) == bytes_of(report)
    assert not list(tmp_path.rglob("*.tmp"))


def test_there_are_no_more_files_than_the_kills_go_through(notes, report, killed, tmp_path):
    assert killed([str(p) for p in notes], str(tmp_path), FILES + 1) == 0
    # each with its sum beside it, the list of the parts apart
    assert len(bytes_of(report)) == 2 * FILES - 1


def test_a_full_disk_is_named_and_costs_nothing(notes, report, tmp_path, monkeypatch):
    real = os.fsync
    def full(fd):
        if "long/.00001" in os.readlink(f"/proc/self/fd/{fd}"): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full.*finished tasks are kept"): curate_notes(notes, tmp_path)
    monkeypatch.undo()
    assert bytes_of(curate_notes(notes, tmp_path)) == bytes_of(report)


def test_a_completion_mark_without_its_output_is_not_believed(notes, report, tmp_path):
    first = curate_notes(notes, tmp_path)
    (first.folder / "long/00001.jsonl.gz").unlink()
    (first.folder / "report.json").unlink()
    stages = notes_pipeline(into_shards(notes, 2), 3, first.folder)
    # one of four tasks, and the two stages behind it
    assert forget_lost_tasks(stages, first.folder, first.folder / "logs") == 1 + 1 + 1
    assert bytes_of(curate_notes(notes, tmp_path)) == bytes_of(report)


def test_a_finished_run_is_taken_and_another_setting_is_another_run(notes, report):
    written = lambda: {path: path.stat().st_mtime_ns for path in report.folder.rglob("*") if path.is_file()}
    before = written()
    assert curate_notes(notes, report.folder.parent).data == report.data and written() == before
    assert curate_notes(notes, report.folder.parent, fewest=4).key != report.key


def test_a_folder_that_goes_away_while_a_finished_run_is_looked_at_is_waited_for(notes, report, monkeypatch):
    """Another process may be making a damaged run again: its folders come and go until it gives the lock back."""
    seen = []
    def first_gone(folder):
        seen.append(folder)
        if len(seen) == 1: raise FileNotFoundError(2, "No such file or directory", str(folder / ".tokens-x.owned"))
        return {}
    monkeypatch.setattr("dclm_nb.stages.running.hurt_parts", first_gone)
    assert curate_notes(notes, report.folder.parent).data == report.data and len(seen) == 2


def test_a_stage_with_nothing_to_go_on_with_ends_the_run_with_its_report(notes, tmp_path):
    told = curate_notes(notes, tmp_path, fewest=100)
    assert told.data["kept"] == 0 and told.funnel.left.tolist() == [14, 4 + 6, 0]


def test_a_failing_stage_is_named_with_its_log(notes, tmp_path, monkeypatch):
    import notes as toy
    def fails(self, rank, world_size): raise ValueError("two lines\nof trouble")
    monkeypatch.setattr(toy.DropCopies, "prepare", fails)
    with pytest.raises(UserError, match="the stage 'unique' failed.*ValueError") as said: curate_notes(notes, tmp_path)
    log = Path(str(said.value).rsplit("its log is in ", 1)[1])
    assert "ValueError" in (log / "console.log").read_text()


def test_what_a_killed_process_leaves_is_swept(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (".00000.jsonl.gz.7.tmp", "a/.b.tmp", "kept", "half"): (tmp_path / name).touch()
    (tmp_path / "a/whole.tmp").mkdir()
    sweep(tmp_path, [tmp_path / "half"])
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "kept"]


def test_the_console_stays_quiet_and_the_watch_ends_at_the_whole(notes, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("DCLM_NB_PROGRESS", str(tmp_path / "told"))
    curate_notes(notes, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert told[-1]["name"] == "curate" and told[-1]["event"] == "end" and told[-1]["fraction"] == pytest.approx(1)
    assert {t["name"] for t in told} == {"curate", "read", "unique", "report"}


def submissions(jobs): return len(list(jobs.glob("*.args")))


def test_slurm_jobs_are_submitted_once(notes, sbatch, tmp_path, capsys):
    slurm = lambda: curate_notes(notes, tmp_path / "slurm", executor="slurm")
    assert slurm() is None
    # datatrove adds a job that merges the stages' counts
    assert submissions(sbatch) == 2 * 3 and "submitted 3 stages as Slurm jobs 100 to 105" in capsys.readouterr().out
    assert slurm() is None
    said = capsys.readouterr().out
    assert submissions(sbatch) == 6 and said.startswith("submitted before as Slurm jobs 100 to 105")
    assert said.count("\n") == 1
    # nor may this process work in their folder
    with pytest.raises(UserError, match="submitted before"): curate_notes(notes, tmp_path / "slurm")


def test_after_a_failure_only_what_is_missing_is_submitted(notes, sbatch, tmp_path, capsys):
    done = curate_notes(notes, tmp_path)
    (done.folder / "report.json").unlink()
    # the report's job failed
    (done.folder / "submitted.json").write_text(json.dumps(dict(jobs=["7", "8"], whole=True)))
    assert curate_notes(notes, tmp_path, executor="slurm") is None and submissions(sbatch) == 0
    told = capsys.readouterr().out
    assert "jobs 7 to 8" in told and f"delete {done.folder / 'submitted.json'}" in told
    (done.folder / "submitted.json").unlink()
    assert curate_notes(notes, tmp_path, executor="slurm") is None and submissions(sbatch) == 2
    assert "dclm_nb-report" in (sbatch / "0.script").read_text() and "dependency" not in (sbatch / "0.args").read_text()


@pytest.mark.parametrize("accepts, left", [(0, None), (3, ["100", "101", "102"])])
def test_a_refusal_of_sbatch_is_told_with_what_was_submitted(
    notes, sbatch, tmp_path, monkeypatch, capsys, accepts, left
):
    slurm = lambda: curate_notes(notes, tmp_path / "slurm", executor="slurm")
    monkeypatch.setenv("SBATCH_ACCEPTS", str(accepts))
    with pytest.raises(UserError, match="sbatch refused the stage") as refusal: slurm()
    records = [json.loads(p.read_text())["jobs"] for p in (tmp_path / "slurm").glob("*/submitted.json")]
    assert records == ([left] if left else []) and (
        "cut short after the Slurm jobs 100 to 102" if left else "nothing was submitted"
    ) in str(refusal.value)
    monkeypatch.delenv("SBATCH_ACCEPTS")
    assert slurm() is None and submissions(sbatch) == (3 if left else 6)
    assert ("cut short" in capsys.readouterr().out) == bool(left)


def test_two_processes_at_once_submit_once(notes, sbatch, tmp_path):
    code = (f"import sys; sys.path.insert(0, {HERE!r})\nfrom pathlib import Path\nfrom notes import curate_notes\n"
            "curate_notes([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]), executor='slurm')")
    command = [sys.executable, "-c", code, str(tmp_path / "slurm"), *map(str, notes)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(child.communicate(timeout=120)[0].split(" as ")[0] for child in children)
    assert said == ["submitted 3 stages", "submitted before"] and submissions(sbatch) == 6
