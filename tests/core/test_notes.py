"""What trainers and ranks write down about themselves: no secrets, no logins and no queries of addresses; and they are
told apart by them all the same."""
import json

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.identity import Identity, claim
from dclm_nb.core.ranks import leading

SECRET = "tok-1234567890"
ADDRESSES = [f"https://me:{SECRET}@host.org/a.tar", f"https://host.org/a.tar?token={SECRET}", f"plain {SECRET}"]


@pytest.fixture(autouse=True)
def secret(monkeypatch): monkeypatch.setenv("SOME_TOKEN", SECRET)


def identity(address: str) -> Identity: return Identity.of("walk", 1, {"from": address}, {address: "sum"})


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_note_of_a_folder_has_no_secret_and_is_known_again(tmp_path, address, monkeypatch):
    for _ in range(2): claim(tmp_path / "run.json", identity(address))
    assert SECRET not in (tmp_path / "run.json").read_text()
    monkeypatch.delenv("SOME_TOKEN")
    claim(tmp_path / "run.json", identity(address))


def test_other_queries_are_another_run(tmp_path):
    claim(tmp_path / "run.json", identity("https://host.org/a.tar?part=1"))
    with pytest.raises(UserError, match="queries of addresses"):
        claim(tmp_path / "run.json", identity("https://host.org/a.tar?part=2"))


@pytest.mark.parametrize("one, other", [("https://host.org/a.tar", "https://host.org/a.tar?part=1"), ("a", "a ")])
def test_what_was_without_a_query_is_another_run_with_one(tmp_path, one, other):
    for noted, asked in ((one, other), (other, one)):
        assert identity(asked).differences(json.loads(json.dumps(identity(noted).as_note())))


def test_a_note_without_secrets_is_what_it_was():
    plain = identity("a.tar")
    assert plain.as_note() == plain.as_dict() and not plain.differences(plain.as_note())


def test_a_note_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(identity(ADDRESSES[1]).as_dict()))
    claim(tmp_path / "run.json", identity(ADDRESSES[1]))
    with pytest.raises(UserError, match="seed"):
        claim(tmp_path / "run.json", Identity.of("walk", 1, {"from": ADDRESSES[1]}, {ADDRESSES[1]: "sum"}, 1))


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_rank_0_leaves_when_it_fails(tmp_path, monkeypatch, address):
    monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError), leading(tmp_path / "a.lead"): raise UserError(f"cannot read {address}")
    assert SECRET not in (tmp_path / "a.failed").read_text() and "cannot read" in (tmp_path / "a.failed").read_text()
