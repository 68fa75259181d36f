"""What a user types behind `?` in an address, and the login in it, are written down nowhere: no line of an error, log,
manifest or report has it."""
import json

import pytest

from dclm_nb.core.addresses import bare_addresses
from dclm_nb.core.errors import UserError, unknown
from dclm_nb.core.provenance import scrub
from dclm_nb.core.store import RunStore

SECRETS = ("s3cr3t", "p4ss")
ADDRESSES = [
    "https://h.org/a.warc.gz?token=s3cr3t",
    "https://h.org/a.warc.gz?s3cr3t",
    "https://h.org/?a=1&sig=s3cr3t%2Fx&se=2026",
    "https://h.org?key=s3cr3t",
    "HTTPS://H.ORG/x?X-Amz-Signature=s3cr3t",
    "https://me:p4ss@h.org/x",
    "https://p4ss@h.org/x",
    "https://me:p4%40ss:p4ss@h.org:8080/x?t=s3cr3t#part",
    "https://me:p4ss@wo@h.org/x",
    "https://me:p4?ss@h.org/x",
    "s3://me:p4ss@bucket/x?versionId=s3cr3t",
    "git+ssh://p4ss@h.org/x.git",
    "https://h.org/cb#access_token=s3cr3t",
    "https://proxy.org/https://me:p4ss@h.org/x?t=s3cr3t",
    "https://h.org/x?next=https://me:p4ss@i.org/?t=s3cr3t",
    "https://h.org/x?t='s3cr3t'",
    "https://[::1]:80/x?t=s3cr3t",
]
FRAMES = ["{}", "see {}.", "could not fetch '{}': gone", "({})", "['{}', '{}']", '{{"url": "{}", "n": 1}}', "a\t{}\nb",
          "<{}>", "for url: {}, twice"]


def clean(text) -> bool: return not any(secret in str(text) for secret in SECRETS)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("frame", FRAMES)
def test_an_address_loses_its_query_and_login_in_any_sentence(address, frame):
    text = bare_addresses(frame.format(*[address] * 2))
    assert clean(text) and "removed]" in text and bare_addresses(text) == text
    assert clean(UserError(frame.format(*[address] * 2))) and clean(unknown("file", frame.format(address, address), []))
    assert clean(json.dumps(scrub({frame.format(address, address): [address, {"x": address}]})))


@pytest.mark.parametrize("text", [
    "https://data.commoncrawl.org/crawl-data/CC-MAIN-2022-05/x.warc.gz", "https://h.org/docs#section", "what? no!",
    "is a=b?c=d", "me@example.org", "hf://datasets/a/b@0123abc/train.tar", "a/b?c=d", "C://x", "", "ratio 3://4", "x://",
    "Download https://h.org/x, or put it at /data/x (SHA-256 00ff). Really?",
])
def test_what_holds_no_secret_stays(text): assert bare_addresses(text) == text


def test_what_stands_around_an_address_stays():
    assert bare_addresses("could not fetch 'https://h.org/x?t=1': gone") == (
        "could not fetch 'https://h.org/x?[removed]': gone")
    assert bare_addresses("(https://me:pw@h.org/x), twice") == "(https://[login removed]@h.org/x), twice"


def test_a_long_text_costs_little():
    from growth import is_about_linear
    for piece in ("https://h.org/x?a=b ", "https://", "?", "://a@", "https://h.org/x?a=b'", "://a?')"):
        assert is_about_linear(lambda n: bare_addresses(piece * n), 20_000), piece


def echoes(config, seed, folder): return {"said": f"401 for {config['url']}", config["url"]: 1}


def test_no_file_of_a_run_has_it(tmp_path):
    for i, address in enumerate(ADDRESSES): RunStore(tmp_path).run(echoes, {"url": address}, seed=i)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > len(ADDRESSES) and all(clean(p.read_text(errors="replace")) for p in files)
