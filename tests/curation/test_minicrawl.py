"""The mini crawl: the same bytes at every build, and documents that are used for one thing only."""
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation.crawl_pages import RULE_BREAKERS, near_duplicate, phrase_salad, product_blurbs, word_salad
from dclm_nb.curation.crawl_texts import (
    SOURCES, SPLITS, all_texts, evaluation_articles, positive_texts, reference_texts, split_of,
)
from dclm_nb.curation.decontamination import NgramIndex, decontaminate
from dclm_nb.curation.minicrawl import DAMAGES, CrawlSize, build_crawl, junk_material
from dclm_nb.curation.url import datatrove_domains, listed_host
from dclm_nb.curation.warc import ReadReport, read_warc

SIZE = CrawlSize(share=0.03, worthless=15, planted=2, foreign=10, shards=2)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return build_crawl(tmp_path_factory.mktemp("minicrawl") / "crawl", SIZE)


def test_no_page_is_lost_to_the_lists_of_domains(crawl):
    "Planted pages keep their known answers, whatever the wheel of datatrove bans."
    banned = datatrove_domains()
    assert not [
        url for url in crawl.labels() if listed_host(url) in banned or listed_host(url, faithful=False) in banned
    ]


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_the_same_bytes_in_another_process_with_another_hash_seed(crawl, tmp_path):
    code = f"import sys; from dclm_nb.curation.minicrawl import *; build_crawl(sys.argv[1], {SIZE!r})"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "crawl")], check=True, env={**os.environ, "PYTHONHASHSEED": "77"}
    )
    assert digest(tmp_path / "crawl") == digest(crawl.folder)


def test_another_seed_is_another_crawl_and_the_old_one_is_replaced(crawl, tmp_path):
    other = build_crawl(tmp_path / "crawl", SIZE, seed=1)
    assert digest(other.folder)["labels.jsonl"] != digest(crawl.folder)["labels.jsonl"]
    assert digest(build_crawl(tmp_path / "crawl", SIZE).folder) == digest(crawl.folder)


def test_every_record_has_a_label_and_damage_costs_only_the_damaged(crawl):
    labels, report = crawl.labels(), ReadReport()
    pages = [page.url for warc in crawl.warcs for page in read_warc(warc, report)]
    assert report.balanced and len(pages) == len(set(pages))
    assert set(pages) == {url for url, label in labels.items() if label.expected != "read"}
    assert {label.kind for label in labels.values() if label.expected == "read"} == set(DAMAGES)
    assert sum(crawl.counts.values()) == len(labels)


def test_labels_are_not_in_the_pages(crawl):
    for warc in crawl.warcs:
        for page in read_warc(warc):
            assert not any(
                "planted" in name.lower() or "label" in name.lower() for name in {**page.headers, **page.warc_headers}
            )


def test_one_document_one_use():
    for texts in all_texts().values():
        for text in texts: assert text.split in SPLITS
    editions = Counter()
    for text in all_texts()["plays"]: editions[text.name.split(",")[0], text.split] += 1
    plays = Counter(play for play, _ in editions)
    assert max(plays.values()) == 1, "a play and its folio edition must share a split"
    assert split_of("mail", "a thread") == split_of("mail", "a thread")


def test_shares_are_what_was_asked_for():
    for name, source in SOURCES.items():
        drawn = Counter(split_of(name, f"group {i}") for i in range(4000))
        for split, share in source.shares.items(): assert abs(drawn[split] / 4000 - share) < 0.03


def test_positives_reference_and_material_are_apart_from_evaluation():
    evaluation = [text for texts in evaluation_articles().values() for text in texts]
    assert decontaminate(positive_texts(), evaluation).removed == 0
    assert decontaminate(reference_texts(), evaluation).removed == 0
    assert len(evaluation_articles()) >= 5 and all(len(t.split()) >= 60 for t in evaluation)
    assert min(len(texts) for texts in evaluation_articles(40).values()) >= 10
    index, material = NgramIndex(evaluation), junk_material()
    shared = sum(index.hits(s).any() for s in material) / len(material)
    assert shared < 0.01            # what is left of it is found and removed by the pipeline's decontamination


def test_worthless_text_repeats_no_13_words():
    import random
    material = junk_material()
    seen: set[str] = set()
    for make in (
        lambda r: word_salad(material, 400, r),
        lambda r: phrase_salad(material, 400, r),
        lambda r: product_blurbs(400, r),
    ):
        for i in range(8):
            words = make(random.Random(i)).split()
            grams = {" ".join(words[j:j + 13]) for j in range(len(words) - 12)}
            assert len(grams & seen) < 0.01 * len(grams)
            seen |= grams


def test_rule_breakers_are_deterministic():
    import random
    material = junk_material()
    for kind, (_, make) in RULE_BREAKERS.items():
        assert make(material, random.Random(3)) == make(material, random.Random(3)), kind
    assert near_duplicate("a b\nc d", random.Random(0), every=10**9) == "a b\nc d"


def test_a_size_that_cannot_be_built_is_refused():
    none = "shards must be at least 1"
    for wrong, words in (({"share": 0}, "share"), ({"share": 1.5}, "share"), ({"shards": 0}, none)):
        with pytest.raises(UserError, match=words): replace(SIZE, **wrong)


def test_a_name_stands_in_the_manifest_for_the_numbers(crawl, tmp_path):
    of = lambda built: json.loads((built.folder / "manifest.json").read_text())["config"]["scale"]
    named = build_crawl(tmp_path / "crawl", replace(SIZE, name="small"))
    assert of(named) == "small" and of(crawl) == asdict(SIZE)
    one, other = digest(named.folder), digest(crawl.folder)
    different = {name for name in one if name[0] != "." and other[name] != one[name]}
    assert different == {"manifest.json"}


def test_carried_extract_is_what_its_readme_says():
    from dclm_nb.core.paths import project_root
    folder = project_root() / "reproduce" / "dclm" / "crawl"
    pages = list(read_warc(folder / "apache-manual.warc.gz"))
    assert (folder / "apache-manual.warc.gz").stat().st_size < 1_400_000
    assert Counter(p.url.split("/")[5] for p in pages)["en"] == 140 and len(pages) == 217
    assert "Apache License 2.0" in (folder / "README.md").read_text()
    assert json.dumps(sorted({p.url.split("/")[5] for p in pages})) == json.dumps([
        "da",
        "de",
        "en",
        "es",
        "fr",
        "ja",
        "ko",
        "pt-br",
        "ru",
        "tr",
        "zh-cn",
    ])
