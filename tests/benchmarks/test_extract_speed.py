"""Table 16's speeds on the real pages at hand, and what our guards cost on top of resiliparse."""
import importlib.metadata
import statistics
import time
from pathlib import Path

import pytest
from resiliparse.extract.html2text import extract_plain_text

from dclm_nb.curation import extract
from dclm_nb.curation.extract import METHODS, extract_text, extract_texts


@pytest.fixture(scope="module")
def pages() -> list[bytes]:
    """Real HTML pages inside installed packages: documentation of uniseg, and whatever else has a page of 3 kB to 1
    MB."""
    found = [
        path
        for name in ("uniseg", "tensorboard", "notebook", "lxml", "nltk")
        for path in files_of(name)
        if path.suffix == ".html"
    ]
    pages = [data for path in found if 3_000 < len(data := path.locate().read_bytes()) < 1_000_000]
    if len(pages) < 10: pytest.skip("no real pages in the installed packages (pip install -e .[dev])")
    return pages


def files_of(name):
    try: return importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError: return []


def seconds() -> float:
    "Seconds of a processor that this process and the one next door have taken."
    child = extract._airlock().child
    next_door = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0]) / 1e9 if child else 0.0
    return time.process_time() + next_door


def timed(call, pages):
    start = seconds()
    for _ in call(pages): pass
    return seconds() - start


def plain(pages): return [extract_plain_text(page.decode(), main_content=True) for page in pages]


def bounded(pages): return list(extract_texts((page, "") for page in pages))


@pytest.mark.benchmark_run
def test_bounds_cost_little(pages):
    assert bounded(pages) == plain(pages)
    times = [(timed(bounded, pages * 40), timed(plain, pages * 40)) for _ in range(9)]
    ratio = statistics.median(peer / own for own, peer in times)
    print(f"\nextract: bounded / plain resiliparse {ratio:.3f} on {len(pages)} pages")
    assert ratio > 0.85


@pytest.mark.benchmark_run
def test_profile_of_table_16(pages):
    """Claim 4: resiliparse is about eight times as fast as trafilatura (4.55 and 0.56 MB/s a core in the paper)."""
    megabytes, speed, length = sum(map(len, pages)) / 1e6, {}, {}
    for method in METHODS:
        extract_text(pages[0], method)
        speed[method] = megabytes / statistics.median(
            timed(lambda pages: map(METHODS[method], pages), [page.decode() for page in pages]) for _ in range(3)
        )
        length[method] = statistics.mean(len(extract_text(page, method)) for page in pages)
        print(f"\n{method:12s} {speed[method]:7.2f} MB/s a core, {length[method]:8,.0f} characters a page", end="")
    print(f"\nresiliparse / trafilatura {speed['resiliparse'] / speed['trafilatura']:.1f} (paper {4.55 / 0.56:.1f})")
    assert speed["resiliparse"] > 3 * speed["trafilatura"]
