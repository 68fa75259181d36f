"""Captions as ids: what goes in comes out, whatever the set of captions."""
import json
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.image.captions import DROPPED, CaptionVocabulary, caption_words

WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=8).filter(lambda word: word not in DROPPED)
CAPTIONS = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(CAPTIONS)
def test_every_caption_of_the_set_can_be_encoded_and_ids_keep_to_their_places(captions):
    vocabulary = CaptionVocabulary.of(captions)
    ids = vocabulary.encode(captions)
    assert (
        ids.dtype == torch.int64
        and ids.shape == (len(captions), vocabulary.length)
        and vocabulary.length == max(len(c.split()) for c in captions)
    )
    assert ids.min() >= 0 and ids.max() < vocabulary.null_id == len(vocabulary) - 1
    for row, caption in zip(ids.tolist(), captions):
        words = len(caption.split())
        assert 0 not in row[:words] and set(row[words:]) <= {0}
    assert torch.equal(vocabulary.encode(vocabulary.decode(ids)), ids), "what is shown reads as the same ids"


@settings(max_examples=50, deadline=None)
@given(CAPTIONS, st.randoms(use_true_random=False))
def test_order_and_repetition_of_captions_change_nothing(captions, random):
    mixed = captions * 2
    random.shuffle(mixed)
    assert CaptionVocabulary.of(mixed) == CaptionVocabulary.of(captions)


def test_a_checkpoint_keeps_the_vocabulary_through_json():
    vocabulary = CaptionVocabulary.of(["three red crosses", "a red cross below an éclair"])
    assert CaptionVocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    assert vocabulary.words == ("below", "cross", "red", "three", "éclair")


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {},
        {"words": ["a"]},
        {"words": "abc", "length": 1},
        {"words": ["x", "x"], "length": 1},
        {"words": ["y", "x"], "length": 1},
        {"words": [], "length": 1},
        {"words": ["x"], "length": 0},
        {"words": ["x"], "length": "1"},
        {"words": [1], "length": 1},
    ],
)
def test_a_kept_vocabulary_that_is_none_is_refused(kept):
    with pytest.raises(UserError): CaptionVocabulary.from_dict(kept)


def test_plurals_only_fold_into_singulars_that_exist():
    vocabulary = CaptionVocabulary.of(["two princes", "a prince", "a princess", "her glasses", "the bus", "it is"])
    assert (
        vocabulary.encode(["princes"]).tolist()
        == vocabulary.encode(["prince"]).tolist()
        != vocabulary.encode(["princess"]).tolist()
    )
    assert {"glasses", "bus", "is"} <= set(vocabulary.words), "no glass, no bu and no i was ever named"


def test_case_punctuation_and_space_do_not_matter_but_unknown_words_do():
    vocabulary = CaptionVocabulary.of(["a jack-o’-lantern, lit"])
    assert caption_words("Jack-o’-lantern!  LIT") == ["jack-o’-lantern", "lit"] and vocabulary.encode([
        "Jack-o’-lantern!  LIT"
    ]).tolist() == [[1, 2]]
    with pytest.raises(UserError, match="unknown word 'lid'.*did you mean 'lit'"): vocabulary.encode(["a lid"])


@pytest.mark.parametrize("caption", ["", "   ", "a", "of an", "!?"])
def test_an_empty_caption_is_refused_when_building_and_when_encoding(caption):
    with pytest.raises(UserError, match="empty caption"): CaptionVocabulary.of(["red", caption])
    with pytest.raises(UserError, match="empty caption"): CaptionVocabulary.of(["red"]).encode([caption])


def test_a_batch_of_none_and_no_caption_have_the_right_shape():
    vocabulary = CaptionVocabulary.of(["red circle"])
    assert (
        vocabulary.encode([]).shape == (0, 2)
        and vocabulary.null(3).tolist() == [[3, 3]] * 3
        and vocabulary.decode(vocabulary.null(1)) == ["(no caption)"]
    )


def test_errors_stay_one_line_with_a_large_vocabulary():
    vocabulary = CaptionVocabulary.of([f"word{i}" for i in range(5000)])
    with pytest.raises(UserError) as caught: vocabulary.encode(["wrd17"])
    assert "did you mean" in str(caught.value) and "5,000" in str(caught.value) and len(str(caught.value)) < 150
