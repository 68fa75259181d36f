"The words of a caption are the same in every room, however the caption is spelt."
import unicodedata

import emoji
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from dclm_nb.core.one_form import LETTER, one_form, plain_words
from dclm_nb.image.captions import DROPPED, CaptionVocabulary, caption_words
from dclm_nb.image.features import TwoTower
from dclm_nb.image.scenes import SPLITS, SceneSpec, captions_of
from dclm_nb.video import world
from dclm_nb.video.models import WordCaptions
from dclm_nb.video.similarity import SmallConfig, Towers
from dclm_nb.video.training_set import words_of
from dclm_nb.video.words import Words

CAPTION = "a café by the sea, in a child's t-shirt"
SPELLINGS = {
    "decomposed": unicodedata.normalize("NFD", CAPTION),
    "capitals": CAPTION.upper(),
    "soft hyphen": CAPTION.replace("fé", "f\u00adé"),
    "zero-width space": CAPTION.replace("fé", "fé\u200b"),
    "byte order mark": "\ufeff" + CAPTION,
    "left-to-right mark": CAPTION.replace("sea", "\u200esea"),
    "full-width comma": CAPTION.replace(", ", "，"),
    "full-width letters": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in CAPTION),
    "exclamation": CAPTION + "!",
    "quoted": f"“{CAPTION}”",
    "in brackets": f"({CAPTION})",
    "no-break spaces": CAPTION.replace(" ", "\u00a0"),
    "typographic apostrophe": CAPTION.replace("'", "’"),
    "letter apostrophe": CAPTION.replace("'", "\u02bc"),
    "hyphen": CAPTION.replace("-", "\u2010"),
    "no-break hyphen": CAPTION.replace("-", "\u2011"),
}
SPLITS_IN_USE = {
    "caption vocabulary": lambda c: CaptionVocabulary.of([CAPTION]).encode([c]).tolist(),
    "words": lambda c: Words.of([CAPTION]).encode([c]).tolist(),
    "training set": lambda c: words_of([c], 5).words.words,
    "video model": lambda c: WordCaptions(Words.of([CAPTION])).encode([c]).tolist(),
    "video towers": lambda c: Towers(SmallConfig(), Words.of([CAPTION]).words).ids([c]).tolist(),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("room", SPLITS_IN_USE)
def test_a_caption_in_another_spelling_has_the_same_words(room, name):
    assert SPLITS_IN_USE[room](SPELLINGS[name]) == SPLITS_IN_USE[room](CAPTION)


@pytest.mark.parametrize("spelt", ["A Red\u00adcircle", "a redcircle!", "ａ redcircle", "a\u200e redcircle"])
def test_the_tower_of_pictures_reads_the_same_words(spelt):
    tower = TwoTower(SceneSpec())
    tower.words["redcircle"] = 1
    assert tower.ids([spelt]).tolist() == tower.ids(["a redcircle"]).tolist()


@pytest.mark.parametrize("text, words", [
    ("दिल्ली में", ["दिल्ली", "में"]), ("Straße STRASSE", ["strasse"] * 2),
    ("t‐shirt t‑shirt", ["t-shirt"] * 2),
    ("child’s child's", ["child’s"] * 2), ("1½ cups", ["1½", "cups"]), ("ﬁne ｎａïｖｅ", ["fine", "naïve"]),
    ("a_b a - b", list("abab")), ("!? …", []), ("", []), ("ﾊﾟﾝ パン", ["パン", "パン"]),
])
def test_words_are_whole(text, words): assert plain_words(text) == words


def test_one_word_in_two_forms_is_one():
    assert Words.of(["café", unicodedata.normalize("NFD", "café")]).words == ("café",)


def test_words_kept_in_an_earlier_form_are_still_read():
    assert Words(("child's", "cup", "straße"), 3).encode(["STRASSE child’s"]).tolist() == [[3, 1, 0]]
    kept = CaptionVocabulary.from_dict({"words": ["child's", "straße"], "length": 3})
    assert kept.encode(["STRASSE child’s"]).tolist() == [[2, 1, 0]]


def world_captions():
    for spec in (SceneSpec(), SceneSpec(size=32, colours=8, shapes=6, smallest=10.0, largest=13.0)):
        for split in SPLITS: yield from (str(c) for kind in captions_of(spec, split) for c in kind)
    for split in world.SPLITS:
        for camera in (False, True): yield from map(str, world.meanings_of(world.WorldSpec(), split, camera))


def test_the_captions_of_the_worlds_keep_their_words():
    captions = set(world_captions())
    assert len(captions) > 1000 and all(c.isascii() for c in captions)
    for caption in captions:
        split = caption.lower().replace(",", " ").replace(".", " ").split()
        assert plain_words(caption) == split == plain_words(caption.upper())
        assert caption_words(caption) == [word for word in split if word not in DROPPED]


def test_the_names_of_emoji_keep_their_words_and_their_order():
    "Trainings and results rest on them; here is how they were read when these were made."
    word = regex.compile(rf"(?:{LETTER})+(?:['’-]+(?:{LETTER})+)*")
    names = {kind["en"].replace("_", " ").replace(":", " ").strip() for kind in emoji.EMOJI_DATA.values()}
    assert any("’" in name for name in names) and not any("'" in name for name in names)
    for name in names: assert plain_words(name) == word.findall(one_form(name).lower()), name


@given(st.text(st.sampled_from("aBéé\u0301\u00ad '’-‑_.,ßशि½ﬁﾊﾟ!")))
def test_words_joined_by_blanks_are_the_same_words(text):
    assert plain_words(" ".join(plain_words(text))) == plain_words(text)
