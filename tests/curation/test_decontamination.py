"""Overlap, against a plain reading of its definition."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.curation.decontamination import (
    NgramIndex, contaminated_share, cut_question, decontaminate, holds_question, match_words, ngram_numbers,
    overlap_report,
)

words = st.lists(st.sampled_from("a b c d e".split()), max_size=25).map(" ".join)


def grams(text, n):
    w = match_words(text)
    return [tuple(w[i:i + n]) for i in range(len(w) - n + 1)]


@given(words, words, st.integers(1, 5))
@fuzz(200)
def test_hits_and_shared_words_are_those_of_the_definition(a, b, n):
    index, known = NgramIndex([b], n), set(grams(b, n))
    assert index.hits(a).tolist() == [g in known for g in grams(a, n)]
    covered = np.zeros(len(match_words(a)), dtype=bool)
    for i, g in enumerate(grams(a, n)):
        if g in known: covered[i:i + n] = True
    assert index.shared_words(a).tolist() == covered.tolist()


@given(words, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_equal_numbers_are_equal_ngrams(text, n):
    numbers, plain = ngram_numbers(text, n).tolist(), grams(text, n)
    assert len(set(numbers)) == len(set(plain))


def test_no_collisions_among_many():
    text = " ".join(f"w{i % 977} v{i % 1009}" for i in range(200_000))
    assert len(np.unique(ngram_numbers(text, 13))) == len(set(grams(text, 13)))


def test_layout_and_case_do_not_hide_an_overlap():
    a = "one two three four five six seven eight nine ten eleven twelve thirteen"
    assert decontaminate([a.upper().replace(" ", ",\n")], [a]).removed == 1
    assert decontaminate([a.replace("seven", "7")], [a]).removed == 0
    assert contaminated_share("", NgramIndex([a])) == 0.0


def test_question_rule():
    document = "Intro. What is   the CAPITAL of France?\nIt is Paris, they say. Paris!"
    assert holds_question(document, "What is the capital of France?", ["Paris", "Rome"])
    assert not holds_question(document, "What is the capital of France?", ["Rome"])
    assert holds_question(document, "Think. What is the capital of France?", ["Paris"], last_sentence=True)
    assert not holds_question(document, "Think. What is the capital of France?", ["Paris"])
    assert "Paris" not in cut_question(document, "What is the capital of France?", ["Paris"]) and not holds_question(
        document, "", [""]
    )


def test_report_counts_every_ordered_pair():
    line = " ".join(f"word{i}" for i in range(20))
    table = overlap_report({"a": [line, "x"], "b": [line + " more"], "c": []}).set_index(["set", "against"])
    assert (
        len(table) == 6
        and table.overlapping["a", "b"] == 1 == table.overlapping["b", "a"]
        and table.overlapping["a", "c"] == 0
    )
    assert table.shared_words["b", "a"] == 20 / 21
