"""The whole pipeline: balanced books, the same bytes on one or two workers and after kill -9, and the three executors."""
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import dill
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation.blocks import Decide, Removal, load_documents, read_lines
from dclm_nb.curation.known_answers import compare_with_labels, quality_mix
from dclm_nb.curation.minicrawl import build_crawl
from dclm_nb.curation.pipeline import CurationConfig, build_pipeline, check_executor, curate, forget_lost_tasks, funnel, make_executor, run_key
from dclm_nb.curation.warc import Page, write_warc

CONFIG = CurationConfig(scale="smoke", keep_fraction=0.25, vocab_size=512, seq_len=64)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return build_crawl(tmp_path_factory.mktemp("pipeline") / "crawl", "smoke")


@pytest.fixture(scope="module")
def report(crawl, tmp_path_factory):
    return curate(crawl.warcs, tmp_path_factory.mktemp("curated"), CONFIG, workers=1)


def bytes_of(report):
    return {str(p.relative_to(report.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(report.folder.rglob("*"))
            if p.is_file() and not {"logs", "heartbeat"} & set(p.relative_to(report.folder).parts)}


def test_the_books_balance_and_every_page_has_one_fate(crawl, report):
    table = report.funnel
    assert table.removed.sum() + len(report.kept()) == table.left.iloc[0] and table.left.iloc[-1] == len(report.kept())
    removed = [r["url"] for r in report.removed()]
    kept = [d.metadata["url"] for d in report.kept()]
    readable = {url for url, label in crawl.labels().items() if label.expected != "read"}
    assert len(removed) + len(kept) == len(set(removed) | set(kept)) == len(readable)
    assert all(r["stage"] and r["step"] for r in report.removed())
    assert report.reasons.documents.sum() == table.removed.sum()


def test_a_page_lost_from_the_books_is_noticed(report, tmp_path):
    import shutil
    shutil.copytree(report.folder, tmp_path / "copy")
    victim = next(p for p in sorted((tmp_path / "copy/removed/heuristics").iterdir()) if sum(1 for _ in read_lines(p)))
    victim.unlink()
    with pytest.raises(RuntimeError, match="do not balance"): funnel(tmp_path / "copy")


def test_planted_defects_are_found(crawl, report):
    table = compare_with_labels(report, crawl.labels()).set_index("stage")
    assert (table.loc[["no page in the record", "extraction", "english", "dedup"], "recall"] > 0.9).all()
    mix = quality_mix(report, crawl.labels())
    assert mix.kept["good"] > mix.pool["good"] + 0.1


def test_two_workers_give_the_bytes_of_one(crawl, report, tmp_path):
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=2)) == bytes_of(report)


def test_a_finished_run_is_taken_and_another_configuration_is_another_run(crawl, report):
    began = time.time()
    again = curate(crawl.warcs, report.folder.parent, CONFIG)
    assert again.key == report.key and time.time() - began < 5
    assert run_key(CurationConfig(), crawl.warcs) != run_key(CurationConfig(faithful=False), crawl.warcs) != run_key(CurationConfig(faithful=False), crawl.warcs[:1])


@pytest.mark.parametrize("moment", ["records/00000.json", "pool", "scores", "tokens"])
def test_kill_minus_nine_and_again(crawl, report, tmp_path, moment):
    code = ("import sys; from dclm_nb.curation.pipeline import *\n"
            "curate(sys.argv[2:], sys.argv[1], CurationConfig(scale='smoke', keep_fraction=0.25, vocab_size=512, seq_len=64), workers=1)")
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *map(str, crawl.warcs)], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.time() + 120
    while child.poll() is None and not list(tmp_path.glob(f"*/{moment}")) and time.time() < deadline: time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob(f"*/{moment}")) and not list(tmp_path.glob("*/report.json")), "the kill came too early or too late to prove anything"
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=1)) == bytes_of(report)


def test_a_completion_mark_without_its_output_is_not_believed(crawl, report, tmp_path):
    first = curate(crawl.warcs, tmp_path, CONFIG, workers=1)
    (first.folder / "pool" / "00001.jsonl.gz").unlink()        # written by the one dedup task, which is marked as complete
    (first.folder / "report.json").unlink()
    stages = build_pipeline(CONFIG, [str(w) for w in crawl.warcs], first.folder)
    assert forget_lost_tasks(stages, first.folder, first.folder / "logs") == 1 + 1 + 3 + 3 + 1 + 1     # dedup, classifier, score, select, tokens, report
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=1)) == bytes_of(report)


def test_until_pool_stops_at_the_same_pool(crawl, report, tmp_path):
    from dataclasses import replace
    pool = curate(crawl.warcs, tmp_path, replace(CONFIG, until="pool"), workers=1)
    assert [d.text for d in pool.pool()] == [d.text for d in report.pool()] and not (pool.folder / "tokens").exists()
    assert pool.funnel.left.iloc[-1] == len(pool.pool())


class Explodes(Decide):
    name, stage = "explodes", "other filters"
    def decide(self, doc):
        if doc.text == "bomb": raise MemoryError("too much")


def test_an_exception_costs_one_page(tmp_path):
    from datatrove.data import Document
    docs = [Document(text=t, id=t, metadata=dict(url=t, shard=0)) for t in ("a", "bomb", "b")]
    assert [d.text for d in Explodes(tmp_path).run(iter(docs))] == ["a", "b"]
    assert [(r["url"], r["step"]) for r in read_lines(tmp_path / "explodes" / "00000.jsonl.gz")] == [("bomb", "error: MemoryError")]


def test_blocks_and_stages_can_be_pickled(tmp_path):
    for stage in build_pipeline(CONFIG, ["a.warc.gz", "b.warc.gz"], tmp_path):
        for block in stage.blocks: assert type(pickle.loads(pickle.dumps(block))) is type(block)
        assert dill.loads(dill.dumps(stage)).name == stage.name


def test_errors_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="at least one WARC"): curate([], tmp_path)
    with pytest.raises(UserError, match="no WARC file"): curate([tmp_path / "none.warc.gz"], tmp_path)
    with pytest.raises(UserError, match="local, ray, slurm"): check_executor("condor")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch"): check_executor("slurm")
    import importlib.util
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"dclm_nb\[cluster\]"): check_executor("ray")


def test_an_empty_pool_says_so(tmp_path):
    warc = write_warc(tmp_path / "empty.warc.gz", [Page("https://a.example/", b"<p>Too short.</p>", content_type="text/html")])
    with pytest.raises(UserError, match="no page is left"): curate([warc], tmp_path / "out", CONFIG, workers=1)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    "A stand-in for sbatch that keeps every script it is given and answers with a job number."
    (tmp_path / "bin").mkdir()
    (tmp_path / "jobs").mkdir()
    script = tmp_path / "bin" / "sbatch"
    script.write_text(f"#!/bin/sh\nn=$(ls {tmp_path}/jobs | wc -l)\nfor last; do :; done\necho \"$@\" > {tmp_path}/jobs/$n.args\ncat \"$last\" > {tmp_path}/jobs/$n.script 2>/dev/null\necho Submitted batch job $((100 + n))\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "jobs"


def test_slurm_gets_a_chain_of_jobs_that_can_be_unpickled(crawl, report, sbatch, tmp_path):
    assert curate(crawl.warcs, tmp_path / "slurm", CONFIG, executor="slurm", workers=4, partition="long") is None
    folder = tmp_path / "slurm" / report.key
    for stage in build_pipeline(CONFIG, [str(w) for w in crawl.warcs], folder):
        script = (folder / "logs" / stage.name / "launch_script.slurm").read_text()
        assert f"--job-name=dclm_nb-{stage.name}" in script and "--partition=long" in script and "launch_pickled_pipeline" in script and f"--array=0-{stage.tasks - 1}" in script
        with open(folder / "logs" / stage.name / "executor.pik", "rb") as file: executor = dill.load(file)
        assert executor.tasks == stage.tasks and [type(b) for b in executor.pipeline] == [type(b) for b in stage.blocks]
    arguments = "\n".join(p.read_text() for p in sbatch.glob("*.args"))
    assert arguments.count("--dependency=afterok:") == 6, "each stage but the first waits for the one before"


def test_slurm_tasks_run_to_the_same_bytes(crawl, report, sbatch, tmp_path, monkeypatch):
    "What a Slurm job would do: unpickle the executor in an array task, and run it."
    curate(crawl.warcs, tmp_path / "slurm", CONFIG, executor="slurm", workers=4)
    folder = tmp_path / "slurm" / report.key
    monkeypatch.setenv("SLURM_NODELIST", "localhost")
    for stage in build_pipeline(CONFIG, [str(w) for w in crawl.warcs], folder):
        for task in range(stage.tasks):
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
            with open(folder / "logs" / stage.name / "executor.pik", "rb") as file: executor = dill.load(file)
            monkeypatch.setattr("datatrove.executor.slurm.expand_slurm_nodelist", lambda nodes: [nodes], raising=False)
            executor.requeue_signals = None
            executor.run()
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert bytes_of(curate(crawl.warcs, tmp_path / "slurm", CONFIG, executor="slurm")) == bytes_of(report)


@pytest.mark.skipif("ray" not in sys.modules and __import__("importlib.util").util.find_spec("ray") is None, reason="Ray is not installed: pip install 'dclm_nb[cluster]'")
def test_ray_takes_the_same_stages(crawl, tmp_path):
    stages = build_pipeline(CONFIG, [str(w) for w in crawl.warcs], tmp_path)
    assert [make_executor(s, tmp_path / "logs", "ray", 2).world_size for s in stages] == [s.tasks for s in stages]


def test_console_stays_quiet(crawl, tmp_path, capfd):
    curate(crawl.warcs[:1], tmp_path, CurationConfig(scale="smoke", until="pool"), workers=1)
    err = capfd.readouterr().err
    assert "datatrove" not in err and "PIPELINE" not in err
    assert any("PIPELINE" in p.read_text() for p in Path(tmp_path).rglob("console.log"))


def test_documents_keep_their_identity(report):
    ids = [d.id for d in load_documents(report.folder / "pool")]
    assert len(ids) == len(set(ids)) and ids == sorted(ids)
    assert json.loads((report.folder / "report.json").read_text())["pool"] == len(ids)


def test_removal_is_a_reason_not_a_flag():
    assert Removal("english", "language", 8, 0.3) == Removal("english", "language", 8, 0.3)
