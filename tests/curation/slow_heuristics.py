"""The 23 steps written once more, slowly and as plainly as the rules read: what the fast ones are compared with.

Nothing here is shared with the library except the list of top-level domains. uniseg and str methods do the cutting.
"""
import re
import string
from collections import Counter
from urllib.parse import urlparse

from dclm_nb.curation.url import top_level_domains

NAMES = "|".join(map(re.escape, sorted(top_level_domains(), key=len, reverse=True)))
TLD_AT_START = re.compile(f"(?:{NAMES})", re.IGNORECASE)
URL = re.compile(
    rf"\s{{0,10}}(?:https?://|ftp://)?[a-zA-Z0-9_@:%.+~#=-]{{1,256}}\.(?:{NAMES})\b[a-zA-Z0-9_()@:%+.~#?&/=-]*"
)
IP = re.compile(r"\s{0,10}\b(?:https?://|ftp://)?(?:[0-2]?[0-9]{1,2}\.){3}[0-2]?[0-9]{1,2}[a-zA-Z0-9_()@:%+.~#?&/=-]*")


def host(url): return re.sub("www", "", urlparse(url).netloc.lower())


def banned(url, words, kind):
    """Distinct hits of the list `kind`: left to right, at each place the longest entry that fits."""
    url, hits, place = url.lower(), set(), 0
    if kind == "strict": url = "".join(c for c in url if c not in "-.")
    in_word = lambda k: 0 <= k < len(url) and (url[k].isalnum() or url[k] == "_")
    while place < len(url):
        for word in sorted({word.lower() for word in words}, key=len, reverse=True):
            end = place + len(word)
            if url[place:end] == word and (
                kind == "strict" or in_word(place - 1) != in_word(place) and in_word(end - 1) != in_word(end)
            ):
                break
        else: word, end = None, place + 1
        hits, place = hits | {word} - {None}, end
    return hits


def is_classified(text): return any(c not in string.punctuation and c != " " for c in text)


def uniseg_words(text):
    from uniseg.wordbreak import words
    return [word for word in words(text) if word[0].isalnum()]


def ft_word_count(text):
    return sum(piece[0].isalnum() for piece in re.split("[ \t\n\v\f\r\0]", text) if piece)


def lines(text): return [line.strip() for line in text.split("\n") if line.strip()]


def remove_urls(text):
    return URL.sub("", text) if TLD_AT_START.match(text) else text


def remove_ip_addresses(text): return IP.sub("", text)


def segments_share(parts, characters):
    counts = Counter(parts)
    repeated = [part for part in parts if counts[part] > 1]
    return (sum(map(len, repeated)), sum(map(len, parts))) if characters else (len(repeated), len(parts))


def ngram_share(words, n):
    ngrams = [tuple(words[k:k + n]) for k in range(len(words) - n + 1)]
    counts = Counter(ngrams)
    if n <= 4:
        most = max(counts.values())
        return max(len("".join(ngram)) for ngram in ngrams if counts[ngram] == most) * most, len("".join(words))
    inside = {k + offset for k, ngram in enumerate(ngrams) if counts[ngram] > 1 for offset in range(n)}
    return sum(len(words[k]) for k in inside), len("".join(words))


def repetition(text):
    """(key, part, whole) or (key, reason, passes) of all thirteen tests."""
    words, results = uniseg_words(text), []
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    for key, parts, characters in (
        ("16a", lines(text), False),
        ("16b", paragraphs, False),
        ("16c", lines(text), True),
        ("16d", paragraphs, True),
    ):
        if len(parts) < 2: results.append((key, ["no segment", "one segment"][len(parts)], len(parts) == 1))
        else: results.append((key, *segments_share(parts, characters)))
    for key, n in zip(("16e", "16f", "16g", "16h", "16i", "16j", "16k", "16l", "16m"), range(2, 11)):
        if len(words) < n:
            results.append((key, f"fewer than {n} words", text != ""))
        elif len({tuple(words[k : k + n]) for k in range(len(words) - n + 1)}) == len(words) - n + 1:
            results.append((key, "nothing repeats", True))
        else: results.append((key, *ngram_share(words, n)))
    return results


LIMITS = dict(zip(("16a", "16b", "16c", "16d", "16e", "16f", "16g", "16h", "16i", "16j", "16k", "16l", "16m"),
                  (0.30, 0.30, 0.20, 0.20, 0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10)))


def first_repetition(text):
    for key, part, whole in repetition(text):
        if isinstance(part, str):
            if not whole: return key, None
        elif part / whole > LIMITS[key]: return key, part / whole
    return None


def ratio(part, whole): return part / whole if whole else None


def drop_rules(text):
    """Steps 9 to 15 alone: number -> (keep, statistic)."""
    words, rows = text.split(), lines(text)
    count = ft_word_count(text)
    length = ratio(sum(len(word) for word in words), len(words))
    symbols = ratio(text.count("#") + text.count("...") + text.count(". . .") + text.count("\u2026"), len(words))
    bullets = sum(row[0] in "●•*-" for row in rows)
    trailing = sum(row.endswith("...") or row.endswith(". . .") or row.endswith("\u2026") for row in rows)
    without = ratio(sum(all(not character.isalpha() for character in word) for word in words), len(words))
    stops = sum(word.lower() in ("the", "be", "to", "of", "and", "that", "have", "with") for word in words)
    return {
        9: (50 <= count <= 100000, count),
        10: (length is not None and 3 <= length <= 10, length),
        11: (symbols is not None and symbols <= 0.1, symbols),
        12: (bullets <= 0.9 * len(rows), ratio(bullets, len(rows))),
        13: (trailing <= 0.3 * len(rows), ratio(trailing, len(rows))),
        14: (without is not None and without <= 0.2, without),
        15: (stops >= 2, stops),
    }


def upper_case(line): return line and sum(c.isupper() for c in line) / len(line) > 0.5
def numeric(line): return line and sum(c.isdigit() for c in line) / len(line) > 0.999999


def counter(line):
    return re.search(
        r"^\W*\d(\d|,|\.)*(k|m|b)?\s+(likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers)\W*$",
        line.lower(),
    )


def phrase(text, pattern):
    kept = []
    for line in text.split("\n"):
        new = re.sub(pattern, "", line, flags=re.IGNORECASE) if len(line.split()) <= 10 else line
        if line and not new.strip(): continue
        kept.append(new)
    return "\n".join(kept).strip()


def modify(number, text):
    """Text after one of the steps 6, 7, 18 to 22."""
    if number == 6: return remove_ip_addresses(remove_urls(text))
    if number == 7: return re.sub("\n\n\n+", "\n\n", text)
    if number == 21: return "\n".join(line for line in text.split("\n") if line == "" or len(line.split()) >= 2)
    if number == 22:
        for pattern in (r"\s?items in cart", r"\s?read more...$", r"^sign-in\s?"): text = phrase(text, pattern)
        return text
    unwanted = {18: upper_case, 19: numeric, 20: counter}[number]
    return "\n".join(line for line in text.split("\n") if not unwanted(line)).strip()


def pipeline(text):
    """(number of the step that drops the page or None, last text); without URL and language, steps 1 to 5 and 8."""
    for number in (6, 7, *range(9, 24)):
        if number == 17: before = ft_word_count(text)
        elif number == 16:
            if first_repetition(text): return 16, text
        elif number == 23:
            if before == 0 or (before - ft_word_count(text)) / before > 0.05: return 23, text
        elif number < 9 or number > 17:
            new = modify(number, text)
            if new == "" and number != 7: return number, text
            text = new
        elif not drop_rules(text)[number][0]: return number, text
    return None, text
