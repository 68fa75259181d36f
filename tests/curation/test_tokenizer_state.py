"""A tokenizer file may store more than a vocabulary, and a text may spell what is meant to part texts: neither changes
the ids of a text."""
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from dclm_nb.core.errors import UserError
from dclm_nb.curation.tokens import (
    END_OF_TEXT, load_tokenizer, neox_tokenizer, token_stream, tokenise, train_tokenizer, vocabulary_size,
)
from dclm_nb.lm.data import TokenShards, write_token_folder
from dclm_nb.lm.prompts import build_prompts

TEXTS = ["The tea plant grows in warm and wet places. " * 20, "Short.", "", "Ein dritter, länger als der zweite."] * 4
TASK = dict(name="t", type="multiple_choice")
RECORDS = [{"query": "The tea plant grows in places that are warm and", "choices": ["wet", "dry"], "gold": 0}] * 2


@pytest.fixture(scope="module")
def plain_file(tmp_path_factory):
    return train_tokenizer(TEXTS, tmp_path_factory.mktemp("bpe"), 300)


def _stored(file, folder, change):
    "The tokenizer of `file` after a `change` of its JSON, in a new file."
    described = json.loads(file.read_text())
    change(described)
    (path := folder / "stored.json").write_text(json.dumps(described))
    return path


def _cut(size, side="Right"):
    return dict(direction=side, max_length=size, strategy="LongestFirst", stride=0)


def _pad(strategy, side="Right"):
    return dict(strategy=strategy, direction=side, pad_to_multiple_of=None, pad_id=5, pad_type_id=0, pad_token="x")


STATES = {
    "truncation": lambda t: t.update(truncation=_cut(8)),
    "truncation on the left": lambda t: t.update(truncation=_cut(8, "Left")),
    "truncation to nothing": lambda t: t.update(truncation=_cut(0)),
    "padding": lambda t: t.update(padding=_pad({"Fixed": 500})),
    "padding to the longest": lambda t: t.update(padding=_pad("BatchLongest")),
    "padding on the left": lambda t: t.update(padding=_pad({"Fixed": 500}, "Left")),
    "both": lambda t: t.update(truncation=_cut(8), padding=_pad({"Fixed": 500})),
    "dropout": lambda t: t["model"].update(dropout=0.5),
    "an end-of-text that is not marked as special": lambda t: t["added_tokens"][0].update(special=False),
}


@pytest.mark.parametrize("name", STATES)
def test_what_a_file_stores_changes_no_id(plain_file, tmp_path, name):
    stored = _stored(plain_file, tmp_path, STATES[name])
    want = np.concatenate([*token_stream(TEXTS, load_tokenizer(plain_file))])
    assert (np.concatenate([*token_stream(TEXTS, load_tokenizer(stored))]) == want).all()
    # an object that somebody else has loaded
    assert (np.concatenate([*token_stream(TEXTS, Tokenizer.from_file(str(stored)))]) == want).all()
    assert tokenise(TEXTS, stored, tmp_path / "t", seq_len=16).tokens == len(want)
    rows = [build_prompts(RECORDS, load_tokenizer(path), TASK)[0].rows for path in (plain_file, stored)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", ["truncation", "padding", "dropout"])
def test_a_tokenizer_that_cuts_is_refused_where_prompts_are_made(plain_file, tmp_path, name):
    with pytest.raises(UserError, match="load_tokenizer"):
        build_prompts(RECORDS, Tokenizer.from_file(str(_stored(plain_file, tmp_path, STATES[name]))), TASK)


def test_the_tokenizer_that_is_handed_over_stays_what_it_is(plain_file, tmp_path):
    mine = Tokenizer.from_file(str(_stored(plain_file, tmp_path, STATES["both"])))
    list(token_stream(TEXTS, mine))
    assert mine.truncation["max_length"] == 8 and mine.padding["length"] == 500 and not mine.encode_special_tokens


# -- text that spells a marker ----------------------------------------------------------------------------------------

HALVES = st.sampled_from(["<|endof", "text|>", END_OF_TEXT, "<|", "<|endoftext", "|>", "tea ", "<", "\n",
                          "<|padding|>"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(HALVES, max_size=6).map("".join), min_size=1, max_size=4))
def test_a_marker_in_a_text_is_text(plain_file, texts):
    "Also one that forms when another is taken out of its middle: the ids are the text, and part nothing."
    tokenizer = load_tokenizer(plain_file)
    ids = np.concatenate([*token_stream(texts, tokenizer)])
    ends = np.flatnonzero(ids == tokenizer.token_to_id(END_OF_TEXT))
    assert len(ends) == len(texts) and ends[-1] == len(ids) - 1
    read = [tokenizer.decode(part[part != 0].tolist()) for part in np.split(ids, ends[:-1] + 1)]
    assert read == texts


@pytest.mark.parametrize("marker", [END_OF_TEXT, "<|padding|>"])
def test_no_special_token_of_the_paper_comes_from_a_text(marker):
    tokenizer = load_tokenizer(neox_tokenizer())
    ids = np.concatenate([*token_stream([f"a {marker} b{marker}"], tokenizer)]).tolist()
    assert ids.count(tokenizer.token_to_id(marker)) == (marker == END_OF_TEXT)
    assert tokenizer.decode(ids[:-1], skip_special_tokens=False) == f"a {marker} b{marker}"
    assert tokenizer.token_to_id(marker) not in tokenizer.encode(f"Is {marker} a word?").ids
    # blanks in a row are entries of the vocabulary, not markers
    assert np.concatenate([*token_stream(["a" + 8 * " " + "b"], tokenizer)]).tolist() == [66, 50270, 67, 0]


def _whole_words(folder, unknown="unk", vocabulary=(END_OF_TEXT, "unk", "tea", "leaf", "<")):
    "A tokenizer in whose vocabulary the marker is a word like any other."
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.save(str(path := folder / "words.json"))
    return path


def test_a_marker_that_is_also_a_word_parts_nothing(tmp_path):
    ids = np.concatenate([*token_stream([f"tea {END_OF_TEXT} leaf", "leaf"], load_tokenizer(_whole_words(tmp_path)))])
    assert ids.tolist() == [2, 4, 1, 3, 0, 3, 0]                                        # "<", "|endoftext|>"


def test_a_tokenizer_whose_unknown_word_is_the_marker_is_refused(tmp_path):
    with pytest.raises(UserError, match="end-of-text"):
        list(token_stream(["tea never-seen leaf"], load_tokenizer(_whole_words(tmp_path, END_OF_TEXT))))


# -- ids beyond a type ------------------------------------------------------------------------------------------------

def _with_a_hole(folder, entries, largest):
    "A vocabulary of `entries` words: ids count up from 0, but the last is `largest`."
    words = [END_OF_TEXT, "tea", "leaf", *(f"unused{i}" for i in range(3, entries - 1)), "cup"]
    ids = [*range(entries - 1), largest]
    path = _whole_words(folder, "unused3", words)
    return _stored(path, folder, lambda t: t["model"].update(vocab=dict(zip(words, ids))))


@pytest.mark.parametrize("largest, kind", [(65_534, "uint16"), (65_535, "uint16"), (65_536, "uint32"),
                                           (66_000, "uint32"), (131_072, "uint32")])
@pytest.mark.parametrize("faithful", [False, True])
def test_the_largest_id_decides_the_type(tmp_path, largest, kind, faithful):
    file = _with_a_hole(tmp_path, 5_001, largest)
    assert vocabulary_size(load_tokenizer(file)) == largest + 1
    report = tokenise(["tea cup leaf cup"] * 24, file, tmp_path / "out", seq_len=7, faithful=faithful)
    shards = TokenShards(tmp_path / "out")
    kind = "uint32" if faithful and largest + 4 > 2**16 else kind
    assert shards.manifest["dtype"] == kind and report.vocab_size == shards.vocab_size == largest + 1 + 3 * faithful
    ids = shards.rows(np.arange(len(shards)))
    assert (ids == largest).sum() == 48 and set(np.unique(ids)) <= {0, 1, 2, largest, largest + 3}


@pytest.mark.parametrize("wrong, vocab_size, said", [
    ([[1, 2], [3, 70_000]], 512, "70,000"),
    ([[1, 2], [3, 512]], 512, "512"),
    ([[1, -1]], 512, "-1"),
    ([[1, 2**32]], 2**33, "4,294,967,296"),
    ([[1.5, 2.0]], 512, "whole numbers"),
    ([1, 2, 3], 512, "N context"),
])
def test_ids_that_the_folder_cannot_hold_are_refused_before_anything_is_written(tmp_path, wrong, vocab_size, said):
    with pytest.raises(UserError, match=said): write_token_folder(tmp_path / "t", np.array(wrong), vocab_size)
    assert not (tmp_path / "t").exists()


def test_a_context_has_one_id_more_than_seq_len_and_the_report_says_so(plain_file, tmp_path):
    report = tokenise(TEXTS, plain_file, tmp_path / "t", seq_len=16)
    assert (report.seq_len, report.context) == (16, 17) == (TokenShards(tmp_path / "t").seq_len, 17)
