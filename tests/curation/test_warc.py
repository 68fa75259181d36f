"""Damaged archives: twelve kinds and more at many places; every record counted once, everything healthy read, time and
memory bounded."""
import gzip
import io
import random
import re
import resource
import subprocess
import sys
import time

import brotli
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from dclm_nb.core.errors import UserError
from dclm_nb.curation.payload import PayloadError, dechunk, decode_payload
from dclm_nb.curation.warc import Page, ReadReport, read_warc, response_record, warc_record, write_warc

LIMIT = 1 << 20
COUNT = 12


def html(number: int) -> bytes:
    rng = random.Random(number)
    return (
        b"<html><body><p>"
        + " ".join(f"{rng.randrange(10**6):x}" for _ in range(rng.randrange(20, 400))).encode()
        + b"</p></body></html>"
    )


def page(number: int) -> Page:
    return Page(f"https://example.org/{number}", html(number), content_type="text/html", charset="utf-8")


def pack(record: bytes) -> bytes: return gzip.compress(record, mtime=0)


HEALTHY = [pack(response_record(page(number))) for number in range(COUNT)]


def read(data, **options) -> tuple[list[Page], ReadReport]:
    report = ReadReport()
    pages = list(read_warc(data, report, limit=LIMIT, **options))
    assert report.balanced and report.pages == len(pages)
    return pages, report


def change(data: bytes, at: int, value: int | None = None) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55 if value is None else value]) + data[at + 1:]


def relabel(record: bytes, value: bytes) -> bytes:
    return re.sub(rb"Content-Length: \d+", b"Content-Length: " + value, record, count=1)


def sent(headers: dict, body: bytes) -> bytes:
    return pack(response_record(Page("https://example.org/sent", body, headers)))


RECORD = response_record(page(99))
PACKED = pack(RECORD)
NOISE = random.Random(2).randbytes(400)
LYING = "lying Content-Length"
LENGTH = int(re.search(rb"Content-Length: (\d+)", RECORD)[1])
BROKEN = {  # kind -> (the bytes in place of a member, the one cause it must be counted under)
    "cut early": (PACKED[:40], {"truncated gzip"}),
    "cut in the middle": (PACKED[: len(PACKED) // 2], {"truncated gzip"}),
    "cut in the trailer": (PACKED[:-3], {"truncated gzip", "wrong CRC", "wrong length"}),
    "bit flipped": (change(PACKED, len(PACKED) // 3), {"corrupt gzip", "wrong CRC"}),
    "wrong CRC": (change(PACKED, len(PACKED) - 7), {"wrong CRC"}),
    "wrong size": (change(PACKED, len(PACKED) - 2), {"wrong length"}),
    "no magic": (change(PACKED, 1), {"not gzip"}),
    "garbage": (random.Random(1).randbytes(777), {"not gzip"}),
    "zeros": (bytes(4096), {"not gzip"}),
    "empty member": (pack(b""), {"empty member"}),
    "line breaks only": (pack(b"\r\n\r\n"), {"bad WARC header"}),
    "length too small": (pack(relabel(RECORD, b"%d" % (LENGTH - 60))), {"lying Content-Length"}),
    "length too large": (pack(relabel(RECORD, b"%d" % (LENGTH + 500))), {"lying Content-Length"}),
    "length swallows the next record": (
        pack(relabel(RECORD, b"%d" % (LENGTH + 4 + len(gzip.decompress(HEALTHY[5]))))),
        {"lying Content-Length"},
    ),
    "length enormous": (pack(relabel(RECORD, b"99999999999999")), {"lying Content-Length"}),
    "length negative": (pack(relabel(RECORD, b"-1")), {"lying Content-Length"}),
    "length no number": (pack(relabel(RECORD, b"many")), {"missing Content-Length"}),
    "no length": (pack(RECORD.replace(b"Content-Length", b"X-Length", 1)), {"missing Content-Length"}),
    "no type": (pack(RECORD.replace(b"WARC-Type", b"X-Type", 1)), {"missing WARC-Type"}),
    "no address": (pack(RECORD.replace(b"WARC-Target-URI", b"X-Address", 1)), {"missing WARC-Target-URI"}),
    "no version": (pack(RECORD.replace(b"WARC/1.1", b"HTTP/1.1", 1)), {"bad WARC header"}),
    "header without end": (pack(b"WARC/1.1\r\nWARC-Type: response\r\n" + b"x" * 300), {"bad WARC header"}),
    "header of 100 kB": (
        pack(RECORD.replace(b"WARC-Date", b"X: " + b"y" * 100_000 + b"\r\nWARC-Date", 1)),
        {"bad WARC header"},
    ),
    "bare line feeds, which shorten the block": (pack(RECORD.replace(b"\r\n", b"\n")), {LYING}),
    "no HTTP header": (
        pack(warc_record("response", html(3), "application/http", WARC_Target_URI="https://example.org/y")),
        {"no HTTP header"},
    ),
    "empty body": (sent({"content-type": "text/html"}, b""), {"empty body"}),
    "bad chunks": (sent({"transfer-encoding": "chunked"}, b"3\r\nabc\r\nzz\r\n" + html(4)), {"bad chunked encoding"}),
    "chunk past the end": (sent({"transfer-encoding": "chunked"}, b"ffff\r\n\0" + html(4)), {"bad chunked encoding"}),
    "says gzip, is not": (sent({"content-encoding": "gzip"}, NOISE), {"bad content encoding"}),
    "says brotli, is not": (sent({"content-encoding": "br"}, NOISE), {"bad content encoding"}),
    "unknown encoding": (sent({"content-encoding": "rot13"}, b"\0" + html(4)), {"unknown content encoding"}),
    "page that is a bomb": (
        sent({"content-encoding": "gzip"}, gzip.compress(bytes(30 * LIMIT))),
        {"compressed body too large"},
    ),
    "page that is a brotli bomb": (
        sent({"content-encoding": "br"}, brotli.compress(bytes(30 * LIMIT), quality=1)),
        {"compressed body too large"},
    ),
    "oversize": (
        pack(
            warc_record(
                "response",
                random.Random(0).randbytes(2 * LIMIT),
                "application/http",
                WARC_Target_URI="https://example.org/big",
            )
        ),
        {"oversize"},
    ),
    "gzip bomb": (
        pack(warc_record("response", bytes(5 * LIMIT), "application/http", WARC_Target_URI="https://example.org/bomb")),
        {"gzip bomb"},
    ),
    "endless bomb": (
        pack(
            warc_record("response", bytes(40 * LIMIT), "application/http", WARC_Target_URI="https://example.org/bomb")
        ),
        {"gzip bomb"},
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_member_anywhere(kind):
    """Alone, first, last, and between: one cause each, and every healthy page, in order."""
    bad, causes = BROKEN[kind]
    urls = [f"https://example.org/{number}" for number in range(COUNT)]
    for at in [0, 1, 2, 3, 5, 6, 9, 10, 11, 12]:
        pages, report = read(b"".join([*HEALTHY[:at], bad, *HEALTHY[at:]]))
        assert [p.url for p in pages] == urls and [p.html for p in pages] == [html(n) for n in range(COUNT)], at
        assert report.records_in == COUNT + 1 and set(report.outcomes) - {"page"} <= causes, (at, report.outcomes)
    pages, report = read(bad)
    assert not pages and report.records_in == 1 and set(report.outcomes) <= causes
    assert "\n" not in next(iter(report.examples.values()))[0]


def test_all_kinds_in_one_shard():
    rng = random.Random(5)
    bad = [member for member, _ in BROKEN.values()]
    everything = [(n, member) for n, member in enumerate(HEALTHY * 6)] + [(None, member) for member in bad]
    rng.shuffle(everything)
    pages, report = read(b"".join(member for _, member in everything))
    assert [p.html for p in pages] == [html(n % COUNT) for n, _ in everything if n is not None]
    # Neighbouring stretches that are no gzip at all cannot be told apart, so they may count as one.
    stretches = {name for name, (_, causes) in BROKEN.items() if causes & {"not gzip", "truncated gzip"}}
    assert len(everything) - len(stretches) <= report.records_in <= len(everything)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_loses_only_what_it_hits(seed):
    """A few random bytes changed, cut out or put in: at most the members that were hit are lost."""
    rng = random.Random(seed)
    data, hits = bytearray(b"".join(HEALTHY)), 0
    for _ in range(rng.randrange(1, 4)):
        at, hits = rng.randrange(len(data)), hits + 1
        what = rng.choice(["flip", "cut", "insert"])
        if what == "flip": data[at] ^= 1 << rng.randrange(8)
        elif what == "cut":
            size = rng.randrange(1, 200)
            del data[at:at + size]
            hits += 1       # a cut may reach into the next member
        else: data[at:at] = rng.randbytes(rng.randrange(1, 50))
    pages, report = read(bytes(data))
    right = {html(n) for n in range(COUNT)}
    assert all(p.html in right for p in pages) and len(pages) >= COUNT - hits


@pytest.mark.parametrize("cut", range(1, 400, 13))
def test_file_cut_off_at_the_end(cut):
    pages, report = read(b"".join(HEALTHY)[:-cut])
    whole = COUNT - 1 if cut < len(HEALTHY[-1]) else COUNT - 2
    assert len(pages) >= min(whole, COUNT - 1) and report.records_in == len(pages) + 1


def test_healthy_files_read_as_fastwarc_reads_them(tmp_path):
    path = write_warc(tmp_path / "healthy.warc.gz", [page(number) for number in range(COUNT)])
    with open(path, "rb") as stream:
        theirs = [
            (r.headers["WARC-Target-URI"], r.http_content_type, r.http_charset, r.stream_pos, r.reader.read())
            for r in ArchiveIterator(stream, record_types=WarcRecordType.response)
        ]
    for source in (path, str(path), path.read_bytes(), open(path, "rb"), io.BytesIO(path.read_bytes())):
        assert [(p.url, p.content_type, p.charset, p.offset, p.html) for p in read(source)[0]] == theirs
    plain = gzip.decompress(path.read_bytes())
    assert [p.html for p in read(plain)[0]] == [row[-1] for row in theirs]
    assert all(plain[p.offset:].startswith(b"WARC/1.1") for p in read(plain)[0])


def test_several_records_in_one_member():
    """Not how Common Crawl writes, but allowed; also with damage right behind."""
    both = pack(response_record(page(1)) + response_record(page(2)))
    whole = pack(b"".join(gzip.decompress(member) for member in HEALTHY))
    for data, numbers in [
        (both, [1, 2]),
        (both + HEALTHY[3], [1, 2, 3]),
        (HEALTHY[0] + both + both, [0, 1, 2, 1, 2]),
        (whole, range(COUNT)),
    ]:
        pages, report = read(data)
        assert [p.html for p in pages] == [html(n) for n in numbers] and report.records_in == len(pages)
    for data, numbers in [
        (both + PACKED[:50] + HEALTHY[3], [1, 2, 3]),
        (both + bytes(99), [1, 2]),
        (HEALTHY[0] + both + PACKED[:70], [0, 1, 2]),
    ]:
        pages, report = read(data)
        assert [p.html for p in pages] == [html(n) for n in numbers] and report.records_in == len(pages) + 1
    # one member for all: what comes before the damage is read, the rest is counted as lost
    for cut in (200, len(whole) // 2, len(whole) - 100):
        pages, report = read(whole[:-cut])
        assert len(pages) < COUNT and report.records_in > len(pages)


def test_damage_in_a_file_that_is_not_compressed():
    records = [gzip.decompress(member) for member in HEALTHY]
    for bad, cause in [
        (relabel(RECORD, b"%d" % (LENGTH - 60)), "lying Content-Length"),
        (relabel(RECORD, b"%d" % (LENGTH + 500)), "lying Content-Length"),
        (RECORD.replace(b"Content-Length", b"X-Length", 1), "missing Content-Length"),
        (RECORD.replace(b"WARC/1.1", b"????????", 1), "bad WARC header"),
    ]:
        pages, report = read(b"".join([*records[:4], bad, *records[4:]]))
        assert cause in report.outcomes and len(pages) >= COUNT - 1
    pages, report = read(b"".join(records)[:-100])
    assert len(pages) == COUNT - 1 and report.outcomes["lying Content-Length"] == 1


def test_empty_file(tmp_path):
    (tmp_path / "empty.warc.gz").touch()
    assert read(tmp_path / "empty.warc.gz")[1].outcomes == {"empty file": 1} and read(b"")[1].outcomes == {
        "empty file": 1
    }


def test_other_record_types_and_content_types_are_counted():
    members = [
        pack(warc_record(kind, b"GET / HTTP/1.1\r\n\r\n", "application/http", WARC_Target_URI="https://example.org/"))
        for kind in ("request", "metadata", "revisit", "resource")
    ]
    wet = pack(warc_record("conversion", "Grüße".encode(), "text/plain", WARC_Target_URI="https://example.org/wet"))
    picture = sent({"content-type": "image/png"}, b"\x89PNG")
    pages, report = read(b"".join([*members, wet, picture]))
    assert (
        [p.url for p in pages] == ["https://example.org/wet", "https://example.org/sent"]
        and pages[0].html.decode() == "Grüße"
        and pages[0].charset == "utf-8"
    )
    assert {outcome for outcome in report.outcomes if outcome.endswith("record")} == {
        "request record",
        "metadata record",
        "revisit record",
        "resource record",
    }
    assert read(b"".join([wet, picture]), html_only=True)[1].outcomes == {"page": 1, "not HTML": 1}


def test_bodies_are_decoded_as_declared():
    body = html(7)
    packed = gzip.compress(body)
    chunked = (
        b"".join(b"%x\r\n%s\r\n" % (len(packed[i : i + 100]), packed[i : i + 100]) for i in range(0, len(packed), 100))
        + b"0\r\n\r\n"
    )
    for headers, data in [
        ({"content-encoding": "gzip"}, packed),
        ({"content-encoding": "br"}, brotli.compress(body)),
        ({"transfer-encoding": "chunked", "content-encoding": "gzip"}, chunked),
        ({"content-encoding": "identity"}, body),
    ]:
        assert read(sent(headers, data))[0][0].html == body


@pytest.mark.parametrize("seed", range(3))
def test_payload_fuzz(seed):
    rng = random.Random(seed)
    for _ in range(3000):
        junk = rng.randbytes(rng.randrange(40))
        for call in (
            lambda: dechunk(b"5\r\nabcde\r\n" + junk),
            lambda: decode_payload(
                junk, rng.choice([None, "chunked"]), rng.choice(["gzip", "deflate", "br", "gzip, br"]), 1000
            ),
        ):
            try: assert len(call()) <= 1000
            except PayloadError as error: assert error.cause


def test_writing_is_valid_and_reproducible(tmp_path):
    one = write_warc(tmp_path / "a.warc.gz", map(page, range(5)))
    two = write_warc(tmp_path / "b" / "a.warc.gz" if (tmp_path / "b").mkdir() is None else "", map(page, range(5)))
    assert one.read_bytes() == two.read_bytes()
    from warcio.archiveiterator import ArchiveIterator as Peer
    with open(one, "rb") as stream:
        records = [
            (r.rec_type, r.rec_headers.get_header("WARC-Target-URI"), r.content_stream().read()) for r in Peer(stream)
        ]
    assert records[0][0] == "warcinfo" and [r[2] for r in records[1:]] == [html(n) for n in range(5)]
    assert len({r.headers["WARC-Record-ID"] for r in ArchiveIterator(io.BytesIO(one.read_bytes()))}) == 6
    with pytest.raises(UserError, match="line break"): response_record(Page("https://e.org/\r\nX: y", b"x"))


def test_reports_add_up():
    one, two = read(HEALTHY[0] + BROKEN["zeros"][0])[1], read(HEALTHY[1] + BROKEN["zeros"][0] + BROKEN["no type"][0])[1]
    both = one.merge(two)
    assert (
        both.balanced
        and both.records_in == 5
        and both.outcomes == {"page": 2, "not gzip": 2, "missing WARC-Type": 1}
        and len(both.examples["not gzip"]) == 2
    )
    assert "2  page" in str(both)


def test_unreadable_sources(tmp_path):
    for source in (tmp_path / "absent.warc.gz", tmp_path, b"\x28\xb5\x2f\xfdxxxx"):
        with pytest.raises(UserError) as caught: list(read_warc(source))
        assert "\n" not in str(caught.value)


def test_a_gigabyte_bomb_in_bounded_time_and_memory():
    """A member that unpacks to 1 GB."""
    program = """
import gzip, pathlib, re, zlib
from dclm_nb.curation.warc import ReadReport, read_warc, response_record, Page
pack = zlib.compressobj(9, zlib.DEFLATED, 31)
head = b"WARC/1.1\\r\\nWARC-Type: response\\r\\nContent-Length: 1073741824\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\n\\r\\n"
bomb = pack.compress(head) + b"".join(pack.compress(bytes(1 << 20)) for _ in range(1024)) + pack.flush()
good = gzip.compress(response_record(Page("https://e.org/", b"fine", content_type="text/html")))
report = ReadReport()
import time; start = time.process_time()
pages = list(read_warc(good + bomb + good, report))
status = pathlib.Path("/proc/self/status")      # not getrusage: a child's maxrss begins at its parent's
peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) // 1024 if status.is_file() else 0
print(len(pages), dict(report.outcomes), time.process_time() - start, peak, sep="|")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    pages, outcomes, seconds, megabytes = run.stdout.strip().split("|")
    assert run.returncode == 0 and pages == "2" and outcomes == "{'page': 2, 'gzip bomb': 1}"
    assert float(seconds) < 10 and int(megabytes) < 600


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.warc.gz"
    member = pack(
        response_record(
            Page("https://e.org/", random.Random(0).randbytes(200_000).hex().encode(), content_type="text/html")
        )
    )
    with open(path, "wb") as file:
        for _ in range(300): file.write(member)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read_warc(path)) == 300
    # kB; the file holds 120 MB of text, 65 MB packed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_false_beginnings_do_not_stall():
    """A damaged stretch full of bytes that look like the beginning of a member."""
    start = time.process_time()
    pages, report = read(HEALTHY[0] + b"\x1f\x8b\x08\x00" * 50_000 + HEALTHY[1])
    assert len(pages) == 2 and report.records_in in (3, 4) and time.process_time() - start < 20
