"""Pages in the encodings of the web, read as a browser reads them: labels and aliases of the WHATWG standard, letters
that Python's codecs of the same name lack, one bad byte that costs one character."""
import random
import time

import pytest

from dclm_nb.curation.extract import decode_html

HEAD = b"<html><body><p>"
ENGLISH = "It’s said that the café by the sea is “old”."


def read(data: bytes, charset: str = "") -> str: return decode_html(HEAD + data, faithful=False, charset=charset)[15:]


LETTERS = [      # (label, bytes, what a browser shows)
    ("iso-8859-1", ENGLISH.encode("cp1252"), ENGLISH), ("us-ascii", ENGLISH.encode("cp1252"), ENGLISH),
    ("l1", ENGLISH.encode("cp1252"), ENGLISH), ("windows-1252", b"a\x81\x8d\x8f\x90\x9dz", "a\x81\x8d\x8f\x90\x9dz"),
    ("windows-1253", "καλημέρα".encode("cp1253") + b"\x98\xd2", "καλημέρα\x98�"),
    ("windows-1257", "labrīt".encode("cp1257") + b"\x81", "labrīt\x81"), ("dos-874", "สวัสดี".encode("cp874"), "สวัสดี"),
    ("tis-620", "สวัสดี".encode("cp874") + b"\x85", "สวัสดี…"),
    ("iso-8859-9", "ışık€".encode("cp1254"), "ışık€"),
    ("koi8-r", "привет".encode("koi8_r"), "привет"), ("x-cp1251", "привет".encode("cp1251"), "привет"),
    ("shift_jis", "①株式会社髙島屋～".encode("cp932"), "①株式会社髙島屋～"), ("sjis", "㈱ⅷ".encode("cp932"), "㈱ⅷ"),
    ("windows-31j", "日本語".encode("cp932") + b"\xfdb\xa0c", "日本語�b�c"),
    ("euc-jp", "日本語".encode("euc_jp") + b"\xad\xa1\xad\xea", "日本語①㈱"),
    ("x-euc-jp", b"\x8e\xb1\xa4\xa2", "ｱあ"), ("iso-2022-jp", "日本".encode("iso2022_jp"), "日本"),
    ("iso-2022-jp", b"\x1b$B-!F|\x1b(B ok", "①日 ok"), ("csiso2022jp", b"\x1b(I1\x1b(Ba", "ｱa"),
    ("euc-kr", "똠방각하 안녕".encode("cp949"), "똠방각하 안녕"), ("ks_c_5601-1987", "똠".encode("cp949"), "똠"),
    ("big5", "佢哋喺香港".encode("big5hkscs"), "佢哋喺香港"), ("big5-hkscs", "香港".encode("big5"), "香港"),
    ("gb2312", "镕基€㐀".encode("gb18030"), "镕基€㐀"), ("gbk", b"\x80 10", "€ 10"),
    ("x-gbk", "中".encode("gbk"), "中"),
    ("utf8", ENGLISH.encode(), ENGLISH), ("unicode-1-1-utf-8", ENGLISH.encode(), ENGLISH),
    ("macintosh", "Ünïcode".encode("mac_roman"), "Ünïcode"), ("ibm866", "привет".encode("cp866"), "привет"),
]


@pytest.mark.parametrize("form", ["{}", '"{}"', "'{}'", " {} ", "{:>9}"])
@pytest.mark.parametrize("label, data, want", LETTERS)
def test_letters(label, data, want, form):
    assert read(data, form.format(label)) == want


@pytest.mark.parametrize("label, codec, text", [
    ("shift_jis", "cp932", "これは日本語の文章です。" * 9), ("euc-jp", "euc_jp", "これは日本語の文章です。" * 9),
    ("gbk", "gbk", "中华人民共和国是一个国家。" * 9), ("big5", "big5", "這是一個中文的網頁。" * 9),
    ("euc-kr", "cp949", "이것은 한국어 문장입니다. " * 9), ("utf-8", "utf-8", "größe und ähnliche Wörter " * 9),
    ("windows-1251", "cp1251", "это русский текст " * 9), ("gb18030", "gb18030", "中华人民共和国㐀 " * 9),
])
def test_a_page_that_is_cut_or_hit_stays_readable(label, codec, text):
    """Cut anywhere, or a byte put in that no encoding of the page knows: all but a few characters at that place."""
    data = text.encode(codec)
    for cut in range(len(data) - 4, len(data)):
        got = read(data[:cut], label)
        assert text.startswith(got.rstrip("�")) and len(got) >= len(text) - 4 and got.count("�") <= 1
    for at in (0, len(text) // 2):
        head, tail = text[:at].encode(codec), text[at:].encode(codec)
        got = read(head + b"\xff" + tail, label)
        want = "я" if label == "windows-1251" else "�"
        assert got == text[:at] + want + text[at:]
    # a lead byte before a tag costs itself, not the tag
    if label not in ("utf-8", "windows-1251"): assert read(data + b"\xb0<p>" + data, label) in (
        text + "�<p>" + text, text + "ｰ<p>" + text)


@pytest.mark.parametrize("charset, meta, codec", [
    ("", "shift_jis", "cp932"), ("", "EUC-JP", "euc_jp"), ("x-klingon", "gb2312", "gbk"), ("utf-7", "big5", "big5"),
    ("", "utf-16", "utf-8"), ("utf-16", "", "utf-8"), ("", "", "utf-8-sig"), ("gbk", "", "utf-16"),
    ("gbk", "big5", "utf-8-sig"), ("", 'x" /><!-- <meta charset=big5> --><meta charset="gbk', "gbk"),
    ("utf-16le", "", "utf-16-le"), ("utf-16", "", "utf-16-le"), ("utf-16be", "", "utf-16-be"),
])
def test_who_is_believed(charset, meta, codec):
    """A mark before the server, the server before the page, and UTF-16 only where it is."""
    html = f'<html><head><meta charset="{meta}"></head><body><p>中文</p></body></html>'
    assert "中文" in decode_html(html.encode(codec), faithful=False, charset=charset)


RUSSIAN = "привет, это русский текст " * 3
CYRILLIC, KOI = RUSSIAN.encode("cp1251"), RUSSIAN.encode("koi8_r")


@pytest.mark.parametrize("head", [
    "<meta name=description content='text/html; charset=koi8-r'><meta charset=windows-1251>",
    '<meta name="description" content="how to set charset=koi8-r"><meta charset=windows-1251>',
    "<meta property=og:x content='charset=koi8-r'><meta charset=windows-1251>",
    "<meta data-charset=koi8-r charset=windows-1251>", "<meta accept-charset=koi8-r><meta charset=windows-1251>",
    "<meta charset-x=koi8-r><meta charset=windows-1251>", "<meta x='charset=koi8-r' charset=windows-1251>",
    "<meta name=x content='a>b' charset=windows-1251>", "<meta charset=windows-1251 charset=koi8-r>",
    "<form accept-charset=koi8-r><meta charset=windows-1251>",
    "<a title='<meta charset=koi8-r>'><meta charset=windows-1251>",
    "<metadata charset=koi8-r><meta charset=windows-1251>", "<!-- <meta charset=koi8-r> --><meta charset=windows-1251>",
    "<!--><meta charset=windows-1251>", "<!-- -- ><meta charset=koi8-r>--><meta charset=windows-1251>",
    "<!x <meta charset=koi8-r ><meta charset=windows-1251>",
    "</p title='<meta charset=koi8-r>'><meta charset=windows-1251>",
    "<? <meta charset=koi8-r ?><meta charset=windows-1251>", "<meta charset=bogus><meta charset=windows-1251>",
    "<meta content='text/html; charset=koi8-r' charset=windows-1251>", "<meta charset=''><meta charset=windows-1251>",
    "<meta http-equiv=refresh content='charset=koi8-r'><meta charset=windows-1251>",
    "<META HTTP-EQUIV=Content-Type CONTENT='text/html;charset = \"windows-1251\"'>", "<meta/charset=windows-1251/>",
    "<meta content='charset; charset=windows-1251; x' http-equiv=content-type>", "<meta\ncharset\n=\nwindows-1251>",
    "<meta http-equiv='content-type' content=text/html;charset=windows-1251>", "<meta charset='windows-1251' />",
    "<?xml version='1.0' encoding='koi8-r'?><meta charset=windows-1251>", "<meta <meta charset=windows-1251>",
    "<?xml version='1.0' encoding=\"windows-1251\"?>", "\n<?xml version='1.0' encoding='windows-1251' ?><html>",
])
def test_a_page_declares_as_the_standard_says(head):
    data = head.encode()
    assert decode_html(data + CYRILLIC, faithful=False) == head + RUSSIAN
    assert decode_html(data.replace(b"koi8-r", b"other").replace(b"windows-1251", b"koi8-r") + KOI, faithful=False)[
        -len(RUSSIAN):] == RUSSIAN


@pytest.mark.parametrize("label, codec", [("x-user-defined", "cp1252"), ("utf-16", "utf-8"), ("utf-16be", "utf-8")])
def test_names_that_mean_another_encoding(label, codec):
    for head in (f"<meta charset={label}>", f"<?xml version='1.0' encoding='{label}'?>",
                 f"<meta http-equiv=content-type content='text/html; charset={label}'>"):
        assert decode_html(head.encode() + ENGLISH.encode(codec), faithful=False) == head + ENGLISH


@pytest.mark.parametrize("label, lead, letter", [
    ("gbk", b"\xd6", "中"), ("gb18030", b"\xd6", "中"), ("big5", b"\xa4", "中"), ("shift_jis", b"\x93", "中"),
    ("euc-kr", b"\xb0", "한"), ("euc-jp", b"\xc6", "中"),
])
def test_a_byte_of_ones_behind_a_lead_byte_costs_one_character(label, lead, letter):
    some = letter.encode(label) * 5
    assert read(some + lead + b"\xff" + some, label) == 5 * letter + "�" + 5 * letter
    assert read(some + lead + b"\xffa" + some, label) == 5 * letter + "�a" + 5 * letter


@pytest.mark.parametrize("piece", [
    b"<meta ", b"<!-- ", b"<a b='", b'<meta charset="', b"<meta charset= ", b"<meta x>", b"<!>", b"charset", b"/ ",
    b"<meta http-equiv=content-type content='charset charset ",
])
def test_a_long_head_costs_little(piece):
    began = time.process_time()
    decode_html(piece * (2**20 // len(piece)) + b"charset=", faithful=False, charset="none")
    assert time.process_time() - began < 1


def test_a_charset_that_is_plainly_wrong_is_not_believed():
    german = "Grüße aus Köln: schöne Wörter, größere Straßen und viele Bäume säumen den Weg über die Brücke. "
    assert german in read(german.encode("cp1252"), "utf-8")
    russian = "Это обычный русский текст, в котором довольно много слов, чтобы его узнать. " * 3
    assert russian in read(russian.encode("cp1251"), "utf-8")
    # but one bad byte in many letters is only that
    assert read(russian.encode() + b"\xff", "utf-8") == russian + "�"


def test_noise_is_read_in_linear_time():
    noise, start = random.Random(0).randbytes(1 << 18), time.process_time()
    for label in ("", "gbk", "shift_jis", "euc-jp", "iso-2022-jp", "big5", "euc-kr", "windows-1255", "utf-8"):
        read(noise, label).encode()
    assert time.process_time() - start < 8
