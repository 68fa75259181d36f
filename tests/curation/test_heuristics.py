"""The heuristics against slow versions of themselves on random pages, and on pages that are meant to hurt."""
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from growth import is_about_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fuzz

sys.path.insert(0, str(Path(__file__).parent))
import slow_heuristics as slow  # noqa: E402

from dclm_nb.core.errors import UserError  # noqa: E402
from dclm_nb.curation import heuristics as h  # noqa: E402
from dclm_nb.curation import url as u  # noqa: E402
from dclm_nb.curation.blocks import word_lists  # noqa: E402
from dclm_nb.curation.language import has_nothing_to_read  # noqa: E402
from dclm_nb.curation.repetition import RepeatedNgrams, first_repetition, repetition_shares  # noqa: E402
from dclm_nb.curation.words import SplitText  # noqa: E402

pytest.importorskip("uniseg", reason="uniseg is the reference for word segments (pip install -e .[dev])")
NO_LISTS = h.Settings(u.BanLists(), h.assume_english)

ADDRESS_PARTS = st.sampled_from(
    "The In Zoo http:// https:// ftp:// xhttp:// HTTP:// http: / // www. example example.org .com .co .co.uk .COM "
    ".comma com_ .com: a.b .рф .موقع .موقع\u200e .vermögensberatung .भारत .भारतम् "
    "@ - _ = é ٣ 127.0.0.1 1.2.3.4 1.2.3.4.5 300.1.2.3.4 0299.1.1.1 25 2 3. . ( ) ? # & ; ! x/y".split()
    + [" ", "\n", "\t", "\u00a0", " " * 9, "\n " * 6, "a" * 255, "a" * 257, "a." * 130, "b-" * 200]
)
ADDRESSES = st.lists(ADDRESS_PARTS, max_size=14).map("".join)

PAGE_PARTS = st.sampled_from(
    "the be to of and that have with The THE, a Word word, ABC ABc HELLO 123 1,000 ² ① Ⅷ Ⓐ 3 likes 1.2K shares (12 "
    "views! retweets items in cart carton read more... more!!! Sign-in sign-in ſign-in İtems ın "
    "# ... .... ......  …  . - • * ● ·x é’s don't naïve 語 a_b _ 12:30 3.14 e.g. x\u00a0y — “quoted” 10.0.0.1 "
    "www.example.org ٣٢ ½ ǅ x\u200by e\u0301 \u0301e 😀 \ufeffthe \ufeff the\u3000be 12\u00a0likes ¹² \u212a "
    "12\tlikes ſhares 3\u212a 1,.,2b".split(" ")
    + [" ", ". . .", "items in cart", "Read more...", "12 likes", "5 Followers"]
)
LINE = st.lists(PAGE_PARTS, max_size=14).map(" ".join)
SEPARATOR = st.sampled_from([
    "\n",
    "\n",
    "\n",
    "\n\n",
    "\n\n\n",
    "\n \n",
    "\r\n",
    "\u2028",
    "\x1c",
    "\x85",
    "\v",
    "\f",
    "\r",
    "\0",
    " \n\t",
])
PAGES = st.lists(st.tuples(LINE, SEPARATOR), max_size=12).map(lambda parts: "".join(a + b for a, b in parts))
PROSE = (
    "The first settlers came up the river in spring and built their huts of wood",
    "Nobody knew what to expect of the winter that lay ahead of them",
    "Trade with the villages along the coast grew slowly over many years",
    "Stone houses and a market were to follow before the century was out",
    "Most of what we know of them comes from letters and a single diary",
    "It was found in an attic and is now kept with other papers of the time",
)

JUNK = (
    "HOME ABOUT NEWS SPORT SHOP HELP LOGIN",
    "12 items in cart",
    "Menu",
    "1,024 likes",
    "2024",
    "Sign-in to comment",
    "",
    "  ",
    "a word Read more...",
)


@st.composite
def near_pages(draw):
    """Prose with some damage: pages that get far down the list of steps."""
    lines = list(PROSE)
    for _ in range(draw(st.integers(0, 4))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.one_of(LINE, st.sampled_from((*PROSE, *JUNK)))))
    return draw(st.sampled_from(["\n", "\n\n", " \n"])).join(lines)


@fuzz(500)
@given(ADDRESSES)
def test_url_removal(text):
    assert u.starts_with_tld(text) == bool(slow.TLD_AT_START.match(text))
    assert u.remove_urls(text) == slow.remove_urls(text)
    assert u.remove_ip_addresses(text) == slow.remove_ip_addresses(text)


@fuzz(300)
@given(ADDRESSES)
def test_url_removal_after_a_start_that_spells_a_domain(text):
    assert u.remove_urls("In " + text) == slow.remove_urls("In " + text)


@fuzz(500)
@given(st.text(max_size=4))
def test_any_start(text): assert u.starts_with_tld(text) == bool(slow.TLD_AT_START.match(text))


@fuzz(300)
@given(
    st.lists(st.text(st.sampled_from("ab-."), min_size=1, max_size=5), max_size=6),
    st.text(st.sampled_from("ab-._ "), max_size=30),
)
def test_trie_matches_like_the_longest_first_alternation(words, text):
    import re
    plain = "|".join(map(re.escape, sorted(set(words), key=len, reverse=True))) or "(?!)"
    assert re.findall(u.trie_pattern(words), text) == re.findall(plain, text)
    assert re.findall(rf"\b{u.trie_pattern(words)}\b", text) == re.findall(rf"\b(?:{plain})\b", text)


ENTRIES = [
    "snork",
    "snorkel",
    "two-words",
    "two",
    "words",
    "plonk",
    "plonkle",
    "a",
    "ab",
    "x_y",
    "éa",
    "a.b",
    "Kin",
    "Q1",
    "don't",
]
URLS = st.lists(
    st.sampled_from([*ENTRIES, *"-._/?=&%:@#(' ", "www", "WWW", "http://", "//", "İ", "é", "SNORK"]), max_size=12
).map("".join)


@fuzz(500)
@given(URLS, st.sets(st.sampled_from(ENTRIES), min_size=1), st.sampled_from(["", "http://"]))
def test_address_steps(url, entries, scheme):
    lists = u.BanLists(*[frozenset(entries)] * 4)
    for kind in ("strict", "hard", "soft"):
        assert u.banned_words(scheme + url, lists, kind) == slow.banned(scheme + url, entries, kind), kind
    try: expected = slow.host(scheme + url) in {entry.lower() for entry in entries}
    except ValueError:
        with pytest.raises(ValueError): u.domain_is_banned(scheme + url, lists)
    else: assert u.domain_is_banned(scheme + url, lists) == expected


@fuzz(300)
@given(st.text(st.sampled_from(" .!~-_`\n\t\0\u3000…«a"), max_size=6))
def test_what_is_not_classified(text): assert has_nothing_to_read(text) == (not slow.is_classified(text))


@fuzz(300)
@given(st.one_of(PAGES, near_pages()))
def test_drop_rules_alone(text):
    page = h.Page(text)
    for number, (keep, statistic) in slow.drop_rules(text).items():
        verdict = h.STEPS[number - 1].rule(page, NO_LISTS)
        assert (verdict.keep, repr(verdict.statistic)) == (keep, repr(statistic)), h.STEPS[number - 1].name


@fuzz(300)
@given(st.one_of(PAGES, near_pages(), ADDRESSES))
def test_modifiers_alone(text):
    for number in (6, 7, 18, 19, 20, 21, 22):
        verdict, expected = h.STEPS[number - 1].rule(h.Page(text), NO_LISTS), slow.modify(number, text)
        if expected == "" and number != 7: assert (verdict.keep, verdict.note) == (False, "emptied"), number
        else: assert verdict.text == expected, number


@fuzz(300)
@given(st.one_of(PAGES, near_pages(), st.text(st.sampled_from("ab \n"), max_size=80)))
def test_repetition_alone(text):
    page = SplitText(text)
    for (test, share), (key, part, whole) in zip(repetition_shares(page), slow.repetition(text), strict=True):
        if isinstance(part, str): assert (test.key, share.reason, share.within(test.limit)) == (key, part, whole)
        else: assert (test.key, share.part, share.whole, share.reason) == (key, part, whole, "")
    found = first_repetition(page)
    assert (found and (found[0].key, found[1].value)) == slow.first_repetition(text)


@fuzz(400)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=12, max_size=40))
def test_ngrams_of_few_words(words):
    ngrams = RepeatedNgrams(words)
    for n in range(2, 11):
        ngrams.grow()
        share = ngrams.most_common() if n <= 4 else ngrams.covered()
        assert share.reason or (share.part, share.whole) == slow.ngram_share(words, n)


@fuzz(500)
@given(st.one_of(near_pages(), near_pages(), PAGES))
def test_pipeline(text):
    decision = h.refinedweb(text, ban_lists=u.BanLists(), language=h.assume_english)
    assert (decision.step_number, decision.text) == slow.pipeline(text) and decision.kept == (
        decision.step_number is None
    )


def test_random_pages_reach_most_steps():
    """The generator above is only worth something if its pages fall everywhere."""
    seen = set()

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(st.one_of(near_pages(), PAGES))
    def collect(text): seen.add(h.refinedweb(text, ban_lists=u.BanLists(), language=h.assume_english).step_number)
    collect()
    assert {None, 9, 16, 23} <= seen and len(seen) >= 6, seen


def test_faithful_false_repairs():
    zebra = "Zebras live at http://example.org/ in herds"
    assert u.remove_urls(zebra) == zebra and u.remove_urls(zebra, faithful=False) == "Zebras live at in herds"
    lists = u.BanLists(frozenset({"bad.example"}))
    for address, faithful, fixed in [
        ("http://www.bad.example/", False, True),
        ("http://bad.example:80", False, True),
        ("http://BAD.example", True, True),
        ("http://bwwwad.example", True, False),
    ]:
        assert (u.domain_is_banned(address, lists), u.domain_is_banned(address, lists, faithful=False)) == (
            faithful,
            fixed,
        ), address
    assert (
        h.refinedweb(
            "x", "http://www.bad.example/", ban_lists=lists, language=h.assume_english, faithful=False
        ).step_number
        == 2
    )


def test_ban_lists_of_the_wheel():
    lists = u.embedded_ban_lists()
    assert lists.origin.startswith("datatrove ") and all(
        words and all(word.isalnum() and word == word.lower() for word in words)
        for words in (lists.strict, lists.hard, lists.soft)
    )
    for kind, step in (("strict", 3), ("hard", 4)):
        word = min(getattr(lists, kind), key=lambda word: (len(word), word))
        assert h.refinedweb("text", f"http://example.org/{word}", language=h.assume_english).step_number in (3, 4), step
    one, two = sorted(lists.soft)[:2]
    assert h.few_banned_words("soft", 2)(
        h.Page("", f"http://x.example/{one}-{one}"), h.Settings(lists, h.assume_english)
    ).keep
    assert not h.few_banned_words("soft", 2)(
        h.Page("", f"http://x.example/{one}-{two}"), h.Settings(lists, h.assume_english)
    ).keep


def test_domain_table(tmp_path, monkeypatch):
    names = [f"host{k}.example" for k in range(1000)]
    table = u.DomainTable.of(name.encode() + b"\n" for name in names)
    assert (
        len(table) == 1000 and all(name in table for name in names) and not any(f"x{name}" in table for name in names)
    )
    lists = u.BanLists(table, origin="test")
    assert u.domain_is_banned("http://HOST7.example/page", lists) and not u.domain_is_banned(
        "http://host7.example.org/page", lists
    )


def test_the_domains_of_the_wheel_are_banned_by_default():
    with tarfile.open(u._datatrove_assets() / u.DATATROVE_LISTS) as archive:
        listed = next(archive.extractfile("domains")).decode().strip()
    lists = u.embedded_ban_lists()
    assert len(lists.domains) == 4_558_940 and str(lists).startswith("4,558,940 domains, ") and listed in lists.domains
    assert (
        h.refinedweb("text", f"http://{listed}/page", language=h.assume_english).step_number == 2
        and word_lists("embedded")[0] is lists
    )


@pytest.mark.nightly
def test_two_processes_that_first_hash_the_domains_of_the_wheel_end_with_one_whole_file(tmp_path, monkeypatch):
    lists = u.embedded_ban_lists()
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path))
    code = "from dclm_nb.curation.url import datatrove_domains as d; print(len(d()))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate(timeout=120)[0] for child in both] == ["4558940\n"] * 2
    made, = tmp_path.rglob("*.u64")
    assert np.array_equal(np.fromfile(made, "<u8"), lists.domains.hashes) and not list(tmp_path.rglob("*.tmp"))


def test_domains_that_cannot_be_kept_are_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("a file where the folder should be")
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path))
    with pytest.raises(UserError, match="cannot make the folder"): u.datatrove_domains.__wrapped__()


@pytest.mark.parametrize(
    "url, cause",
    [
        ("http://[::1", "error ValueError"),
        ("http://a\u2100b.example/", "error ValueError"),
        ("http://x]/", "error ValueError"),
    ],
)
def test_a_bad_address_loses_the_page(url, cause):
    decision = h.refinedweb("\n".join(PROSE), url, ban_lists=u.BanLists(), language=h.assume_english)
    assert (decision.kept, decision.step_number, decision.note) == (False, 2, cause)


def test_a_lone_surrogate_is_counted():
    for text in ("\ud800", "\n".join(PROSE) + "\udfff"):
        decision = h.refinedweb(text, ban_lists=u.BanLists(), language=h.assume_english)
        assert not decision.kept and decision.note == "error UnicodeEncodeError"
        assert len(h.explain(text, ban_lists=u.BanLists(), language=h.assume_english)) == 23


MEGA = 1_000_000
HUGE = {  # text of about n characters, and n
    "one line of 50 MB without a blank": (lambda n: "a" * n, 50 * MEGA),
    "one line of 50 MB of words": (lambda n: "The word " * (n // 9), 50 * MEGA),
    "a million lines of one character": (lambda n: "a\n" * (n // 2), 2 * MEGA),
    "a million different lines": (lambda n: "".join(f"{k}\n" for k in range(n // 7)), 7 * MEGA),
    "5 MB of dots": (lambda n: "In" + "." * n, 5 * MEGA),
    "5 MB of dotted names": (lambda n: "In " + "a.com" * (n // 5), 5 * MEGA),
    "5 MB of numbers and dots": (lambda n: "1.2." * (n // 4), 5 * MEGA),
    "5 MB of blanks": (lambda n: " " * n + "x", 5 * MEGA),
    "5 MB of newlines": (lambda n: "\n" * n + "x", 5 * MEGA),
    "1 MB of punctuation": (lambda n: "," * n + "3 likes", MEGA),
    "1 MB of NULs": (lambda n: "\0" * n, MEGA),
    "1 MB of accents": (lambda n: "e" + "\u0301" * n, MEGA),
    "2 MB of Chinese": (lambda n: "的一是在" * (n // 4), 2 * MEGA),
    "a counter of a million digits": (lambda n: "1" * n + " like", MEGA),
    "blanks that never end a phrase": (lambda n: ("items in " + " " * 50) * (n // 59), 59 * 20_000),
}


def rules_for(size: int) -> list:
    "All rules; above 5 MB only the cheap ones: step 9 stops above 100,000 words, so step 16 never sees 10 MB of them."
    cheap = lambda step: step.kind == "modify" or step.number in (9, 17) or (step.number == 16 and size <= 10 * MEGA)
    return [step.rule for step in h.STEPS if size <= 5 * MEGA or cheap(step)]


@pytest.mark.parametrize("name", HUGE)
def test_the_work_on_pages_meant_to_hurt_grows_with_their_length(name):
    """Through each rule, with no early exit. The quadratic version of any of these takes hours."""
    make, size = HUGE[name]

    def decide(n):
        page = h.Page(make(n))
        for rule in rules_for(size): rule(page, NO_LISTS)

    assert is_about_linear(decide, size)
    assert not h.refinedweb(make(size), ban_lists=u.BanLists(), language=h.assume_english).kept


def test_decisions_do_not_depend_on_what_was_seen_before():
    texts = ["\n".join(random.Random(seed).sample(PROSE, 6) * (1 + seed % 2)) + " “é”" * seed for seed in range(12)]
    decide = lambda pages: [h.refinedweb(text, ban_lists=u.BanLists(), language=h.assume_english) for text in pages]
    assert decide(texts) == decide(texts[::-1])[::-1]
