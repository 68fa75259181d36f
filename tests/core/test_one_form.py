"The same text in its many spellings is one text; and what is compared keeps its marks."
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.one_form import one_form
from dclm_nb.curation.decontamination import NgramIndex, cut_question, decontaminate, holds_question, match_words
from dclm_nb.image.captions import CaptionVocabulary, caption_words

SPELLINGS = {
    "decomposed": lambda t: unicodedata.normalize("NFD", t),
    "soft hyphens": lambda t: "".join(c + "\u00ad" if c.isalpha() else c for c in t),
    "zero-width spaces": lambda t: "".join(c + "\u200b" if c.isalpha() else c for c in t),
    "word joiners": lambda t: t.replace("e", "e\u2060"),
    "a byte order mark": lambda t: "\ufeff" + t,
    "decomposed, with soft hyphens": lambda t: unicodedata.normalize("NFD", t).replace("e", "e\u00ad"),
    "another case": str.upper,
}
COMPATIBLE = {
    "wide letters": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "ligatures": lambda t: t.replace("fi", "ﬁ"),
    "typographic apostrophes": lambda t: t.replace("'", "’"),
}
TEXT = ("le café naïve de la forêt n'est pas fini après l'été où les élèves fiers avaient déjà lu "
        "cent livres sur la pêche à la façon des anciens")
HINDI = "हिन्दी में लिखी हुई किताबें पढ़ने वाले विद्यार्थी रोज़ सुबह पुस्तकालय में बैठकर अपना काम पूरा करते हैं"


@pytest.mark.parametrize("name", [*SPELLINGS, *COMPATIBLE])
def test_a_copy_in_another_spelling_is_found(name):
    spelt = (SPELLINGS | COMPATIBLE)[name](TEXT)
    assert match_words(spelt) == match_words(TEXT)
    assert decontaminate([f"before {spelt} behind"], [TEXT]).removed == 1
    assert decontaminate([f"before {TEXT} behind"], [spelt]).removed == 1


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("text", [TEXT, "Wie heißt die Hauptstadt Österreichs, das schöne Wien?", HINDI])
def test_a_question_in_another_spelling_is_found_and_cut(name, text):
    spelt = SPELLINGS[name](text)
    if spelt.lower() != text.lower() and "ß" in text and name == "another case": return  # SS: other letters
    page = f"Avant. {spelt} Réponse : {SPELLINGS[name]('déjà')}. Après."
    assert holds_question(page, text, ["déjà"]) and not holds_question(page, text, ["jamais"])
    cut = cut_question(page, text, ["déjà"])
    assert not holds_question(cut, text, ["déjà"]) and cut.startswith("Avant.") and cut.endswith("Après.")


@pytest.mark.parametrize("text, words", [
    ("हिन्दी में किताबें", ["हिन्दी", "में", "किताबें"]), ("தமிழ் மொழி", ["தமிழ்", "மொழி"]), ("ภาษาไทย", ["ภาษาไทย"]),
    ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]), ("مَدْرَسَة", ["مَدْرَسَة"]), ("a\u0301 la carte", ["á", "la", "carte"]),
    ("x\u0302-axis", ["x\u0302", "axis"]), ("don't stop", ["don't", "stop"]), ("a_b", ["a", "b"]),
])
def test_words_keep_their_marks(text, words):
    assert match_words(text) == [unicodedata.normalize("NFKC", word) for word in words]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_caption_in_another_spelling_has_the_same_ids(name):
    captions = ["ein grüner Würfel neben dem Häuschen", "हिन्दी किताबें", "a café"]
    vocabulary = CaptionVocabulary.of(captions)
    assert (vocabulary.encode([SPELLINGS[name](c) for c in captions]) == vocabulary.encode(captions)).all()
    assert caption_words("हिन्दी किताबें") == ["हिन्दी", "किताबें"]


@given(st.text())
def test_one_form_is_one(text):
    assert one_form(one_form(text)) == one_form(text)
    assert len(NgramIndex([text], 1).hits(text)) == len(match_words(text)) and NgramIndex([text], 1).hits(text).all()


@pytest.mark.parametrize("text", ["1½ cups", "¾ of it", "3 m²", "①"])
def test_a_fraction_stays_one_word(text):
    assert one_form(text) == text
    assert match_words("1½ tsp salt ½ tsp") == ["1½", "tsp", "salt", "½", "tsp"]
