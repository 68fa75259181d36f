"""A page may not take more than in proportion to its size, whatever is in it: time, memory and text are bounded for
every extractor, who breaks a bound is refused under its cause, and nobody else is lost."""
import ctypes
import faulthandler
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from forked import forked, marked
from tiers import nightly

from dclm_nb.core.airlock import alone
from dclm_nb.curation import extract as module
from dclm_nb.curation.extract import METHODS, Bounds, ExtractionFailure, extract_text, extract_texts
from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
from dclm_nb.curation.pipeline import CurationConfig, curate
from dclm_nb.curation.warc import Page, read_warc, write_warc
from dclm_nb.stages.documents import read_lines

TRAPS = {      # name -> (what is repeated, {} being its number; how often; how it may end with resiliparse)
    "font": ("<p><font c={}>w", 1500, ["too_much_memory"]),
    "bold": ("<p><b id=b{}>w", 1500, ["too_much_memory"]),
    "code": ("<p><code class=c{}>w", 1500, ["too_much_memory"]),
    "many kinds": ("<p><i a={}><u b={}><tt c={}>w", 700, ["too_much_memory"]),
    "ordered lists": ("<ol><li>x", 20_000, ["too_much_memory"]),
    "very deep lists": ("<ol><li>x", 53_000, ["too_much_memory"]),
    "lists, a little deep": ("<ol><li>x", 2500, ["too_much_text"]),
    "lists around paragraphs": ("<OL\n><p>x", 20_000, ["too_much_memory"]),
    "divisions": ("<div>x", 20_000, ["too_deep"]),
    "articles": ("<article><p>x", 20_000, ["too_deep"]),
    "links in lines": ("<div><a href={}>w</div>", 2500, []),
    "quotes": ("<blockquote>x", 30_000, []),
    "tables": ("<table><tr><td>x", 10_000, []),
    "paragraphs": ("<p>x", 50_000, []),
    "attributes": ("<a b{}=c>", 10_000, []),
}
BREAKING = {"too_big", "too_deep", "too_many_tags", "timeout", "too_much_memory", "too_much_text", "crash"}

MEASURE = """
import json, resource
from dclm_nb.curation.extract import ExtractionFailure, extract_text
def main(html, method, told):
    try: text, cause = extract_text(html.encode(), method), ""
    except ExtractionFailure as failure: text, cause = "", failure.cause
    height = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with open(told, "w") as file: json.dump([cause, len(text), height], file)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    "(cause, characters, MiB at the caller's height) of a page whose text is asked for in a process of its own."
    told = tmp_path_factory.mktemp("measured") / "told.json"
    with forked(MEASURE) as call:
        def measure(html, method):
            assert call(html, method, str(told)) == 0, "the page ended the process that asked for its text"
            return json.loads(told.read_text())
        yield measure


def trap(name):
    piece, times, _ = TRAPS[name]
    return "<html><body>" + "".join(piece.format(k, k, k) for k in range(times))


ALWAYS = {"wet": ["font", "ordered lists", "lists, a little deep"], "trafilatura": ["font", "ordered lists"]}
CASES = [("resiliparse", name) for name in TRAPS]
for method, always in ALWAYS.items():
    CASES += [pytest.param(method, name, marks=[] if name in always else pytest.mark.nightly) for name in TRAPS]


@pytest.mark.parametrize("method, name", CASES)
def test_no_page_takes_more_than_in_proportion_to_its_size(name, method, measured):
    html = trap(name)
    cause, characters, height = measured(html, method)
    assert not cause or cause in BREAKING
    if method == "resiliparse": assert [cause] == TRAPS[name][2] or not cause and not TRAPS[name][2]
    assert characters <= 100_000 + 4 * len(html) and height < 250


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return build_crawl(tmp_path_factory.mktemp("bounded") / "crawl", CrawlSize(0.03, 15, 2, 10, 2))


@pytest.fixture(scope="module")
def pages(crawl):
    return [(page.html, page.charset) for warc in crawl.warcs for page in read_warc(warc)]


def in_this_process(html, charset, method, faithful):
    try: return module._text(html, charset, method, faithful, module.BOUNDS[method])
    except ExtractionFailure as failure: return failure.cause


def plain(answers): return [a.cause if isinstance(a, ExtractionFailure) else a for a in answers]


BAD = [trap(name).encode() for name in ("font", "lists, a little deep", "ordered lists", "divisions")]
WHY = ["too_much_memory", "too_much_text", "too_much_memory", "too_deep"]


@pytest.mark.parametrize("method, faithful", [("resiliparse", True), ("resiliparse", False), ("wet", True),
                                              pytest.param("trafilatura", True, marks=pytest.mark.nightly)])
def test_ordinary_pages_are_as_ever_and_in_order_also_among_traps(method, faithful, pages):
    expected = [in_this_process(*page, method, faithful) for page in pages]
    assert plain(extract_texts(pages, method, faithful)) == expected
    if method != "resiliparse": return
    among, fates = list(pages), list(expected)
    for k, (html, why) in enumerate(zip(BAD, WHY)):
        among.insert(100 * k + 7, (html, ""))
        fates.insert(100 * k + 7, why)
    assert plain(extract_texts(among, method, faithful)) == fates
    assert plain(extract_texts(iter([]), method)) == []


# What a parser may do to its process; planted here, as no real one does all of it.
def _toils(_):
    while True: pass


def _grows(html): return "x" * (1 << 27)


def _grows_and_falls(html):
    kept = b"x" * (60 << 20)
    ctypes.string_at(0)


def _talks(html): return "word " * 100_000


def _stumbles(html): raise KeyError("inside")


@pytest.mark.parametrize("ill, cause", [
    (_toils, "timeout"), (_grows, "too_much_memory"), (_grows_and_falls, "too_much_memory"), (_talks, "too_much_text"),
    (lambda html: ctypes.string_at(0), "crash"), (lambda html: os.abort(), "crash"),
    (lambda html: os._exit(0), "crash"),
    (lambda html: os.kill(os.getpid(), signal.SIGTERM), "crash"), (_stumbles, "error: KeyError"),
    (lambda html: [][1], "error: IndexError"),
])
def test_each_bound_has_its_cause(ill, cause, monkeypatch):
    def parser(html):
        if "ill" not in html: return "well"
        faulthandler.disable()                          # pytest's would print a page about a fork that falls
        return ill(html)
    monkeypatch.setitem(METHODS, "resiliparse", parser)
    monkeypatch.setattr(module, "_airlock", Here)
    module._warm.cache_clear()
    answers = extract_texts([(b"a", ""), (b"ill", ""), (b"b", "")], bounds=Bounds(seconds=0.3))
    assert plain(answers) == ["well", cause, "well"]


class Here:
    "Stands in for the process next door: its work is done in forks of this one, which know what was planted."
    def run(self, target, *args):
        return alone(target, *args)


def test_a_child_that_is_killed_costs_no_page(pages):
    expected = [in_this_process(*page, "resiliparse", True) for page in pages]
    extract_text(b"<p>warm")
    door, killed = module._own.airlock, []
    def kill():
        for _ in range(3):
            while killed and killed[-1] == door.starts or not door.greeted: time.sleep(0.001)
            killed.append(door.starts)
            door.child.kill()
    threading.Thread(target=kill, daemon=True).start()
    for _ in range(20):
        assert plain(extract_texts(pages)) == expected
        if len(killed) == 3: break
    assert len(killed) > 1


def test_memory_that_a_library_keeps_condemns_nobody(monkeypatch):
    "A parser that never frees: each page takes a little more, and none is refused for what those before it took."
    kept = []
    monkeypatch.setitem(METHODS, "resiliparse", lambda html: kept.append(b"x" * (20 << 20)) or "well")
    monkeypatch.setattr(module, "_airlock", Here)
    module._warm.cache_clear()
    assert plain(extract_texts([(b"%d" % k, "") for k in range(12)])) == ["well"] * 12


def _extracted(pages, told): told.put(plain(extract_texts(pages)))


@pytest.mark.parametrize("way", ["fork", "spawn", *nightly("forkserver")])
def test_forks_and_new_processes_extract_side_by_side(way, pages):
    some = pages[:40] + [(BAD[1], "")] + pages[40:60]
    expected = plain(extract_texts(some))
    context = multiprocessing.get_context(way)
    told = context.Queue()
    others = [context.Process(target=_extracted, args=(some, told)) for _ in range(2)]
    for other in others: other.start()
    assert plain(extract_texts(some)) == expected
    assert [told.get(timeout=120) for _ in others] == [expected] * 2
    for other in others: other.join(60)


def test_threads_extract_side_by_side(pages):
    some, found = pages[:60], []
    expected = plain(extract_texts(some))
    threads = [threading.Thread(target=lambda: found.append(plain(extract_texts(some)))) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert found == [expected] * 4


OWNER = """
from dclm_nb.curation.extract import extract_text
html = b"".join(b"<a b%d=c>" % k for k in range(200_000))
print(len(extract_text(b"<p>warm")), flush=True)
extract_text(html)
"""


def test_no_child_outlives_a_kill():
    mark = f"{os.getpid()}-pages"
    owner = subprocess.Popen([sys.executable, "-c", OWNER], env=os.environ | {"KILLED_PAGES": mark},
                             stdout=subprocess.PIPE)
    owner.stdout.readline()
    time.sleep(0.2)
    assert len(marked("KILLED_PAGES", mark)) == 2
    owner.kill()
    owner.communicate()
    until = time.monotonic() + 30
    while (left := marked("KILLED_PAGES", mark)) and time.monotonic() < until: time.sleep(0.05)
    assert not left


POOL = CurationConfig(until="pool", decontaminate=())
CURATE = """
import sys
from dclm_nb.curation.pipeline import CurationConfig, curate
curate(sys.argv[2:], sys.argv[1], CurationConfig(until="pool", decontaminate=()), workers=int({workers}))
"""


@pytest.fixture(scope="module")
def archives(crawl, tmp_path_factory):
    "(archives of healthy pages, the same with a trap behind every 20 of them), each of two."
    folder, healthy, mixed = tmp_path_factory.mktemp("archives"), [], []
    for k, warc in enumerate(crawl.warcs[:2]):
        well = [page for page in read_warc(warc)][:60]
        among = list(well)
        for n, html in enumerate(BAD[:3]):
            among.insert(21 * n + 10, Page(f"https://trap.example/{k}/{n}", html, content_type="text/html"))
        healthy.append(write_warc(folder / f"healthy-{k}.warc.gz", well))
        mixed.append(write_warc(folder / f"mixed-{k}.warc.gz", among))
    return healthy, mixed


def kept(report): return [(doc.metadata["url"], doc.text) for doc in report.pool()]


def results(report):
    return {
        str(path.relative_to(report.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(report.folder.rglob("*"))
        if path.is_file() and not {"logs", "heartbeat"} & set(path.relative_to(report.folder).parts)
    }


@pytest.fixture(scope="module")
def mixed(archives, tmp_path_factory):
    return curate(archives[1], tmp_path_factory.mktemp("mixed"), POOL, workers=1)


def test_curation_counts_traps_by_cause_and_keeps_every_healthy_page(archives, mixed, tmp_path):
    assert kept(mixed) == kept(curate(archives[0], tmp_path, POOL, workers=1))
    refused = [r for path in sorted((mixed.folder / "removed/extract").glob("0*.gz")) for r in read_lines(path)]
    traps = [(r["url"][-3:], r["step"]) for r in refused if "trap.example" in r["url"]]
    assert traps == [(f"{k}/{n}", WHY[n]) for k in range(2) for n in range(3)]
    table = mixed.funnel
    assert table.removed.sum() + len(kept(mixed)) == table.left.iloc[0]


def test_two_workers_agree_on_traps(archives, mixed, tmp_path):
    assert results(curate(archives[1], tmp_path, POOL, workers=2)) == results(mixed)


@pytest.mark.parametrize("delay", [0.3, *nightly(0.1, 0.6, 1.0)])
def test_killed_among_traps_and_continued_is_as_uninterrupted(archives, mixed, tmp_path, delay):
    mark = f"{os.getpid()}-{delay}"
    run = subprocess.Popen([sys.executable, "-c", CURATE.format(workers=2), str(tmp_path), *map(str, archives[1])],
                           env=os.environ | {"KILLED_CURATION": mark}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("*/heartbeat/*")) and time.monotonic() < until: time.sleep(0.01)
    time.sleep(delay)
    run.kill()
    run.wait()
    assert not list(tmp_path.glob("*/report.json"))
    until = time.monotonic() + 60
    while (left := marked("KILLED_CURATION", mark)) and time.monotonic() < until: time.sleep(0.05)
    assert not left
    assert results(curate(archives[1], tmp_path, POOL, workers=1)) == results(mixed)


def test_the_command_ends_well_on_traps_among_healthy_pages(archives, tmp_path):
    words = ["curate", "--warc", archives[1][0], "--classifier", "none", "--out", tmp_path]
    done = subprocess.run([sys.executable, "-m", "dclm_nb", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0 and "memory allocation" not in done.stderr, done.stderr[-2000:]


def test_two_kilobytes_that_aborted_the_process_are_refused_also_in_a_wet_file(tmp_path):
    deep = trap("very deep lists").encode()
    warc = write_warc(tmp_path / "deep.warc.gz", [Page("https://trap.example/", deep, content_type="text/html")])
    (wet := tmp_path / "deep.wet").write_bytes(
        b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://trap.example/\r\nWARC-Date: "
        b"2020-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-00000000000a>\r\n"
        b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(deep) + deep + b"\r\n\r\n"
    )
    assert warc.stat().st_size < 4000
    for source, method in ((warc, "resiliparse"), (wet, "wet")):
        report = curate([source], tmp_path / method, replace(POOL, extraction=method), workers=1)
        assert [r["step"] for r in report.removed() if r["stage"] == "extraction"] == ["too_much_memory"]
