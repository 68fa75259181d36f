"""A WARC whose address holds a login and a token: fetched with both, and neither is written down, whatever happens."""
import base64
import gzip
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation import fetch
from dclm_nb.curation.fetch import fetch_warc, warc_address
from dclm_nb.curation.pipeline import CurationConfig, curate
from dclm_nb.curation.quality import check_classifier, classifier_file, load_classifier
from dclm_nb.curation.warc import Page, write_warc

SECRETS = ("s3cr3t", "p4ss", base64.b64encode(b"me:p4ss@word").decode())
POOL = CurationConfig(until="pool", name="small", decontaminate=())


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DCLM_NB_OFFLINE", raising=False)
    monkeypatch.setattr(fetch, "FIRST_WAIT", 0)


@pytest.fixture
def served(tmp_path):
    "(address of an archive that opens for the login and the token alone, {path: headers} of what was asked)."
    words = "The town library opened on Monday and the children of the school read there for the whole morning. "
    pages = [Page(f"https://e.org/{n}?id={n}", f"<p>{words * 9}{n}</p>".encode(), content_type="text/html")
             for n in range(4)]
    content, asked = write_warc(tmp_path / "a.warc.gz", pages).read_bytes(), {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] = dict(self.headers)
            if "away" in self.path:
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}/b.warc.gz")
                return self.end_headers()
            right = self.headers.get("Authorization", "").endswith(SECRETS[-1]) and "token=s3cr3t" in self.path
            if not right: return self.send_error(403)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_): pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://me:p4ss%40word@127.0.0.1:{running.server_port}/a.warc.gz?token=s3cr3t&n=1", asked
    running.shutdown()
    running.server_close()


def told(folder: Path) -> list[str]:
    "The files below `folder` that hold a secret, pickles aside: a job cannot start without the address."
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix == ".pik": continue
        data = path.read_bytes()
        if path.suffix == ".gz": data += gzip.decompress(data)
        if any(secret.encode() in data for secret in SECRETS): found.append(str(path))
    return found


def clean(said) -> bool: return not any(secret in str(said) for secret in SECRETS)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_curation_writes_neither_down(served, tmp_path, workers):
    address, asked = served
    report = curate([address, address.replace("n=1", "n=2")], tmp_path / "out", POOL, workers=workers)
    assert len(asked) == 2 and report.data["funnel"][0]["left"] >= 8
    written = json.loads((report.folder / "logs/heuristics/executor.json").read_text())
    assert written["pipeline"][0]["shards"][0].endswith("/a.warc.gz?[removed]")
    assert told(tmp_path) == [] and clean(report)
    # an address that a page has is data
    assert {d.metadata["url"] for d in report.pool()} <= {f"https://e.org/{n}?id={n}" for n in range(4)}


def test_a_refused_one_leaves_neither_in_the_error_nor_in_a_log(served, tmp_path):
    for broken in (served[0].replace("token=s3cr3t", "tokens=s3cr3t"), served[0].replace("p4ss%40", "p4ss%41")):
        with pytest.raises(UserError, match=r"a.warc.gz could not be fetched .Forbidden") as said:
            curate([broken], tmp_path / "out", POOL)
        assert clean(said.value) and "?[removed]" in str(said.value) and told(tmp_path) == []
    assert "Traceback" in "".join(p.read_text() for p in tmp_path.rglob("*.log")), "there was something to be scrubbed"


def test_a_job_for_slurm_is_readable_for_its_owner_alone(served, sbatch, tmp_path):
    curate([served[0]], tmp_path / "out", POOL, executor="slurm")
    pickles = list(tmp_path.rglob("*.pik"))
    assert told(tmp_path) == [] and pickles and all(p.stat().st_mode & 0o077 == 0 for p in pickles)


def test_the_command_tells_neither(served, tmp_path):
    from dclm_nb import cli                                             # found where this test finds it
    main = [sys.executable, "-c", "from dclm_nb.cli import main; main()", "curate", "--out", str(tmp_path / "out")]
    closed, here = served[0].replace("token", "word"), Path(cli.__file__).parents[1]
    given = (closed, "http://x y?s3cr3t", "ftp://me:p4ss@h/x?s3cr3t")
    for arguments in ([closed], *(["--warc", address] for address in given)):
        done = subprocess.run([*main, *arguments], capture_output=True, text=True, cwd=here)
        assert done.returncode == 2 and clean(done.stdout + done.stderr), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("address", [
    "https://me:p4ss@h.org/m.bin?token=s3cr3t", "http:/me:p4ss@h.org/m.bin", "https:me:p4ss@h.org/m.bin?s3cr3t",
    r"https:\/\/me:p4ss@h.org\/m.bin?token=s3cr3t", "https%3A%2F%2Fh.org%2Fm.bin%3Ftoken%3Ds3cr3t",
    "https://h.org/m.bin;t=s3cr3t", 'https://h.org/m.bin?a="s3cr3t"', "https://h.org/m.bin?a=1 2&s3cr3t",
    "s3://me:p4ss@bucket/m.bin",
])
def test_a_classifier_is_a_file_here(address, tmp_path):
    warc = write_warc(tmp_path / "a.warc.gz", [Page("https://e.org", b"<p>words</p>", content_type="text/html")])
    for use in (check_classifier, load_classifier, classifier_file,
                lambda given: curate([warc], tmp_path / "out", CurationConfig(classifier=given, name="small"))):
        with pytest.raises(UserError, match="on this machine, not the address") as said: use(address)
        assert clean(said.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError) as said: check_classifier("h.org/x?t=s3cr3t")
    assert clean(said.value)


def test_a_redirection_does_not_take_the_login_along(served, tmp_path):
    address, asked = served
    with pytest.raises(UserError): fetch_warc(address.replace("a.warc.gz", "away"), tmp_path, wait=0)
    assert "Authorization" in asked["/away?token=s3cr3t&n=1"] and "Authorization" not in asked["/b.warc.gz"]


@pytest.mark.parametrize("address", ["https://h.org/a b?t=s3cr3t x", "https://h.org/x?t=s3cr3t\n", "http://?t=s3cr3t",
                                     "http://[::1?t=s3cr3t", "https://me:p4ss@/x", "ftp://me:p4ss@h.org/x?t=s3cr3t"])
def test_an_address_that_cannot_be_asked_for_is_one_clean_line(address):
    with pytest.raises(UserError) as said: warc_address(address)
    assert clean(said.value)


def test_a_port_that_is_none_is_one_clean_line(tmp_path):
    with pytest.raises(UserError) as said: fetch_warc("https://me:p4ss@h.org:s3cr3t/x", tmp_path, wait=0)
    assert "p4ss" not in str(said.value)
