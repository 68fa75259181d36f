"""Token folders: nothing lost, nothing invented, the same bytes, and an order that is really random."""
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.curation.tokens import END_OF_TEXT, cut_contexts, load_tokenizer, token_stream, tokenise, train_tokenizer

TEXTS = [
    f"document {i} tells of the {w} and of nothing else"
    for i, w in enumerate("river stone engine garden letter " * 60)
    if w != " "
]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    return train_tokenizer(TEXTS, tmp_path_factory.mktemp("bpe"), 300)


def read(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest, np.concatenate([
        np.fromfile(folder / s["file"], dtype=manifest["dtype"]).reshape(-1, manifest["context"])
        for s in manifest["shards"]
    ])


@given(st.lists(st.lists(st.integers(0, 99), max_size=30), max_size=20), st.integers(1, 9), st.booleans())
@settings(max_examples=60, deadline=None)
def test_cutting_keeps_the_stream(pieces, length, padded):
    stream = [np.array(p, dtype=np.uint32) for p in pieces]
    flat = [i for p in pieces for i in p]
    cut = [row for block in cut_contexts(stream, length, pad=777 if padded else None) for row in block.tolist()]
    assert all(len(row) == length for row in cut)
    joined = [i for row in cut for i in row]
    if padded: assert [i for i in joined if i != 777] == flat and len(joined) - len(flat) < length
    else: assert joined == flat[:len(flat) // length * length]


def test_manifest_and_bytes(tokenizer_file, tmp_path):
    report = tokenise(TEXTS, tokenizer_file, tmp_path / "a", seq_len=31, contexts_per_shard=20, cells=7)
    manifest, contexts = read(tmp_path / "a")
    plain = np.concatenate(list(cut_contexts(token_stream(TEXTS, load_tokenizer(tokenizer_file)), 32)))
    assert sorted(map(tuple, contexts.tolist())) == sorted(map(tuple, plain.tolist()))
    assert (
        manifest["format"] == "dclm_nb.tokens/1"
        and manifest["context"] == 32
        and manifest["eot_id"] == 0
        and manifest["dtype"] == "uint16"
    )
    assert (
        all(s["contexts"] == 20 for s in manifest["shards"][:-1])
        and report.contexts == len(plain)
        and report.documents == len(TEXTS)
    )
    assert contexts.max() < manifest["vocab_size"] and (contexts == 0).sum() <= len(TEXTS)
    tokenise(TEXTS, tokenizer_file, tmp_path / "b", seq_len=31, contexts_per_shard=20, cells=7)
    for file in (tmp_path / "a").iterdir(): assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    tokenise(TEXTS, tokenizer_file, tmp_path / "c", seq_len=31, contexts_per_shard=20, cells=7, seed=1)
    assert not (read(tmp_path / "c")[1] == contexts).all()


def test_the_shuffle_is_global(tokenizer_file, tmp_path):
    "Where a context ends must not depend on where it began: rank correlation near zero."
    tokenise(TEXTS * 10, tokenizer_file, tmp_path / "t", seq_len=15, cells=16)
    _, contexts = read(tmp_path / "t")
    plain = np.concatenate(list(cut_contexts(token_stream(TEXTS * 10, load_tokenizer(tokenizer_file)), 16)))
    first = {}
    for i, row in enumerate(map(tuple, plain.tolist())): first.setdefault(row, i)
    starts = np.array([first[tuple(row)] for row in contexts.tolist()])
    assert abs(np.corrcoef(starts, np.arange(len(starts)))[0, 1]) < 4 / len(starts) ** 0.5


def test_an_end_of_text_inside_a_text_is_no_border(tokenizer_file):
    ids = np.concatenate(list(token_stream([f"a {END_OF_TEXT} b", "c"], load_tokenizer(tokenizer_file))))
    assert (ids == 0).sum() == 2


def test_faithful_pads_the_tail(tokenizer_file, tmp_path):
    report = tokenise(TEXTS[:3], tokenizer_file, tmp_path / "t", seq_len=1000, faithful=True)
    manifest, contexts = read(tmp_path / "t")
    assert (
        report.contexts == 1
        and contexts[0, -1] == load_tokenizer(tokenizer_file).get_vocab_size() + 2 < manifest["vocab_size"]
    )


def test_a_failure_leaves_the_old_folder(tokenizer_file, tmp_path):
    tokenise(TEXTS, tokenizer_file, tmp_path / "t", seq_len=15)
    before = {p.name: p.read_bytes() for p in (tmp_path / "t").iterdir()}
    def broken():
        yield from TEXTS
        raise OSError("the disk is full")
    with pytest.raises(OSError): tokenise(broken(), tokenizer_file, tmp_path / "t", seq_len=15)
    assert {p.name: p.read_bytes() for p in (tmp_path / "t").iterdir()} == before and len(list(tmp_path.iterdir())) == 1


def test_foreign_folder_and_bad_tokenizer(tokenizer_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="something other"):
        tokenise(TEXTS, tokenizer_file, tmp_path / "mine", seq_len=15)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="not a tokenizers"): load_tokenizer(tmp_path / "bad.json")


def test_training_the_tokenizer_is_deterministic(tmp_path):
    assert (
        train_tokenizer(TEXTS, tmp_path / "a", 400).read_bytes()
        == train_tokenizer(iter(TEXTS), tmp_path / "b", 400).read_bytes()
    )


def test_neox_tokenizer():
    from dclm_nb.curation.tokens import neox_tokenizer
    tokenizer = load_tokenizer(neox_tokenizer())
    assert (
        tokenizer.get_vocab_size() == 50277
        and tokenizer.token_to_id(END_OF_TEXT) == 0
        and tokenizer.encode("Hello world").ids == [12092, 1533]
    )
