"""Make apache-manual.warc.gz from an unpacked Debian package `apache2-doc` (see README.md):
python make_apache_manual.py MANUAL_FOLDER"""
import hashlib
import sys
from pathlib import Path

from dclm_nb.curation.warc import Page, write_warc

LANGUAGES = ("da", "de", "es", "fr", "ja", "ko", "pt-br", "ru", "tr", "zh-cn")
ENGLISH_PAGES, OTHER_PAGES, SMALLEST, LARGEST = 140, 10, 6_000, 45_000


def by_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()


def translated(manual: Path, language: str, page: Path) -> bool:
    "Many pages of a language folder are links to the English ones."
    other = manual / language / page
    return other.is_file() and not other.is_symlink() and other.read_bytes() != (manual / "en" / page).read_bytes()


def size_of(manual: Path, language: str, page: Path) -> int:
    return (manual / language / page).stat().st_size


def page_of(manual: Path, language: str, page: Path) -> Page:
    address = f"https://httpd.apache.org/docs/2.4/{language}/{page}"
    return Page(address, (manual / language / page).read_bytes(), content_type="text/html")


def main(manual: Path) -> None:
    english = sorted((p.relative_to(manual / "en") for p in (manual / "en").rglob("*.html")), key=by_hash)
    fitting = [p for p in english if SMALLEST <= (manual / "en" / p).stat().st_size <= LARGEST]
    chosen = [("en", p) for p in fitting[:ENGLISH_PAGES]]
    for language in LANGUAGES:
        small = (p for p in english if translated(manual, language, p) and size_of(manual, language, p) <= LARGEST)
        chosen += [(language, p) for p, _ in zip(small, range(OTHER_PAGES))]
    pages = (page_of(manual, language, page) for language, page in sorted(chosen))
    write_warc(Path(__file__).with_name("apache-manual.warc.gz"), pages)
    print(len(chosen), "pages")


main(Path(sys.argv[1]))
