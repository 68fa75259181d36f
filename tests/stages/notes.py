"""A toy curation that uses the room `stages` alone: a folder of notes is read by paragraphs, short ones and copies go,
what is left is written. In a module, so that workers and processes of their own can import it."""
from pathlib import Path

from datatrove.data import Document

from dclm_nb.core.files import sha256_of
from dclm_nb.core.runs import run
from dclm_nb.stages.books import Books, NeedDocuments, Report, WriteReport
from dclm_nb.stages.decisions import Decide, Removal
from dclm_nb.stages.documents import LoadDocuments, SaveDocuments, documents_table
from dclm_nb.stages.reading import ReadFiles, Unreadable, into_shards
from dclm_nb.stages.running import pipeline_key, run_pipeline
from dclm_nb.stages.stage import Stage

BOOKS = Books(("unreadable notes", "length", "duplicates"), "unreadable notes", "paragraphs and unreadable notes")
LINES = "{:05d}.jsonl.gz"
NOTES = {
    "a": b"the cat sat on the mat\n\nhello\n\nit rains in Spain today",
    "b": b"",
    "c": b"it rains in Spain today\n\nthe dog sat beside the cat",
    "d": b"not UTF-8: caf\xe9",
    "e": b"bye bye\n\nthe cat sat on the mat\n\nnobody was at home",
    "f": b"two and a half lines\n\nand then\n\nBROKEN OFF",
    "g": b"CRASH",
}


class ReadNotes(ReadFiles):
    name, unit, beat_every = "notes", "paragraphs", 1
    def documents_of(self, path: Path):
        if not (data := path.read_bytes()): raise Unreadable("empty file")
        try: text = data.decode()
        except UnicodeDecodeError as e: raise Unreadable("not UTF-8", f"at byte {e.start}") from e
        for i, part in enumerate(text.split("\n\n")):
            if part == "CRASH": raise ZeroDivisionError("of the reader")
            if part == "BROKEN OFF": raise Unreadable("broken off", f"behind paragraph {i}")
            yield Document(text=part, id=f"{path.stem}/{i}")


class Note(Decide):
    def described(self, doc: Document) -> dict: return dict(begins=doc.text[:20])


class DropShort(Note):
    name, stage = "short", "length"
    def __init__(self, removed, fewest: int):
        super().__init__(removed)
        self.fewest = fewest

    def decide(self, doc: Document) -> Removal | None:
        words = len(doc.text.split())
        doc.metadata["words"] = words
        if words < self.fewest: return Removal(self.stage, f"fewer than {self.fewest} words", statistic=words)


class DropCopies(Note):
    name, stage = "copies", "duplicates"
    def __init__(self, removed, pool):
        super().__init__(removed)
        self.pool = str(pool)

    def prepare(self, rank: int, world_size: int) -> None:
        self.first = documents_table(self.pool).drop_duplicates("text").set_index("text").id

    def decide(self, doc: Document) -> Removal | None:
        if self.first[doc.text] != doc.id: return Removal(self.stage, "seen before", statistic=self.first[doc.text])


@run("toy/notes", version=1)
def notes_pipeline(shards: list[list[str]], fewest: int, folder: Path) -> list[Stage]:
    n, removed = len(shards), folder / "removed"
    read = [ReadNotes(shards, folder / "records", folder / "heartbeat"), DropShort(removed, fewest)]
    need = NeedDocuments(WriteReport(folder, BOOKS, "long"), "no paragraph is left")
    unique = [need, LoadDocuments(folder / "long", n), DropCopies(removed, folder / "long")]
    return [
        Stage("read", n, [*read, SaveDocuments(folder / "long", n)], (f"removed/short/{LINES}",),
              (f"long/{LINES}", "records/{:05d}.json"), n, light=False, share=0.8, documents=3),
        Stage("unique", 1, [*unique, SaveDocuments(folder / "kept", n)], (f"removed/copies/{LINES}",),
              (f"kept/{LINES}",), n, share=0.2),
        Stage("report", 1, [WriteReport(folder, BOOKS)], ("report.json",), share=0),
    ]


def write_notes(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    for name, data in NOTES.items(): (folder / f"{name}.txt").write_bytes(data)
    return sorted(folder.iterdir())


def curate_notes(paths: list[Path], out: Path, fewest: int = 3, workers: int = 1, **how) -> Report | None:
    key = pipeline_key(notes_pipeline, dict(fewest=fewest), {Path(p).name: sha256_of(p) for p in paths})
    stages = notes_pipeline(into_shards(paths, 2), fewest, out / key)
    told = run_pipeline(stages, out / key, workers=workers, **how)
    return Report(out / key, key, told) if told else None
