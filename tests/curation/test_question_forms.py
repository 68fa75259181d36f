"A question is found in a document whatever form either is in, and only its own characters are cut."
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.one_form import folded, with_places
from dclm_nb.curation.decontamination import cut_question, holds_question

QUESTION, OPTIONS = "Which office of finance don't they say flows first?", ["the fifth office"]
PAGE = f"Before. {QUESTION} The fifth office. Behind."
VIETNAMESE = "Tiếng Việt có bao nhiêu thanh điệu trong một từ?"


def half_composed(text):
    "As code page 1258 keeps it: ê with a dot below as a mark of its own."
    for letter, mark in ("ê\u0323", "ê\u0301", "ô\u0323", "ô\u0300", "ư\u0300", "ơ\u0301"):
        text = text.replace(unicodedata.normalize("NFC", letter + mark), letter + mark)
    return text


def each(text, letters, unseen): return "".join(unseen + c if c in letters else c for c in text)


FORMS = {
    "ligatures": lambda t: t.replace("ffi", "ﬃ").replace("fi", "ﬁ").replace("fl", "ﬂ"),
    "full-width": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "mathematical bold": lambda t: "".join(chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in t),
    "long s": lambda t: t.replace("first", "fir\u017ft"),
    "apostrophe": lambda t: t.replace("'", "’"), "letter apostrophe": lambda t: t.replace("'", "\u02bc"),
    "no-break spaces": lambda t: t.replace(" ", "\u00a0"), "wide spaces": lambda t: t.replace(" ", "\u3000"),
    "lines": lambda t: t.replace(" ", " \n"), "capitals": str.upper,
    "embedding": lambda t: t.replace("Which", "\u202aWhich\u202c"),
} | {
    f"U+{unseen:04X}": lambda t, unseen=chr(unseen): each(t, "efi ", unseen)
    for unseen in (0xAD, 0x34F, 0x61C, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x202C, 0x2060, 0x2063, 0x206A,
                   0xFE0F, 0xFEFF, 0xE0020)
}


def without_unseen(text): return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))


@pytest.mark.parametrize("name", FORMS)
def test_a_page_in_another_form_holds_the_question_and_loses_just_it(name):
    page = FORMS[name](PAGE)
    assert holds_question(page, QUESTION, OPTIONS) and not holds_question(page, QUESTION, ["the sixth"])
    assert holds_question(PAGE, FORMS[name](QUESTION), OPTIONS)
    left = without_unseen(cut_question(page, QUESTION, OPTIONS))
    assert folded(left).split() == ["before.", ".", "behind."], left


@pytest.mark.parametrize("page, question, option", [
    (half_composed(VIETNAMESE), VIETNAMESE, "sáu"), (VIETNAMESE, half_composed(VIETNAMESE), "sáu"),
    ("ｶﾀｶﾅ ﾊﾟﾝ は 何 です か", "カタカナ パン は 何 です か", "答え"),
    ("カタカナ パン は 何 です か", "ｶﾀｶﾅ ﾊﾟﾝ は 何 です か", "答え"),
    ("\ufedf\ufeea ﷲ", "له الله", "نعم"), ("له الله", "\ufedf\ufeea ﷲ", "نعم"),
    ("\u0958िला", "क\u093cिला", "हाँ"), ("क\u093cिला", "\u0958िला", "हाँ"),
    ("WIE HEISST DIE STRASSE?", "Wie heißt die Straße?", "weiß"),
    ("Wie heißt die Straße?", "WIE HEISST DIE STRASSE?", "WEISS"), ("WIE HEIẞT SIE?", "Wie heißt sie?", "weiß"),
    ("ΠΟΤΑΜΟΣ ΠΟΙΟΣ;", "ποταμός ποιος;".replace("ό", "ο"), "ναι"),
    (unicodedata.normalize("NFD", "한국의 수도는 어디?"), "한국의 수도는 어디?", "서울"),
    ("한국의 수도는 어디?", unicodedata.normalize("NFD", "한국의 수도는 어디?"), "서울"),
    ("i\u0307stanbul mu?", "İstanbul mu?", "evet"), ("“Who,” he said", '"Who," he said', "me"),
    ("a t\u2011shirt", "a t-shirt", "yes"),
])
def test_questions_of_many_scripts(page, question, option):
    page = f"X. {page} — {option} Y."
    assert holds_question(page, question, [option]) and not holds_question(page, question + " z", [option])
    assert cut_question(page, question, [option]).split() == ["X.", "—", "Y."]


@pytest.mark.parametrize("page, question", [
    ("how much is 1½ and a cup", "how much is 11"), ("what is x²", "what is x2"), ("the cafe\u0301", "the cafe"),
    ("the café", "the cafe"), ("a\u0308", "a"), ("각", "가"),
])
def test_other_letters_are_no_match(page, question): assert not holds_question(page + " yes", question, ["yes"])


def test_fractions_stay_whole():
    page = "Take 1½ cups of ﬂour? Yes, 2."
    assert holds_question(page, "take 1½ cups of flour?", ["yes"])
    assert cut_question(page, "take 1½ cups of flour?", ["yes"]) == " , 2."


MIXED = st.text(st.sampled_from(
    "aéE\u0301\u0323\u00ad\u200bﬃßİ\u0307½²①ﾊﾟㄱㅏ각ᄀ\u1161\u11a8\ufffc ﷲक\u093c\u0958\u0345ᾳ\u0344'’\r\n\u200d"
))


@given(st.one_of(st.text(), MIXED))
def test_the_places_are_those_of_the_folded_text(text):
    found, places = with_places(text)
    assert found == folded(text) and len(places) == len(found)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(places, places[1:]))
    assert all(0 <= start < end <= len(text) for start, end in places)


@given(st.text(st.sampled_from("abA \n.?"), max_size=60), st.text(st.sampled_from("abA "), min_size=1, max_size=4))
def test_plain_text_is_cut_as_a_search_without_case_would(page, question):
    if not question.strip(): return
    pattern = re.compile(r"\s+".join(map(re.escape, question.split())), re.IGNORECASE)
    held = bool(pattern.search(page))
    assert holds_question(page, question, [question]) == held
    want = pattern.sub("", pattern.sub("", page)) if held else page
    assert cut_question(page, question, [question]) == want


@pytest.mark.parametrize("stop", [".", "．", "!", "？", ".\u200b", "!\u2063"])
def test_the_last_sentence_begins_behind_any_full_stop(stop):
    question = f"A man thinks{stop} How far is it?"
    assert holds_question("How far is it? 2 miles", question, ["2 miles"], last_sentence=True)


@pytest.mark.parametrize("nothing", ["", " ", "\u200b", "\u00ad \ufeff"])
def test_what_nobody_sees_is_in_no_document(nothing):
    assert not holds_question("How far?", nothing, ["far"]) and not holds_question("How far?", "how", [nothing])
    assert cut_question("How far?", "how", ["far", nothing]) == " ?"
