"""Reading a healthy WARC file with every record accounted for, against plain iteration with FastWARC: the same bodies
and headers from both, interleaved."""
import gzip
import random
import statistics
import time

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from dclm_nb.curation.warc import Page, ReadReport, read_warc, response_record, warc_record

FLOOR = 0.75        # for a busy machine; what was measured on a quiet one is printed


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """1,200 pages of 20 to 220 kB in Common Crawl's manner: request, response, metadata; about 145 MB unpacked."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 10))) for _ in range(5000)]
    path = tmp_path_factory.mktemp("warc") / "large.warc.gz"
    with open(path, "wb") as file:
        for number in range(1200):
            url = f"https://example.org/{number}"
            body = "".join(
                f"<div class='c{i % 9}'><p>{' '.join(rng.choices(words, k=60))}</p></div>\n"
                for i in range(rng.randrange(50, 560))
            ).encode()
            page = Page(
                url,
                body,
                {
                    "content-type": "text/html; charset=utf-8",
                    "server": "nginx",
                    "date": "Thu, 01 Jan 2026 00:00:00 GMT",
                    "cache-control": "no-cache",
                },
            )
            for record in (
                warc_record(
                    "request",
                    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
                    "application/http; msgtype=request",
                    WARC_Target_URI=url,
                ),
                response_record(page),
                warc_record("metadata", b"fetchTimeMs: 123\r\n", "application/warc-fields", WARC_Target_URI=url),
            ): file.write(gzip.compress(record, 6, mtime=0))
    return path


def plain(path):
    """Plain iteration that gets the same things out of each response."""
    for record in ArchiveIterator(str(path), record_types=WarcRecordType.any_type):
        body = record.reader.read()
        if record.record_type == WarcRecordType.response:
            yield (
                record.headers.to_dict(),
                {name.lower(): value for name, value in record.http_headers.to_tuples()},
                record.http_content_type,
                record.http_charset,
                body,
            )


def timed(call):
    start = time.process_time()
    for _ in call(): pass
    return time.process_time() - start


@pytest.mark.benchmark_run
def test_warc_against_plain_fastwarc(archive):
    report = ReadReport()
    assert [(p.warc_headers, p.headers, p.content_type, p.charset, p.html) for p in read_warc(archive, report)] == list(
        plain(archive)
    )
    assert report.balanced and report.pages == 1200 and report.records_in == 3600
    megabytes = sum(len(p.html) for p in read_warc(archive)) / 1e6
    times = [(timed(lambda: read_warc(archive, ReadReport())), timed(lambda: plain(archive))) for _ in range(11)]
    own, peer = (min(t[side] for t in times) for side in (0, 1))
    print(
        f"\nwarc: {megabytes:.0f} MB of pages, ours {megabytes / own:.0f} MB/s, FastWARC alone {megabytes / peer:.0f} "
        "MB/s, "
        f"ratio of the best {peer / own:.2f}, median of pairwise ratios "
        f"{statistics.median(t[1] / t[0] for t in times):.2f}"
    )
    assert peer / own > FLOOR


@pytest.mark.benchmark_run
def test_a_damaged_file_is_not_slower_than_zlib(archive, tmp_path):
    """Every twentieth member damaged: the careful reader works in Python and zlib, for the damaged places only."""
    data = bytearray(archive.read_bytes())
    rng, position, hits = random.Random(1), 0, 0
    while (position := data.find(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", position + 1)) >= 0:
        if rng.random() < 0.05: data[position + 60] ^= 0xFF; hits += 1
    path = tmp_path / "damaged.warc.gz"
    path.write_bytes(data)
    report = ReadReport()
    times = [timed(lambda: read_warc(path, report if turn == 0 else None)) for turn in range(3)]
    print(
        f"\nwarc, {hits} of 3600 members damaged: "
        f"{sum(p.html.__len__() for p in read_warc(path)) / 1e6 / min(times):.0f} MB/s, {report.records_in} records "
        "accounted for"
    )
    assert (
        report.balanced
        and report.records_in == 3600
        and 3600 - report.outcomes["page"] - report.outcomes["request record"] - report.outcomes["metadata record"]
        == hits
    )
