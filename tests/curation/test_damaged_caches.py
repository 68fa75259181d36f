"""What curation keeps for later: fetched archives, tokenizers, Bloom filters, the mini crawl."""
import http.server
import shutil
import threading

import numpy as np
import pytest
from damages import DAMAGES, harm
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.core.sources import Pin
from dclm_nb.curation import blocks, crawl_texts, extract
from dclm_nb.curation.bloom import BloomDeduplicator
from dclm_nb.curation.extract import ExtractionFailure
from dclm_nb.curation.fetch import fetch_warc
from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
from dclm_nb.curation.tokens import load_tokenizer, train_tokenizer
from dclm_nb.curation.warc import Page, write_warc

SIZE = CrawlSize(0.02, 5, 1, 2, 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    "An archive behind an address, and how often it was asked for."
    asked, data = [], write_warc(
        tmp_path_factory.mktemp("www") / "a.warc.gz", [Page("http://a.example/", b"<p>text</p>")]
    ).read_bytes()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_): pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.warc.gz", data, asked
        server.shutdown()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_archive_is_fetched_again(served, tmp_path, capsys, how):
    address, data, asked = served
    path, before = fetch_warc(address, tmp_path), len(asked)
    assert fetch_warc(address, tmp_path) == path and len(asked) == before
    harm(path, how)
    assert fetch_warc(address, tmp_path).read_bytes() == data and len(asked) == before + 1
    assert how == "deleted" or "it is fetched again" in capsys.readouterr().err


def test_an_archive_that_somebody_put_there_is_taken_as_it_is(served, tmp_path):
    "It may be damaged from the beginning: then its records are counted."
    address, data, asked = served
    path, before = fetch_warc(address, tmp_path), len(asked)
    sum_beside(path).unlink()
    path.write_bytes(data[:-9])
    assert fetch_warc(address, tmp_path) == path and len(asked) == before + 1 - 1


@pytest.mark.parametrize("how", DAMAGES)
def test_a_tokenizer_that_was_trained_here_is_the_one(tmp_path, how):
    path = train_tokenizer([f"cat and dog {i}" for i in range(40)], tmp_path, 300)
    load_tokenizer(path)
    harm(path, how)
    with pytest.raises(UserError): load_tokenizer(path)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_saved_filter_is_the_one(tmp_path, how):
    bloom = BloomDeduplicator(1000)
    bloom.deduplicate(["one two three four five six seven eight nine ten eleven twelve thirteen fourteen"])
    bloom.save(path := tmp_path / "filter.safetensors")
    assert BloomDeduplicator.load(path).inserted == bloom.inserted
    harm(path, how)
    with pytest.raises(UserError, match="delete it and deduplicate again"): BloomDeduplicator.load(path)


@pytest.fixture
def held_out(tmp_path, monkeypatch):
    "Held-out texts of a few words, and how often they were read."
    read, texts = [], ["one two three four five six", "six five four three two one"]
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(blocks, "_held_out_texts", lambda name: read.append(name) or texts)
    return read


def kept_indexes(folder) -> list: return sorted(folder.glob("home/data/held-out-*.u64"))


@pytest.mark.parametrize("how", DAMAGES)
def test_the_index_of_held_out_texts_is_found_once_and_again_when_it_is_damaged(held_out, tmp_path, how):
    first, again = blocks.held_out_index("evaluation", 3), blocks.held_out_index("evaluation", 3)
    assert held_out == ["evaluation"] and (first.numbers == again.numbers).all() and len(first.numbers) == 8
    assert again.hits("and two three four").tolist() == [False, True] and again.n == 3
    harm(*kept_indexes(tmp_path), how)
    assert (blocks.held_out_index("evaluation", 3).numbers == first.numbers).all() and len(held_out) == 2
    assert (np.fromfile(*kept_indexes(tmp_path), "<u8") == first.numbers).all()


@pytest.mark.parametrize("note", ["[]", "[{", ""])
def test_an_index_whose_note_is_illegible_is_found_again(held_out, tmp_path, note):
    first = blocks.held_out_index("evaluation", 3)
    path, = kept_indexes(tmp_path)
    path.write_bytes(path.read_bytes()[::-1])
    sum_beside(path).write_text(note)
    assert (blocks.held_out_index("evaluation", 3).numbers == first.numbers).all()


def test_texts_that_cannot_be_read_are_not_kept_and_not_read_twice(tmp_path, monkeypatch):
    asked = []
    def crash(html): asked.append(html); raise ExtractionFailure("crash")
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(extract, "extract_text", crash)
    raw = crawl_texts.RawText("manual", "a page", "evaluation", html=b"<p>text</p>")
    monkeypatch.setattr(blocks, "_held_out_texts", lambda name: [crawl_texts.plain_text(raw)])
    with pytest.raises(UserError, match="could not be extracted .crash."): blocks.held_out_index("evaluation", 3)
    assert len(asked) == 1 and not kept_indexes(tmp_path)


@pytest.mark.parametrize("what", ["code", "packages", "libraries", "manual"])
def test_an_index_of_other_code_texts_or_libraries_is_not_taken(held_out, tmp_path, monkeypatch, what):
    blocks.held_out_index("positives", 3)
    (manual := tmp_path / "manual.warc").write_text("another")
    monkeypatch.setattr(*{
        "code": (blocks, "code_of", lambda fn: {"a": "b"}),
        "packages": (blocks, "pins", lambda: {"a": Pin("a", "1", "0" * 64)}),
        "libraries": (blocks, "library_versions", lambda names: {"regex": "0"}),
        "manual": (crawl_texts, "apache_manual", lambda: manual),
    }[what])
    blocks.held_out_index("positives", 3)
    assert len(held_out) == len(kept_indexes(tmp_path)) == 2


def test_where_nothing_can_be_kept_the_index_is_found_each_time(held_out, tmp_path):
    (tmp_path / "home").write_text("no folder")
    for number in (1, 2):
        assert len(blocks.held_out_index("evaluation", 3).numbers) == 8 and len(held_out) == number


@pytest.fixture(scope="module")
def crawl(tmp_path_factory): return build_crawl(tmp_path_factory.mktemp("crawls") / "crawl", SIZE)


@pytest.mark.parametrize("case", [
    ("manifest.json", "foreign"),
    *nightly(("manifest.json", "zeros"), ("labels.jsonl", "deleted"), ("{warc}", "one bit")),
])
def test_a_damaged_mini_crawl_is_built_again(crawl, tmp_path, case):
    file, how = case
    folder = shutil.copytree(crawl.folder, tmp_path / "crawl")
    content = lambda at: {path.name: path.read_bytes() for path in at.iterdir()}
    harm(folder / file.format(warc=crawl.warcs[0].name), how)
    build_crawl(folder, SIZE)
    assert content(folder) == content(crawl.folder)


def test_a_whole_mini_crawl_is_taken_and_another_folder_left_alone(crawl, tmp_path):
    before = crawl.warcs[0].stat().st_mtime_ns
    assert build_crawl(crawl.folder, SIZE).warcs[0].stat().st_mtime_ns == before
    for name in ("manifest.json", "thesis.txt"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(UserError, match="holds something other than a mini crawl"): build_crawl(tmp_path, SIZE)
        assert (tmp_path / name).is_file()


def test_what_is_no_fault_of_the_texts_is_not_called_one(held_out):
    with pytest.raises(UserError, match="set of held-out texts") as found: blocks.held_out_index("evaluations", 3)
    assert not isinstance(found.value, blocks.UnreadableTexts)
    with pytest.raises(UserError, match="at least 1") as found: blocks.held_out_index("evaluation", 0)
    assert not isinstance(found.value, blocks.UnreadableTexts)
