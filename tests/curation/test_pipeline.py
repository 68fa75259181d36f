"""The whole pipeline: balanced books, the same bytes on one or two workers and after kill -9, and the three
executors."""
import errno
import hashlib
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import dill
import pytest
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.core.learned import Learned
from dclm_nb.curation.known_answers import compare_with_labels, quality_mix
from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
from dclm_nb.curation import blocks, pipeline, quality
from dclm_nb.curation.pipeline import (
    CurationConfig, Stopped, build_pipeline, curate, funnel, run_key,
)
from dclm_nb.curation.warc import Page, read_warc, write_warc
from dclm_nb.stages.documents import load_documents, read_lines
from dclm_nb.stages.executors import check_executor
from dclm_nb.stages.running import sweep
from dclm_nb.stages.stage import forget_lost_tasks

SMALL = quality.ClassifierConfig(dim=8, bucket=50_000)
CONFIG = CurationConfig(training=SMALL, keep_fraction=0.25, vocab_size=512, seq_len=64)
POOL = CurationConfig(training=SMALL, until="pool")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return build_crawl(tmp_path_factory.mktemp("pipeline") / "crawl", CrawlSize(0.03, 15, 2, 10, 2))


@pytest.fixture(scope="module")
def report(crawl, tmp_path_factory):
    return curate(crawl.warcs, tmp_path_factory.mktemp("curated"), CONFIG, workers=1)


def bytes_of(report):
    return {
        str(p.relative_to(report.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(report.folder.rglob("*"))
        if p.is_file() and not {"logs", "heartbeat", "submitted.json"} & set(p.relative_to(report.folder).parts)
    }


def test_the_books_balance_and_every_page_has_one_fate(crawl, report):
    table = report.funnel
    assert table.removed.sum() + len(report.kept()) == table.left.iloc[0] and table.left.iloc[-1] == len(report.kept())
    removed = [r["url"] for r in report.removed()]
    kept = [d.metadata["url"] for d in report.kept()]
    readable = {url for url, label in crawl.labels().items() if label.expected != "read"}
    assert len(removed) + len(kept) == len(set(removed) | set(kept)) == len(readable)
    assert all(r["stage"] and r["step"] for r in report.removed())
    assert report.reasons.documents.sum() == table.removed.sum()


def test_the_report_says_what_was_used_and_from_which_configuration(crawl, report, tmp_path, monkeypatch):
    used, known = report.data["used"], report.data["classifier"]
    assert (
        report.data["config"] == json.loads(json.dumps(CONFIG.settings()))
        and used["extraction"] == "resiliparse"
        and used["faithful"].startswith("yes")
    )
    model = report.folder / known["model"]
    assert used["classifier"] == f"trained here, SHA-256 {hashlib.sha256(model.read_bytes()).hexdigest()}"
    pool = curate(crawl.warcs[:1], tmp_path, replace(POOL, faithful=False), workers=1)
    assert pool.data["used"]["faithful"].startswith("no") and pool.data["used"]["classifier"] == "none was needed"
    monkeypatch.setattr(quality, "released_classifier", lambda: model)
    for name, origin in ((str(model), "given file"), ("released", "released")):
        list(blocks.TrainQuality(tmp_path, "", SMALL, model=name).run(None))
        assert json.loads((tmp_path / "classifier.json").read_text()) == dict(
            model=str(model), origin=origin, sha256=known["sha256"]
        )


def test_a_page_lost_from_the_books_is_noticed(report, tmp_path):
    import shutil
    shutil.copytree(report.folder, tmp_path / "copy")
    removed = sorted((tmp_path / "copy/removed/heuristics").glob("*.gz"))
    victim = next(p for p in removed if sum(1 for _ in read_lines(p)))
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
    written = lambda: {path: path.stat().st_mtime_ns for path in report.folder.rglob("*") if path.is_file()}
    before = written()
    again = curate(crawl.warcs, report.folder.parent, CONFIG)
    assert again.key == report.key and written() == before
    assert (
        run_key(CurationConfig(), crawl.warcs)
        != run_key(CurationConfig(faithful=False), crawl.warcs)
        != run_key(CurationConfig(faithful=False), crawl.warcs[:1])
    )


def test_a_name_stands_for_the_training_in_the_key_and_in_the_report():
    plain, named = POOL.settings(), replace(POOL, name="small").settings()
    assert plain.pop("training") == asdict(SMALL) and named.pop("scale") == "small" and plain == named
    assert set(plain) == set(asdict(POOL)) - {"training", "name"}


@pytest.mark.parametrize("moment", ["scores", *nightly("records/00000.json", "tokens")])
def test_kill_minus_nine_and_again(crawl, report, tmp_path, moment):
    code = (
        "import sys; from dclm_nb.curation.pipeline import *\n"
        "from dclm_nb.curation.quality import ClassifierConfig\n"
        f"curate(sys.argv[2:], sys.argv[1], {CONFIG!r}, workers=1)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), *map(str, crawl.warcs)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 120
    while child.poll() is None and not list(tmp_path.glob(f"*/{moment}")) and time.time() < deadline: time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob(f"*/{moment}")) and not list(tmp_path.glob("*/report.json")), (
        "the kill came too early or too late to prove anything"
    )
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=1)) == bytes_of(report)


def test_a_completion_mark_without_its_output_is_not_believed(crawl, report, tmp_path):
    first = curate(crawl.warcs, tmp_path, CONFIG, workers=1)
    # written by the one dedup task, which is marked as complete
    (first.folder / "pool" / "00001.jsonl.gz").unlink()
    (first.folder / "report.json").unlink()
    stages = build_pipeline(CONFIG, [str(w) for w in crawl.warcs], first.folder)
    # dedup, classifier, score, select, tokens, report
    assert forget_lost_tasks(stages, first.folder, first.folder / "logs") == 1 + 1 + 3 + 3 + 1 + 1
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=1)) == bytes_of(report)


def test_until_pool_stops_at_the_same_pool(crawl, report, tmp_path):
    pool = curate(crawl.warcs, tmp_path, replace(CONFIG, until="pool"), workers=1)
    assert [d.text for d in pool.pool()] == [d.text for d in report.pool()] and not (pool.folder / "tokens").exists()
    assert pool.funnel.left.iloc[-1] == len(pool.pool())


@pytest.mark.parametrize(
    "shards, warcs, victim, lost", [(3, 1, "removed/dedup/00002", 1 + 1), (2, 3, "pool/00002", 1 + 1)]
)
def test_dedup_shards_need_not_be_as_many_as_warcs(crawl, tmp_path, shards, warcs, victim, lost):
    config = replace(POOL, dedup_shards=shards)
    first = curate(crawl.warcs[:warcs], tmp_path, config, workers=1)
    before, stages = bytes_of(first), build_pipeline(config, [str(w) for w in crawl.warcs[:warcs]], first.folder)
    assert forget_lost_tasks(stages, first.folder, first.folder / "logs") == 0
    (first.folder / f"{victim}.jsonl.gz").unlink()
    # the one dedup task that owes it, and the report
    assert forget_lost_tasks(stages, first.folder, first.folder / "logs") == lost
    (first.folder / "report.json").unlink()
    assert bytes_of(curate(crawl.warcs[:warcs], tmp_path, config, workers=1)) == before


@pytest.mark.parametrize("file", ["scores/.00002", *nightly("kept/.00000")])
def test_a_full_disk_is_named_and_costs_nothing(crawl, report, tmp_path, monkeypatch, file):
    real = os.fsync
    def full(fd):
        if file in os.readlink(f"/proc/self/fd/{fd}"): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full.*finished tasks are kept"):
        curate(crawl.warcs, tmp_path, CONFIG, workers=1)
    monkeypatch.undo()
    assert bytes_of(curate(crawl.warcs, tmp_path, CONFIG, workers=1)) == bytes_of(report)


def test_what_a_killed_process_leaves_is_swept(tmp_path, monkeypatch):
    def killed(examples, output, settings): raise SystemExit([p.name for p in tmp_path.iterdir()])
    monkeypatch.setattr(quality, "_train_in_child", killed)
    with pytest.raises(SystemExit) as left: quality.train_classifier(["a"], ["b"], tmp_path)
    for name in (*left.value.code, ".tokens-x", "tokens"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    for name in (".00000.jsonl.gz.7.tmp", "bpe512.tmp", "quality-0.bin"): (tmp_path / name).touch()
    sweep(tmp_path, pipeline._halves(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["quality-0.bin"]


def test_blocks_and_stages_can_be_pickled(tmp_path):
    for stage in build_pipeline(CONFIG, ["a.warc.gz", "b.warc.gz"], tmp_path):
        for block in stage.blocks: assert type(pickle.loads(pickle.dumps(block))) is type(block)
        assert dill.loads(dill.dumps(stage)).name == stage.name


def test_errors_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="at least one WARC"): curate([], tmp_path)
    with pytest.raises(UserError, match="no WARC file"): curate([tmp_path / "none.warc.gz"], tmp_path)
    with pytest.raises(UserError, match="local, ray, slurm"): check_executor("condor")
    # one, not nine letters
    with pytest.raises(UserError, match="no WARC file"): curate("none.warc.gz", tmp_path)
    for setting in (
        dict(keep_fraction=10),
        dict(dedup_shards=0),
        dict(extraction="readability"),
        dict(lists="mine"),
        dict(decontaminate=("mmlu",)),
    ):
        with pytest.raises(UserError): CurationConfig(**setting)
    for setting in (dict(classifier="none.bin"), dict(tokenizer="none.json")):
        with pytest.raises(UserError, match=f"no {next(iter(setting))} file none"):
            run_key(CurationConfig(**setting), [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch"): check_executor("slurm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"dclm_nb\[cluster\]"): check_executor("ray")


def test_the_released_classifier_is_reached_by_name_and_missed_in_one_line(crawl, tmp_path, monkeypatch, capfd):
    import logging

    import huggingface_hub
    def no_network(*args, **kwargs):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 4/5].")
        raise ConnectionError("no route to host")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_network)
    with pytest.raises(UserError, match=r"released classifier cannot be fetched \(ConnectionError\)"):
        curate(crawl.warcs, tmp_path, CurationConfig(classifier="released"))
    monkeypatch.undo()
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    with pytest.raises(UserError, match="DCLM_NB_OFFLINE is set"):
        curate(crawl.warcs, tmp_path, CurationConfig(classifier="released"))
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_a_file_counts_by_its_content_and_an_address_by_itself(crawl, tmp_path, monkeypatch):
    (model := tmp_path / "model").write_text("one")
    (other := tmp_path / "other").write_text("one")
    for setting in ("classifier", "tokenizer"):
        key = run_key(CurationConfig(**{setting: str(model)}), crawl.warcs)
        assert run_key(CurationConfig(**{setting: str(other)}), crawl.warcs) == key
        other.write_text("another")
        assert run_key(CurationConfig(**{setting: str(other)}), crawl.warcs) != key
        other.write_text("one")
    # and nothing was fetched
    assert run_key(CONFIG, ["crawl-data/a.warc.gz"]) == run_key(CONFIG, ["s3://commoncrawl/crawl-data/a.warc.gz"])
    monkeypatch.setattr(blocks, "fetch_warc", lambda address: Path("fetched", address))
    assert blocks.open_warc("crawl-data/a.warc.gz") == Path(
        "fetched", "https://data.commoncrawl.org/crawl-data/a.warc.gz"
    )


def test_an_empty_pool_says_so(tmp_path):
    warc = write_warc(
        tmp_path / "empty.warc.gz", [Page("https://a.example/", b"<p>Too short.</p>", content_type="text/html")]
    )
    for _ in range(2):  # the second time from the stored report
        with pytest.raises(Stopped, match="no page is left") as left:
            curate([warc], tmp_path / "out", CONFIG, workers=1)
        assert (
            left.value.exit_code == 2
            and left.value.report.reasons.documents.sum() == 2
            and left.value.report.funnel.left.iloc[-1] == 0
        )
    assert (left.value.report.folder / "report.json").is_file() and not list(
        (tmp_path / "out").rglob("classifier*.json")
    )
    assert curate([warc], tmp_path / "out", POOL, workers=1).pool() == []


def few_pages(crawl, folder, pages: int) -> Path:
    "An archive with the first pages of a pool, which all rules let pass."
    kept = list(read_warc(crawl.warcs[0]))
    good = {label.url for label in crawl.labels().values() if label.quality == "good"}
    return write_warc(folder / "few.warc.gz", [page for page in kept if page.url in good][:pages])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_too_small_for_a_classifier_says_so_and_what_to_do(crawl, tmp_path, workers):
    warc = few_pages(crawl, tmp_path, 40)
    for _ in range(2):                                          # the second time from the stored report
        with pytest.raises(Stopped) as stopped: curate([warc], tmp_path / "out", CONFIG, workers=workers)
        report = stopped.value.report
        pool = len(report.pool())
        assert 1 < pool < blocks.TrainQuality.fewest_pages and report.funnel.left.iloc[-1] == pool
        assert str(stopped.value) == (
            f"a pool of {pool} pages is too small to train the quality classifier, which takes 50: give more archives; "
            "or a trained classifier, with --classifier FILE or --classifier released; or none, with --classifier "
            "none, which keeps the whole pool")
        assert list(report.contents()) == ["pool", "removed", "report.json"]
        assert report.data["used"]["classifier"] == "not trained"
    way_out = curate([warc], tmp_path / "out", replace(CONFIG, classifier="none"), workers=1)
    assert way_out.data["kept"] == pool and list(way_out.contents()) == ["pool", "tokens", "removed", "report.json"]


def test_a_classifier_that_has_not_learned_stops_with_what_it_reached(crawl, tmp_path, monkeypatch):
    reached = (Learned("fastText classifier", "held-out AUC", 0.6, 0.5, "a coin", margin=0.28, n=50),)
    monkeypatch.setattr(quality, "tune_classifier", lambda *_, **__: SimpleNamespace(learned=reached))
    with pytest.raises(Stopped) as stopped: curate(crawl.warcs, tmp_path, CONFIG, workers=1)
    pool = stopped.value.report.data["pool"]
    assert str(stopped.value).startswith(
        f"the quality classifier has not learned from a pool of {pool} pages (held-out AUC 0.6 on 50 held-out items, a "
        "coin has 0.5, at least 0.28 better is needed): give more archives; or")


def test_too_few_tokens_for_a_context_stop_with_the_pool(crawl, tmp_path):
    long = replace(CONFIG, classifier="none", seq_len=1_000_000)
    with pytest.raises(Stopped, match="do not fill one context of 1,000,001") as stopped:
        curate([few_pages(crawl, tmp_path, 10)], tmp_path / "out", long, workers=1)
    assert list(stopped.value.report.contents()) == ["pool", "removed", "report.json"]


def test_a_removed_page_stands_beside_the_limit_that_it_did_not_keep(report):
    limits = {gone["step"]: gone["limit"] for gone in report.removed()}
    assert {step: limits[step] for step in ("language", "page length", "removed words", "seen before", "repetition",
                                            "below the percentile", "not-utf-8")} == {
        "language": "en > 0.65; number: the likeliest language",
        "page length": "50 to 100,000 words", "removed words": "<= 0.05 of words",
        "seen before": "<= 0.8 of its n-grams seen before", "repetition": "13 limits of 0.1 to 0.3 of what repeats",
        "below the percentile": "among the best 0.25 of the scores", "not-utf-8": ""}
    assert all(gone["statistic"] < 50 for gone in report.removed() if gone["step"] == "page length")


def test_a_job_finds_its_programs_without_the_environment_it_was_submitted_from(crawl, sbatch, tmp_path):
    curate(crawl.warcs[:1], tmp_path / "slurm", POOL, executor="slurm")
    script, = (tmp_path / "slurm").glob("*/logs/heuristics/launch_script.slurm")
    bare = {
        "PATH": f"{sbatch.parent / 'bin'}:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURM_NODELIST": "localhost",
    }
    ran = subprocess.run(
        ["bash", script],
        # PYTHONPATH: where the library lies, if it is not installed
        env={**bare, **{k: v for k, v in os.environ.items() if k.startswith("DCLM_NB_") or k == "PYTHONPATH"}},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0 and (script.parent / "completions" / "00000").exists(), ran.stderr[-500:]


def test_slurm_gets_a_chain_of_jobs_that_can_be_unpickled(crawl, report, sbatch, tmp_path):
    assert curate(crawl.warcs, tmp_path / "slurm", CONFIG, executor="slurm", workers=4, partition="long") is None
    folder = tmp_path / "slurm" / report.key
    for stage in build_pipeline(CONFIG, [str(w) for w in crawl.warcs], folder):
        script = (folder / "logs" / stage.name / "launch_script.slurm").read_text()
        assert (
            f"--job-name=dclm_nb-{stage.name}" in script
            and "--partition=long" in script
            and "launch_pickled_pipeline" in script
            and f"--array=0-{stage.tasks - 1}" in script
        )
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


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'dclm_nb[cluster]'"
)


@needs_ray
def test_ray_leaves_what_one_worker_leaves_quietly(crawl, report, tmp_path, capfd):
    parallel = curate(crawl.warcs, tmp_path, CONFIG, executor="ray", workers=2)
    assert bytes_of(parallel) == bytes_of(report) and parallel.funnel.equals(report.funnel)
    assert "datatrove" not in (err := capfd.readouterr().err) and "Traceback" not in err


@needs_ray
def test_a_task_that_fails_on_ray_ends_the_run_with_its_error(tmp_path):
    "datatrove would wait for it forever."
    warc = write_warc(
        tmp_path / "empty.warc.gz", [Page("https://a.example/", b"<p>Too short.</p>", content_type="text/html")]
    )
    with pytest.raises(Stopped, match="no page is left") as left:
        curate([warc], tmp_path / "out", CONFIG, executor="ray", workers=1)
    assert left.value.report.funnel.left.iloc[-1] == 0


def test_console_stays_quiet(crawl, tmp_path, capfd):
    curate(crawl.warcs[:1], tmp_path, POOL, workers=1)
    err = capfd.readouterr().err
    assert "datatrove" not in err and "PIPELINE" not in err
    assert any("PIPELINE" in p.read_text() for p in Path(tmp_path).rglob("console.log"))


def test_documents_keep_their_identity(report):
    ids = [d.id for d in load_documents(report.folder / "pool")]
    assert len(ids) == len(set(ids)) and ids == sorted(ids)
    assert json.loads((report.folder / "report.json").read_text())["pool"] == len(ids)


def test_the_record_of_a_removed_page_says_which_page_and_how_it_begins(report):
    fields = {"id", "shard", "url", "stage", "number", "step", "statistic", "limit", "characters", "begins"}
    assert all(set(r) == fields and r["url"] for r in report.removed())
    assert all(r["characters"] == len(r["begins"]) for r in report.removed() if r["characters"] < 200)
    assert max(r["characters"] for r in report.removed()) > max(len(r["begins"]) for r in report.removed()) == 200


def test_tokens_without_a_classifier_are_those_of_the_whole_pool(crawl, report, tmp_path):
    "No score is made and no page is dropped for one; the pool can also be read a text at a time."
    from dataclasses import replace
    from dclm_nb.curation.tokens import tokenise
    plain = curate(crawl.warcs, tmp_path, replace(CONFIG, classifier="none"), workers=1)
    assert not (plain.folder / "classifier.json").exists() and not (plain.folder / "scores").exists()
    assert plain.data["pool"] == plain.data["kept"] == report.data["pool"] == plain.funnel.left.iloc[-1]
    assert plain.data["used"]["classifier"] == "none was needed"
    assert list(plain.texts()) == [d.text for d in report.pool()]
    tokenizer = next(plain.folder.glob("bpe*.json"))
    mine = tokenise(plain.texts(), tokenizer, tmp_path / "mine", CONFIG.seq_len, CONFIG.seed)
    for file in mine.folder.iterdir(): assert file.read_bytes() == (plain.tokens / file.name).read_bytes()
    assert plain.key != report.key
