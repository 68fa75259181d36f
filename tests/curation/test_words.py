"""The three kinds of words against the packages that define them: uniseg 0.10.1, fastText, and str.split."""

import pytest
from growth import is_about_linear
from hypothesis import given
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.curation import words

wordbreak = pytest.importorskip(
    "uniseg.wordbreak", reason="uniseg is the reference for word segments (pip install -e .[dev])"
)

# Two or more characters of every class, those that fall in two (letters that are pictographs, a mark that is
# alphanumeric) included.
OF_CLASSES = (
    "\r\n\x0b\x85\u2028"
    "aé\u00b5жαℹⓂ🅰"
    "אלﬡ"
    "05٣０"
    "アカﾜ㌀〱"
    "_‿\u202f"
    ":·\u0387"
    ",;٬"
    ".’\uff0e\u2024"
    "'"
    '"'
    "\u0301\u0300\uff9e\U0001f3fb\ufe0f"
    "\u00ad\u200f"
    "\u200d"
    "🇩🇰"
    " \u2009\u3000"
    "❤👩☎"
    "-—()#\t\0\xa0語字はไ½²¸\u2388"
)
AROUND_CLASSES = st.text(st.sampled_from(OF_CLASSES), max_size=24)
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=40)


def reference(text): return [word for word in wordbreak.words(text) if word[0].isalnum()]


def test_every_code_point_has_unisegs_class():
    assert [
        hex(code) for code in range(0x110000) if wordbreak.word_break(chr(code)).value != full_name(chr(code))
    ] == []


def full_name(character):
    """The long name of our class letter; the two pairs that share a letter are told apart by the standard's own
    definition."""
    letter = words.word_class(character)
    names = {letter: name for name, letter in reversed(words._CLASS_LETTERS.items())} | {
        "O": "Other",
        "P": "Other",
        "a": "ALetter",
    }
    if letter == "E" and wordbreak.word_break(character).value == "Format": return "Format"
    return names[letter]


def test_every_pair_and_many_triples_of_classes():
    one_of_each = {words.word_class(character): character for character in OF_CLASSES}.values()
    for a in OF_CLASSES:
        for b in OF_CLASSES: assert list(words.word_segments(a + b)) == list(wordbreak.words(a + b)), repr(a + b)
    for a in one_of_each:
        for b in one_of_each:
            for c in one_of_each:
                text = a + b + c + "a"
                assert list(words.word_segments(text)) == list(wordbreak.words(text)), repr(text)


@fuzz(1500)
@given(AROUND_CLASSES)
def test_segments_equal_unisegs(text): assert list(words.word_segments(text)) == list(wordbreak.words(text))


@fuzz(500)
@given(ANYTHING)
def test_segments_of_any_text_equal_unisegs(text): assert list(words.word_segments(text)) == list(wordbreak.words(text))


@fuzz(1000)
@given(st.one_of(AROUND_CLASSES, ANYTHING, st.text(st.characters(max_codepoint=127), max_size=60)))
def test_uniseg_words(text): assert words.uniseg_words(text) == reference(text)


@fuzz(500)
@given(AROUND_CLASSES)
def test_uniseg_words_of_a_nearly_ascii_page(text):
    page = (f"Plain words, don't you know; 1,234 of them. {text} {text}\t{text}\n{text}\r\nand the rest of_the plain "
            "page a.b 3.4 goes on")
    assert words.uniseg_words(page) == reference(page)


@fuzz(500)
@given(
    st.one_of(
        ANYTHING.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)),
        st.text(st.sampled_from("aé1_\"( \t\n\v\f\r\0\x1c\x1f\x85\xa0\u2028\u3000²"), max_size=30),
    )
)
def test_ft_words_equal_fasttexts(text):
    tokenize = pytest.importorskip("fasttext.FastText").tokenize
    expected = [token for token in tokenize(text) if token[0].isalnum()]
    assert words.ft_words(text) == expected and words.SplitText(text).ft_word_count == len(expected)


@fuzz(300)
@given(st.text(st.sampled_from("a \n\r\t\u2028"), max_size=30))
def test_lines_and_paragraphs(text):
    page = words.SplitText(text)
    assert page.lines == [line.strip() for line in text.split("\n") if line.strip()]
    assert page.paragraphs == [part.strip() for part in text.split("\n\n") if part.strip()]


def test_memory_of_pieces_is_bounded():
    filler = "plain ascii words around it to stay on the quick path "
    for n in range(words._PIECES_KEPT + 10): words._piece_words(f"é{n}")
    assert len(words._words_of_piece) <= words._PIECES_KEPT
    assert words.uniseg_words(filler + "é" * 1000)[-1] == "é" * 1000 and "é" * 1000 not in words._words_of_piece


LONG = {  # text of n parts: how it is made, the words in it, and n
    "one word": (lambda n: "a" * n, lambda n: 1, 3_000_000),
    "one word of accents": (lambda n: "é" * n, lambda n: 1, 1_000_000),
    "short words": (lambda n: "é " * n, lambda n: n, 300_000),
    "short lines": (lambda n: "a\n" * n, lambda n: n, 500_000),
    "marks without a letter": (lambda n: "\u0301" * n, lambda n: 0, 500_000),
    "Hebrew and quotes": (lambda n: "א'" * n, lambda n: 1, 200_000),
    "quotes": (lambda n: "'" * n + "é", lambda n: 1, 1_000_000),
    "letters and dots": (lambda n: "a." * n, lambda n: 1, 500_000),
    "lone surrogates": (lambda n: "\ud800" * n, lambda n: 0, 100_000),
}


@pytest.mark.parametrize("name", LONG)
def test_the_work_on_long_odd_texts_grows_with_their_length(name):
    text, count, size = LONG[name]

    def cut(n):
        words._words_of_piece.clear()
        assert len(words.uniseg_words(text(n))) == count(n)

    assert is_about_linear(cut, size)


def test_a_lone_surrogate_is_named():
    with pytest.raises(UnicodeEncodeError): words.SplitText("a \udc00").ft_word_count
