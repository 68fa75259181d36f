"""Blocks of any curation: what is read, what is removed, and books in which nothing is missing."""
import errno
import json
import os
import pickle
from pathlib import Path

import pytest
from datatrove.data import Document

from dclm_nb.core.errors import UserError
from dclm_nb.stages.books import Books, NeedDocuments, Report, WriteReport
from dclm_nb.stages.decisions import Decide, Removal, read_removals
from dclm_nb.stages.documents import (
    LoadDocuments, SaveDocuments, documents_table, json_lines, load_documents, read_lines,
)
from dclm_nb.stages.reading import ReadFiles, ReadShards, Unreadable, into_shards
from dclm_nb.stages.stage import Stage


def documents(*texts, shard=0): return [Document(text=t, id=t, metadata=dict(shard=shard)) for t in texts]


def test_texts_that_no_file_can_hold_come_back_as_they_were(tmp_path):
    with json_lines(tmp_path / "a") as write: write(dict(text="half a pair: \ud83d", n=None))
    assert list(read_lines(tmp_path / "a")) == [dict(text="half a pair: \ud83d", n=None)]


@pytest.mark.parametrize("shards, tasks", [(1, 3), (3, 1), (5, 2), (2, 2)])
def test_every_shard_falls_to_one_task_whatever_their_numbers(tmp_path, shards, tasks):
    docs = [Document(text=str(i), id=str(i), metadata=dict(shard=i % shards)) for i in range(7)]
    assert len(list(SaveDocuments(tmp_path / "a", shards).run(iter(docs)))) == 7
    for rank in range(tasks):
        loaded = LoadDocuments(tmp_path / "a", shards).run(None, rank, tasks)
        list(SaveDocuments(tmp_path / "b", shards).run(loaded, rank, tasks))
    assert [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "b").iterdir())
    ]
    assert sorted(d.id for d in load_documents(tmp_path / "b")) == sorted(d.id for d in docs)
    assert documents_table(tmp_path / "b").shard.nunique() == shards


class Explodes(Decide):
    name, stage = "explodes", "other filters"
    def decide(self, doc):
        if doc.text == "bomb": raise MemoryError("too much")
        if doc.text == "disk": raise OSError(errno.EIO, "input/output error")
    def described(self, doc): return dict(letters=len(doc.text))


def test_an_exception_costs_one_document(tmp_path):
    assert [d.text for d in Explodes(tmp_path).run(iter(documents("a", "bomb", "b")))] == ["a", "b"]
    assert list(read_removals(tmp_path)) == [
        dict(id="bomb", shard=0, stage="other filters", step="error: MemoryError", number=0, statistic="too much",
             letters=4)
    ]
    # not the document's fault
    with pytest.raises(OSError): list(Explodes(tmp_path).run(iter(documents("disk"))))


def test_a_description_cannot_hide_the_reason(tmp_path):
    class Liar(Decide):
        name = "liar"
        def decide(self, doc): return Removal("truth", "step", statistic=Path("odd"))
        def described(self, doc): return dict(stage="lie", step="lie", film="f")
    list(Liar(tmp_path).run(iter(documents("a"))))
    record, = read_removals(tmp_path)
    assert (record["stage"], record["step"], record["film"], record["statistic"]) == ("truth", "step", "f", "odd")


def test_what_a_block_holds_is_let_go_also_after_an_error(tmp_path):
    ended = []
    class Holds(Explodes):
        def finish(self): ended.append(self.name)
    with pytest.raises(OSError): list(Holds(tmp_path).run(iter(documents("a", "disk"))))
    assert ended == ["explodes"] and not list(tmp_path.rglob("*.gz")) and not list(tmp_path.rglob("*.tmp"))


class Reader(ReadFiles):
    name, unit = "reader", "lines"
    def documents_of(self, path):
        for i, line in enumerate(path.read_text().splitlines()):
            if line == "end": raise Unreadable("broken off", "here")
            if line == "crash": raise ValueError("what is this")
            if line == "full": raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if line == "mend": raise UserError("pip install it")
            yield Document(text=line, id=f"{path.stem}/{i}")


def read(tmp_path, **files):
    paths = []
    for name, text in files.items():
        paths.append(tmp_path / name)
        paths[-1].write_text(text)
    paths.append(tmp_path / "missing")
    shards = into_shards(paths, 2)
    found = [d for rank in range(2) for d in Reader(shards, tmp_path / "records").run(None, rank, 2)]
    return found, [json.loads(p.read_text()) for p in sorted((tmp_path / "records").glob("*.json"))]


def test_an_exception_of_another_room_may_name_the_cause(tmp_path):
    from dclm_nb.shards.tally import Refused
    class Refuses(ReadFiles):
        def documents_of(self, path):
            yield Document(text="first", id="first")
            raise Refused("picture truncated") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert len(list(Refuses([["a"]], tmp_path).run(None))) == 1
    assert json.loads((tmp_path / "00000.json").read_text()) == {
        "records": 2, "documents": 1, "unreadable": {"picture truncated": 1},
        "faults": [{"source": "a", "cause": "picture truncated", "detail": ""}],
    }


def test_every_file_is_read_or_counted_and_costs_only_itself(tmp_path):
    found, records = read(tmp_path, a="1\n2", b="crash", c="3\nend\n4", d="5")
    assert [(d.id, d.metadata["shard"]) for d in found] == [("a/0", 0), ("a/1", 0), ("c/0", 1), ("d/0", 1)]
    # the last shard is the third, and task 0 has it
    assert [r["records"] for r in records] == [3, 3, 1] and [r["lines"] for r in records] == [2, 2, 0]
    faults = [f for r in records for f in r["faults"]]
    assert [(Path(f["source"]).name, f["cause"], f["detail"]) for f in faults[:2]] == [
        ("b", "error: ValueError", "what is this"), ("c", "broken off", "here")
    ]
    assert faults[2]["cause"] == "error: FileNotFoundError" and faults[2]["source"].endswith("missing")


@pytest.mark.parametrize("line, error", [("full", OSError), ("mend", UserError)])
def test_what_the_next_file_would_meet_too_ends_the_task_without_a_record(tmp_path, line, error):
    with pytest.raises(error): read(tmp_path, a="1", b=line)
    assert not list(tmp_path.glob("records/*"))


def test_a_heartbeat_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "a").write_text("1")
    assert len(list(Reader([[tmp_path / "a"]], tmp_path / "records", tmp_path / "file").run(None))) == 1
    list(Reader([[tmp_path / "a"]], tmp_path / "records", tmp_path / "beats").run(None))
    assert (tmp_path / "beats/00000").read_text() == "done"


def test_books_name_a_loss_and_keep_their_order(tmp_path):
    class Two(ReadShards):
        def documents(self, shard, unread):
            unread.add("damaged", n=2)
            yield from documents("a", "bomb", "b")
    books = Books(("unread", "later", "other filters"), unread="unread", read="things")
    kept = SaveDocuments(tmp_path / "kept", 1)
    list(kept.run(Explodes(tmp_path / "removed").run(Two([None], tmp_path / "records").run(None))))
    table = books.funnel(tmp_path)
    assert table.stage.tolist() == ["things", "unread", "other filters"] and table.left.tolist() == [5, 3, 2]
    # a stage that the order does not know comes last
    assert Books().funnel(tmp_path).stage.tolist() == ["records read", "other filters", "unreadable"]
    list(WriteReport(tmp_path, books).run(iter([])))
    report = Report(tmp_path, "key", json.loads((tmp_path / "report.json").read_text()))
    assert report.funnel.equals(table) and report.reasons.documents.sum() == 3 and report.faults() == []
    with json_lines(tmp_path / "kept/00000.jsonl.gz"): pass
    with pytest.raises(RuntimeError, match="do not balance: 5 records read, 3 removed, 0 kept"): books.funnel(tmp_path)


def test_nothing_left_is_told_with_the_report(tmp_path):
    list(SaveDocuments(tmp_path / "pool", 1).run(iter([])))
    (tmp_path / "records").mkdir()
    (tmp_path / "records/00000.json").write_text('{"records": 1, "unreadable": {"damaged": 1}}')
    need = NeedDocuments(WriteReport(tmp_path, Books(), "pool"), "nothing is left")
    with pytest.raises(UserError, match="nothing is left"): pickle.loads(pickle.dumps(need)).run(iter([]))
    assert json.loads((tmp_path / "report.json").read_text())["kept"] == 0


def test_a_stage_is_whole_with_more_tasks_than_shards_and_with_fewer(tmp_path):
    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    many = Stage("dedup", 3, [], ("removed/{:05d}",), ("pool/{:05d}",), shards=1)
    touch("removed/00001", "pool/00000")
    # 0 lacks its own file, 1 had no shard, 2 has left nothing
    assert [many.is_whole(tmp_path, rank) for rank in range(3)] == [False, True, False]
    few = Stage("dedup", 2, [], ("removed/{:05d}",), ("pool/{:05d}",), shards=3)
    touch("removed/00000")
    # 0 owes shard 2, 1 owes shard 1
    assert [few.is_whole(tmp_path, rank) for rank in range(2)] == [False, False]
    touch("pool/00002")
    assert [few.is_whole(tmp_path, rank) for rank in range(2)] == [True, False]
