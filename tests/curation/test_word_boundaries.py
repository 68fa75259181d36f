"""The vectorised word boundaries against an independent implementation of the same standard, on strings from every
class."""
import random

import numpy as np
import pytest

from dclm_nb.curation.word_boundaries import PROPERTIES, ascii_edges, property_table, unicode_edges, word_tokens

wordbreak = pytest.importorskip("uniseg.wordbreak")


def code_points(text: str) -> np.ndarray: return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def spelled(text: str) -> list[str]:
    tokens = word_tokens(text)
    return [text[a:b] for a, b in zip(tokens.starts, tokens.stops)]


def peer(text: str) -> list[str]:
    white = property_table()[code_points(text)] & PROPERTIES["White_Space"]
    pieces, at = [], 0
    for piece in wordbreak.words(text):
        if not white[at:at + len(piece)].all(): pieces.append(piece)
        at += len(piece)
    return pieces


@pytest.fixture(scope="module")
def alphabet() -> dict[str, list[str]]:
    """Per property up to 300 characters that both sides' Unicode versions classify alike."""
    by_class = {}
    for name, bit in PROPERTIES.items():
        codes = [
            c
            for c in np.flatnonzero(property_table() & bit)[:600].tolist()
            if name in ("Extended_Pictographic", "White_Space")
            or wordbreak.word_break(chr(c)).name.replace("_", "").lower() == name.replace("_", "").lower()
        ]
        by_class[name] = [chr(c) for c in codes][:300]
    assert all(by_class.values())
    return by_class | {"other": list("#-+漢字§€“”")}


def test_random_strings_of_every_class(alphabet):
    rng, names = random.Random(7), list(alphabet)
    differences = []
    for _ in range(20_000):
        text = "".join(rng.choice(alphabet[rng.choice(names)]) for _ in range(rng.randrange(1, 10)))
        if spelled(text) != peer(text): differences.append(text)
    assert not differences, [ascii(d) for d in differences[:5]]


def test_every_ascii_pair_and_triple():
    probe = "aZ09_'.:,;\"-# \t\r\v\f\x1f\x00"
    for a in probe:
        for b in probe:
            for c in probe:
                text = a + b + c
                quick, full = ascii_edges(text.encode()), unicode_edges(code_points(text))
                assert (quick[0] == full[0]).all() and (quick[1] == full[1]).all(), ascii(text)


def test_real_sentences():
    for text in [
        "It’s 3.14—not “3,14”; see https://example.org/a_b?c=d&e=1,000.5",
        "C’est l’été à 20:30 …",
        "l'«école» n°5",
        "x\u200by z\u00a0w",
        "e\u0301a  \u0308b",
    ]:
        assert spelled(text) == peer(text)


def test_tokens_cover_everything_that_is_not_blank():
    rng = random.Random(3)
    for _ in range(500):
        text = "".join(chr(rng.choice([rng.randrange(0x250), rng.randrange(0x2000, 0x3100), 32])) for _ in range(40))
        tokens = word_tokens(text)
        covered = np.zeros(len(text), bool)
        for a, b in zip(tokens.starts, tokens.stops):
            assert a < b and not covered[a:b].any()
            covered[a:b] = True
        white = (property_table()[code_points(text)] & PROPERTIES["White_Space"]) != 0
        assert (covered | white).all()
