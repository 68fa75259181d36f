"""A finished curation whose files were damaged since is made again from the stage that left them, to the same bytes."""
import shutil

import numpy as np
import pytest
from damages import DAMAGES, harm
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.core.paths import data_dir
from dclm_nb.curation import url
from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
from dclm_nb.curation.pipeline import CurationConfig, curate
from dclm_nb.curation.quality import ClassifierConfig
from dclm_nb.curation.tokens import token_damage, tokenise, train_tokenizer

SMALL = ClassifierConfig(dim=8, bucket=50_000)
CONFIG = CurationConfig(training=SMALL, keep_fraction=0.25, vocab_size=512, seq_len=64)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return build_crawl(tmp_path_factory.mktemp("pipeline") / "crawl", CrawlSize(0.03, 15, 2, 10, 1))


@pytest.fixture(scope="module")
def report(crawl, tmp_path_factory):
    return curate(crawl.warcs, tmp_path_factory.mktemp("curated"), CONFIG, workers=1)


def content(folder):
    files = (p for p in sorted(folder.rglob("[!.]*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files
            if not {"logs", "heartbeat"} & set(p.relative_to(folder).parts)}


# the last stage first: what comes after it need not be made again
FILES = ["tokens/shard_00000.bin", "tokens/tokenizer.json", "kept/00000.jsonl.gz", "scores/00000.npy"]


@pytest.mark.parametrize("case", [
    ("tokens/manifest.json", "foreign"), ("tokens/shard_00000.bin", "one bit"), ("tokens", "deleted"),
    ("scores/00000.npy", "one bit"), ("bpe512-*.json", "one bit"), ("bpe512-*.json", "deleted"),
    *nightly(*((FILES[0], how) for how in ("cut", "zeros", "empty"))),
    *nightly(*((file, how) for file, how in zip(FILES[1:], ("cut", "deleted", "foreign")))),
    *nightly(*((file, "zeros") for file in ("pool/00000.jsonl.gz", "classifier.json", "filtered/00000.jsonl.gz"))),
])
def test_a_damaged_stage_is_made_again(crawl, report, tmp_path, capsys, case):
    file, how = case
    copy = shutil.copytree(report.folder, tmp_path / report.key)
    if (copy / file).is_dir(): shutil.rmtree(copy / file)
    else: harm(next(copy.glob(file)), how)
    again = curate(crawl.warcs, tmp_path, CONFIG, workers=1)
    assert again.data == report.data and content(copy) == content(report.folder)
    assert "it is made again" in capsys.readouterr().err


def test_a_classifier_is_made_again(crawl, report, tmp_path, capsys):
    copy = shutil.copytree(report.folder, tmp_path / report.key)
    harm(copy / report.data["classifier"]["model"], "one bit")
    assert curate(crawl.warcs, tmp_path, CONFIG, workers=1).data == report.data
    assert "has other content than when it was made (stage classifier)" in capsys.readouterr().err
    assert content(copy) == content(report.folder)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    texts = [f"{word} and {word} again, {i} times" for i in range(60) for word in ("cat", "dog", "bird")]
    tokenise(texts, train_tokenizer(texts, folder, 300), folder / "tokens", seq_len=16, contexts_per_shard=40)
    return folder / "tokens"


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["manifest.json", "tokenizer.json", "shard_00000.bin", "shard_00001.bin"])
def test_a_folder_of_tokens_knows_its_files(tokens, tmp_path, file, how):
    assert token_damage(tokens) == ""
    copy = shutil.copytree(tokens, tmp_path / "tokens")
    harm(copy / file, how)
    assert file in token_damage(copy) and "\n" not in token_damage(copy)


@pytest.mark.parametrize("how", DAMAGES)
def test_the_table_of_banned_domains_is_made_again(tmp_path, monkeypatch, how):
    names = [f"site-{i}.example" for i in range(2_000)]
    table = url.DomainTable.of(name.encode() for name in names)
    monkeypatch.setattr(url, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(url, "_hashed_domains", lambda: table.hashes.astype("<u8").tobytes())
    fresh = url.datatrove_domains.__wrapped__                       # without the memory of this process
    found = lambda: sum(map(fresh().__contains__, names))
    assert found() == 2_000
    harm(next(tmp_path.glob("*.u64")), how)
    assert found() == 2_000
    path = next(tmp_path.glob("*.u64"))
    sum_beside(path).unlink()                                       # of an earlier version, and perhaps damaged
    path.write_bytes(np.zeros(2_000, "<u8").tobytes())
    assert found() == 2_000


def test_the_data_folder_holds_the_table_with_its_sum():
    assert len(url.datatrove_domains()) > 4_000_000
    path, = data_dir().glob("datatrove-*-domains.u64")
    assert sum_beside(path).is_file()


def test_a_configuration_is_its_own_folder(crawl, report):
    from dclm_nb.curation.pipeline import run_key
    from dataclasses import replace
    others = [replace(CONFIG, **{name: value}) for name, value in dict(
        faithful=False, extraction="trafilatura", lists="original", min_ngram_size=5, max_ngram_size=20,
        dedup_threshold=0.7, false_positive_rate=0.1, dedup_shards=2, decontaminate=("evaluation",), until="pool",
        classifier="none", training=ClassifierConfig(dim=9), keep_fraction=0.5, tokenizer="gpt-neox-20b",
        vocab_size=600, seq_len=65, seed=1, name="laptop",
    ).items()]
    assert len(others) == len(vars(CONFIG))                         # a new setting is in the table, or this fails
    keys = {run_key(one, [str(w) for w in crawl.warcs]) for one in (CONFIG, *others)}
    assert len(keys) == 1 + len(others) and report.key in keys
    with pytest.raises(UserError): run_key(replace(CONFIG, tokenizer="no such file"), [str(crawl.warcs[0])])
