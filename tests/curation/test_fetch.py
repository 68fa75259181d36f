"""Fetching over an unreliable line: resumed within and across calls, refused clearly, never half a file under the final
name."""
import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation.fetch import fetch_warc, warc_address
from dclm_nb.curation.warc import Page, read_warc, write_warc

CONTENT = bytes(range(256)) * 40


@contextlib.contextmanager
def server(content=CONTENT, most=3000, ranges=True, status=None, answers=10**9):
    """Serves `content`, at most `most` bytes an answer; nothing at all after `answers` answers."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if ranges else None
            start = int(wanted[1]) if wanted else 0
            asked.append(start)
            if status: return self.send_error(status)
            if len(asked) > answers: return self.connection.close()
            if wanted and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if wanted: self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:start + most])
            self.close_connection = True

        def log_message(self, *_): pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{running.server_port}/x.warc.gz", asked
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch): monkeypatch.delenv("DCLM_NB_OFFLINE", raising=False)


def test_resumes_within_a_call(tmp_path):
    with server() as (url, asked):
        path = fetch_warc(url, tmp_path, wait=0)
        assert path.read_bytes() == CONTENT and asked == [0, 3000, 6000, 9000]
        assert fetch_warc(url, tmp_path) == path and len(asked) == 4


def test_resumes_in_the_next_call(tmp_path):
    with server(answers=2) as (url, asked):
        with pytest.raises(UserError): fetch_warc(url, tmp_path, wait=0)
        assert not [p for p in tmp_path.iterdir() if p.name.endswith(".gz")]
        part = next(tmp_path.glob("*.part"))
        assert part.read_bytes() == CONTENT[:6000]
        port = url.split(":")[2].split("/")[0]
    assert port


def test_server_without_ranges_starts_again(tmp_path):
    with server(ranges=False) as (url, asked):
        part = tmp_path / "nothing"
        assert not part.exists()
        with pytest.raises(UserError): fetch_warc(url, tmp_path, wait=0)
        assert set(asked) == {0} and len(asked) <= 8


def test_server_without_ranges_but_whole(tmp_path):
    with server(ranges=False, most=10**9) as (url, asked):
        assert fetch_warc(url, tmp_path).read_bytes() == CONTENT


def test_everything_but_the_rename_was_done(tmp_path):
    with server(most=10**9) as (url, asked):
        path = fetch_warc(url, tmp_path)
        path.rename(path.with_name(path.name + ".part"))
        assert fetch_warc(url, tmp_path).read_bytes() == CONTENT and asked == [0, len(CONTENT)]


@pytest.mark.parametrize("status, requests", [(404, 1), (403, 1), (503, 5)])
def test_refusals(tmp_path, status, requests):
    with server(status=status) as (url, asked):
        with pytest.raises(UserError, match="Download http") as caught: fetch_warc(url, tmp_path, wait=0)
        assert len(asked) == requests and "\n" not in str(caught.value)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    with pytest.raises(UserError, match="DCLM_NB_OFFLINE"):
        fetch_warc("https://data.commoncrawl.org/x.warc.gz", tmp_path)


def test_addresses():
    assert (
        warc_address("crawl-data/a/b.warc.gz")
        == warc_address("s3://commoncrawl/crawl-data/a/b.warc.gz")
        == "https://data.commoncrawl.org/crawl-data/a/b.warc.gz"
    )
    assert warc_address("here/b.warc.gz") is None


def test_read_warc_takes_an_address(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    content = write_warc(
        tmp_path / "a.warc.gz",
        [Page(f"https://e.org/{n}", b"<p>" + bytes(str(n), "ascii") * 50, content_type="text/html") for n in range(30)],
    ).read_bytes()
    with server(content, most=500) as (url, _):
        assert [page.url for page in read_warc(url)] == [f"https://e.org/{n}" for n in range(30)]
