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
    # as a path has them, or a JSON file, or another address, or a hand that slipped
    "https:/me:p4ss@h.org/m.bin?token=s3cr3t",
    "http:/me:p4ss@h.org/x",
    "https:me:p4ss@h.org/x?s3cr3t",
    "me:p4ss@h.org/x?token=s3cr3t",
    "/home/me/https:/me:p4ss@h.org/m.bin?token=s3cr3t",
    "s3:/bucket/x?s3cr3t",
    "//h.org/x?token=s3cr3t",
    "//me:p4ss@h.org/x",
    "h.org/x?token=s3cr3t",
    "h.org:8080/x?a=1&token=s3cr3t",
    r"https:\/\/me:p4ss@h.org\/x?token=s3cr3t",
    r"https:\/\/h.org\/x\u003ftoken=s3cr3t",
    "https%3A%2F%2Fh.org%2Fx%3Ftoken%3Ds3cr3t",
    "https%3a%2f%2fme%3ap4ss%40h.org%2fx",
    "https%253A%252F%252Fme%253Ap4ss%2540h.org%252Fx%253Ftoken%253Ds3cr3t",
    "https://h.org/x;t=s3cr3t",
    "https://h.org/a;b/x;jsessionid=s3cr3t",
    'https://h.org/x?a="s3cr3t"',
    'https://h.org/x?a="s3cr3t p4ss"',
    'https://h.org/x?a=1"s3cr3t',
    "https://h.org/x?a=<s3cr3t>",
    "https://h.org/x?a=1 2&b=s3cr3t",
    "https://h.org/x?a=1 b=2&c=s3cr3t&d=4 5&p4ss",
    "https://h.org/x ?token=s3cr3t",
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
    "git@h.org:a/b.git", "mailto:me@h.org", "12:30 me@h.org", "C:/me@home/x", "a.csv, b.csv", "figures/table_4.csv:12",
    "did you read h.org/x?", 'the "word" <tag>; a=b', "https://h.org/a;b", "https://h.org/100%25/x",
    "{'a': 'b?c'}", "dclm_nb.core.doors.door: a=1", "10.5281/zenodo.1?", "image: https://h.org/x; a=b",
    "x::y@z", "50%; b=c",
    "Download https://h.org/x, or put it at /data/x (SHA-256 00ff). Really?",
])
def test_what_holds_no_secret_stays(text): assert bare_addresses(text) == text


def test_what_stands_around_an_address_stays():
    assert bare_addresses("could not fetch 'https://h.org/x?t=1': gone") == (
        "could not fetch 'https://h.org/x?[removed]': gone")
    assert bare_addresses("(https://me:pw@h.org/x), twice") == "(https://[login removed]@h.org/x), twice"


@pytest.mark.parametrize("text", [
    'could not fetch "https://h.org/x?t=1": gone', "<a href='https://h.org/x?t=1'>it</a> is there",
    '{"url": "https://h.org/x?t=", "n": 1}', '["https://h.org/x?t=","n"]', "(see https://h.org/x?t=1) R & D",
])
def test_what_stands_behind_an_address_in_quotes_stays(text):
    assert bare_addresses(text) == text.replace("t=1", "[removed]").replace("t=", "[removed]")


def test_a_long_text_costs_little():
    from growth import is_about_linear
    for piece in ("https://h.org/x?a=b ", "https://", "?", "://a@", "https://h.org/x?a=b'", "://a?')", "https:", "a:b@",
                  "h.", "h.org/", "%3A%2F%2F", "%3A%2F%2Fa%40", 'https://h/?a="', "https://h/?a=<",
                  "?a=1 2&", ";a", "https://h.org/x?a= ", "a:", "a-", "//"):
        assert is_about_linear(lambda n: bare_addresses(piece * n), 20_000), piece


def echoes(config, seed, folder): return {"said": f"401 for {config['url']}", config["url"]: 1}


def test_no_file_of_a_run_has_it(tmp_path):
    for i, address in enumerate(ADDRESSES): RunStore(tmp_path).run(echoes, {"url": address}, seed=i)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > len(ADDRESSES) and all(clean(p.read_text(errors="replace")) for p in files)
