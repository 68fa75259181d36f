"""Extraction under bad HTML: no crash, bounded time, a cause for every failure; decoding as the original and as a
browser."""
import random
import time

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation import extract as module
from dclm_nb.curation.extract import (
    ExtractionFailure, decode_html, extract_text, extract_texts, nesting_work, refuse_traps,
)

SENTENCE = "The tide had gone out so far that the boats lay on their sides like cattle. "
TEXT = f"<p>{SENTENCE * 5}</p>"
N = 100_000

MALFORMED = {      # name -> (html, the failure's cause or None)
    "100,000 divs": ("<div>" * N + TEXT, "too_deep"),
    "100,000 divs, closed": ("<div>" * N + TEXT + "</div>" * N, "too_deep"),
    "100,000 articles in capitals": ("<ARTICLE\n>" * N + TEXT, "too_deep"),
    "divs and articles in turn": ("<div x=1><article>" * (N // 2) + TEXT, "too_deep"),
    "hills of 1,000 divs": (("<div>" * 1000 + "</div>" * 1000) * 60 + TEXT, "too_deep"),
    "100,000 b": ("<b>" * N + TEXT, None),
    "100,000 unknown elements": ("<unknown>" * N + TEXT, None),
    "100,000 tables": ("<table><tr><td>" * N + TEXT, None),
    "100,000 lists": ("<ul><li>" * N + TEXT, None),
    "100,000 svg": ("<svg>" * N + TEXT, None),
    "100,000 templates": ("<template>" * N + TEXT, None),
    "100,000 selects": ("<select><option>" * N + TEXT, None),
    "paragraphs never closed": ("<p>x" * N + TEXT, None),
    "closing tags only": ("</div></p></b>" * N + TEXT, None),
    "misnested formatting": ("<b><i><a><font>" * 3000 + "</b></i></a></font>" * 3000 + TEXT, None),
    "nobr and a": ("<nobr><a href=x>" * 5000 + TEXT, None),
    "tags without end": ("<" * N + TEXT, None),
    "600,000 tags": ("<br>" * 600_000 + TEXT, "too_many_tags"),
    "a flood of entities": ("&amp;" * 500_000 + TEXT, None),
    "entities without semicolon": ("&lt&copy&nosuch" * N + TEXT, None),
    "entities beyond Unicode": ("&#xFFFFFFFF;&#99999999999;&#xD800;&#0;" * 10_000 + TEXT, None),
    "comments never closed": ("<!--" * N + TEXT, None),
    "CDATA": ("<![CDATA[" * N + TEXT + "]]>", None),
    "script never closed": (TEXT + "<script>" * N, None),
    "script that writes script": ("<script>document.write('<script>x</scr'+'ipt>')</script>" * 1000 + TEXT, None),
    "a million attributes": ("<a " + "b=c " * 1_000_000 + ">" + TEXT, None),
    "an attribute of 5 MB": ('<a href="' + "x" * 5_000_000 + '">y</a>' + TEXT, None),
    "an open quote": ('<a href="' + TEXT * 100, None),
    "NULs": ("\0" * N + TEXT, None),
    "NULs in tags": ("<\0d\0iv\0>" * 1000 + TEXT, None),
    "controls": ("".join(map(chr, range(32))) * 1000 + TEXT, None),
    "5 MB in one line": ("word " * 1_000_000 + TEXT, None),
    "50 MB in one line": ("word " * 10_000_000 + TEXT, "too_big"),
    "combining marks": ("a" + "\u0301" * N + TEXT, None),
    "nothing": ("", None),
    "frameset": ("<html><frameset><frame src=x></frameset><body>" + TEXT, None),
    "two documents": (f"<html><body>{TEXT}</body></html>" * 50, None),
    "plaintext": ("<plaintext>" + TEXT * 10, None),
    "not HTML at all": ("%PDF-1.4 " + "obj " * 1000, None),
    "JSON": ('{"a": "' + "<div>" * 100 + '"}', None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_html(name):
    html, cause = MALFORMED[name]
    for method in ("resiliparse", "wet"):
        try: text, failed = extract_text(html.encode(), method), None
        except ExtractionFailure as failure: text, failed = "", failure.cause
        assert failed == cause
        text.encode()       # no lone surrogates come out


def test_the_guard_does_not_refuse_real_shapes():
    rng = random.Random(0)
    body = "".join(
        "<div class=row>" * 12 + f"<article><p>{SENTENCE}</p></article>" + "</div>" * 12 for _ in range(2000)
    )
    refuse_traps(body.encode())
    assert SENTENCE.strip() in extract_text(f"<html><body>{body}</body></html>".encode())
    tree, depth = [], 0
    for _ in range(3000):
        up = rng.random() < 0.5
        tree.append("<div>" if up else "</div>")
    assert nesting_work("".join(tree).encode()) == brute_force(tree)


def brute_force(tags):
    depth = work = 0
    for tag in tags:
        if tag == "<div>":
            depth += 1
            work += depth
        else: depth = max(depth - 1, 0)
    return work


def test_a_page_that_is_too_small_to_look_at_cannot_be_too_deep():
    size = module.SMALL_BYTES
    for tag in ("<div>", "<DIV\n", "<article>"):
        assert nesting_work((tag * (size // len(tag))).encode()) <= module.MAX_NESTING_WORK
    for size in (module.SMALL_BYTES, module.SMALL_BYTES + 1): refuse_traps(("<div>" * (size // 5)).encode())


def test_nesting_work_counts_the_right_tags():
    assert nesting_work(b"<divider><articles></divx><div/><DIV\n>") == 1 + 2
    assert nesting_work(b"") == nesting_work(b"</div>" * 9) == 0


def test_the_bound_is_where_it_hurts():
    """Just inside the bound resiliparse needs at most a few seconds; time grows with the bounded quantity."""
    depth = int((2 * module.MAX_NESTING_WORK) ** 0.5) - 1
    html = "<div>" * depth + TEXT
    start = time.process_time()
    assert module.METHODS["resiliparse"](html) == extract_text(html.encode())
    assert time.process_time() - start < 8
    with pytest.raises(ExtractionFailure, match="too_deep"): refuse_traps(b"<div>" * (depth + 2))


@pytest.mark.parametrize("seed", range(4))
def test_tag_soup_fuzz(seed):
    """2,500 random pages a seed: no crash, and no failure but one."""
    rng = random.Random(seed)
    pieces = [
        "<div>",
        "</div>",
        "<p>",
        "<b>",
        "</i>",
        "<a href='",
        "\"",
        ">",
        "<table>",
        "<td>",
        "</tr>",
        "<script>",
        "</script>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "&amp;",
        "&#x0;",
        "&#xD8",
        "\0",
        "<svg>",
        "<math>",
        "<template>",
        "</body>",
        "<body>",
        "<html>",
        "<frameset>",
        "<select>",
        "<textarea>",
        "</textarea>",
        "<plaintext>",
        "é",
        "\u202e",
        "words in a row ",
        "\n",
        "<",
        "=",
        "<li>",
        "<article class=post>",
        "<nav>",
        "<h1>",
    ]
    def page():
        html = "".join(rng.choices(pieces, k=rng.randrange(1, 60))).encode()
        return html[:rng.randrange(len(html) + 1)] + rng.randbytes(3) if rng.random() < 0.2 else html
    pages = [(page(), "") for _ in range(2500)]
    for faithful in (True, False):
        answers = list(extract_texts(pages, "resiliparse", faithful))
        assert len(answers) == len(pages)
        for answer in answers:
            if isinstance(answer, ExtractionFailure): assert answer.cause == "not-utf-8" and faithful
            else: answer.encode()


GERMAN = "Grüße aus Köln: schöne Wörter, größere Straßen und viele Bäume säumen den Weg über die Brücke."


@pytest.mark.parametrize(
    "encoding, declared, meta",
    [
        ("utf-8", "", ""),
        ("utf-8", "utf-8", ""),
        ("cp1252", "iso-8859-1", ""),
        ("cp1252", "", "windows-1252"),
        ("latin-1", "", ""),
        ("utf-16", "", ""),
        ("utf-8-sig", "latin-1", ""),
        ("utf-8", "nonsense", ""),
        ("utf-8", "us-ascii", ""),
    ],
)
def test_charsets(encoding, declared, meta):
    html = (f'<meta charset="{meta}">' if meta else "") + f"<p>{GERMAN}</p>"
    if declared == "us-ascii": html = html.replace("ü", "u").replace("ö", "o").replace("ä", "a").replace("ß", "ss")
    data = html.encode(encoding)
    expected = (
        GERMAN
        if declared != "us-ascii"
        else GERMAN.replace("ü", "u").replace("ö", "o").replace("ä", "a").replace("ß", "ss")
    )
    assert expected in extract_text(data, faithful=False, charset=declared)
    try:
        data.decode("utf-8")
        assert expected in extract_text(data)
    except UnicodeDecodeError:
        with pytest.raises(ExtractionFailure) as caught: extract_text(data)
        assert caught.value.cause == "not-utf-8"


def test_any_bytes_decode_when_not_faithful():
    rng = random.Random(0)
    for _ in range(500):
        decode_html(
            rng.randbytes(rng.randrange(200)),
            False,
            rng.choice(["", "utf-8", "utf-16", "shift_jis", "zlib", "rot13", "\0", "x" * 99]),
        ).encode()


def test_trafilatura_and_unknown_methods():
    assert SENTENCE.strip() in extract_text(
        f"<html><body><article>{TEXT}</article></body></html>".encode(), "trafilatura"
    )
    with pytest.raises(UserError, match="trafilatura"): extract_text(b"", "trafilatur")
    with pytest.raises(UserError): extract_texts([], "html2text")
