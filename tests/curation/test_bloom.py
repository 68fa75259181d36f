"""The batched deduplicator against the plain rule on strings, the filter against its formulas, and its limits."""
import hashlib
import json
import os
import random
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tiers import fuzz

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.curation import bloom, bloom_filter
from dclm_nb.curation.bloom import BloomDeduplicator, DedupResult, false_removal_bound
from dclm_nb.curation.bloom_filter import BloomFilter, GrowingFilter, number_of_blocks, read_filter, write_filter
from dclm_nb.curation.ngrams import paragraph_ngrams
from dclm_nb.curation.word_boundaries import word_tokens

EXACT = 1e-9    # a false-positive rate at which none is expected in a test


def reference(texts, low, high, threshold):
    """The rule on plain strings and a set, one paragraph after the other."""
    known, results = set(), []
    for text in texts:
        total = hits = removed = 0
        left = []
        for number, paragraph in enumerate(text.split("\n")):
            tokens = word_tokens(paragraph)
            words = [paragraph[a:b] for a, b in zip(tokens.starts, tokens.stops)]
            size = min(len(words), high)
            grams = [tuple(words[i:i + size]) for i in range(len(words) - size + 1)] if size >= low else []
            found = sum(gram in known for gram in grams)
            total, hits = total + len(grams), hits + found
            if grams and found / len(grams) > threshold: removed += 1
            else:
                known.update(grams)
                left.append(("\n" if number else "") + paragraph)
        emptied = bool(total) and hits / total > threshold
        results.append(
            DedupResult("" if emptied else "".join(left), total, hits, text.count("\n") + 1, removed, emptied)
        )
    return results


word = st.sampled_from(["a", "b", "don’t", "1,5", ".", "é", "\u0301", "-"])
paragraph = st.lists(word, max_size=7).map(" ".join)
document = st.lists(paragraph, max_size=5).map("\n".join)


@fuzz(300)
@given(
    st.lists(document, max_size=8),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
    st.sampled_from([1, 30, 10_000]),
)
def test_equals_the_plain_rule(texts, low, extra, threshold, batch):
    """Tiny vocabularies make every kind of collision within a batch; batch sizes from one document to all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bloom, "BATCH_CHARACTERS", batch)
        assert BloomDeduplicator(5000, low, low + extra, threshold, EXACT).deduplicate(texts) == reference(
            texts, low, low + extra, threshold
        )


def test_long_chains_of_decisions_inside_one_batch():
    """Each paragraph overlaps the one before by more than the threshold: every second one stays, each depending on the
    last."""
    words = [f"w{i}" for i in range(400)]
    text = "\n".join(" ".join(words[i:i + 40]) for i in range(0, 300, 2))
    ours = BloomDeduplicator(50_000, 3, 3, 0.8, EXACT).deduplicate([text])
    assert ours == reference([text], 3, 3, 0.8) and 0 < ours[0].removed_paragraphs < 149


def test_documents_of_every_shape():
    texts = [
        "",
        "\n",
        "\n\n\n",
        " ",
        "x",
        "x\n",
        "\nx",
        "a b c\n\n a  b  c \n",
        "a b c\r\na b c\r\n",
        "\0",
        "\ud800 a b",
        "a b c",
    ]
    assert BloomDeduplicator(1000, 1, 3, 0.5, EXACT).deduplicate(texts) == reference(texts, 1, 3, 0.5)


def test_one_hash_is_in_it_or_not():
    some = BloomFilter(100)
    some.add(np.array([3], np.uint64))
    assert 3 in some and np.uint64(3) in some and 4 not in some
    for attempt in (lambda: "3" in some, lambda: -1 in some, lambda: some.add([1.5]), lambda: some.contains(3)):
        with pytest.raises(UserError, match="must be"): attempt()


def test_a_list_of_other_things_is_one_line():
    for texts in ("abc", [3], iter([None]), {"a": "b"}, 3):
        with pytest.raises(UserError, match="not one string|must be a"): BloomDeduplicator(100).deduplicate(texts)
    assert len(BloomDeduplicator(100).deduplicate(iter(["a", "b"]))) == 2


def test_nothing_in_nothing_out():
    dedup = BloomDeduplicator(10)
    assert dedup.deduplicate([]) == [] and dedup.inserted == 0


def test_paragraphs_of_a_removed_document_were_added():
    shared = " ".join(f"s{i}" for i in range(40))
    fresh = " ".join(f"f{i}" for i in range(14))
    dedup = BloomDeduplicator(10_000, false_positive_rate=EXACT)
    _, emptied, late = dedup.deduplicate([shared, f"{shared}\n{fresh}", fresh])
    assert emptied.emptied and emptied.removed_paragraphs == 1 and not late.kept


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_false_positive_rate_is_kept(rate):
    rng = np.random.default_rng(3)
    full = BloomFilter(300_000, rate)
    full.add(rng.integers(0, 2**64, 300_000, dtype=np.uint64))
    trials = 3_000_000
    wrong = full.contains(rng.integers(0, 2**64, trials, dtype=np.uint64)).mean()
    assert wrong <= rate * 1.04 + 3 * (rate / trials) ** 0.5
    assert wrong >= rate * 0.8      # no bits are wasted either
    assert full.nbytes == number_of_blocks(300_000, rate) * 64


@pytest.mark.parametrize(
    "rate, digest",
    [
        (0.6, "1f002435eadbe7a9"),
        (0.1, "63b7319e895622fb"),
        (0.01, "819a8fc4922c77e5"),
        (0.001, "06a87eefbb558b1c"),
        (1e-12, "40cd4f3c88c9a42e"),
    ],
)
def test_layout_of_the_bits_is_that_of_saved_filters(rate, digest):
    """From 1 to 40 functions. Whoever must change a digest here must change the name of the saved format, too."""
    full = BloomFilter(30_000, rate)
    full.add(np.arange(20_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    assert hashlib.sha256(full.words.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("expected", [1, 10, 100, 2000])
def test_bits_are_those_of_adding_one_by_one(expected):
    """Filters so overfull that most writes of a run meet another in the same word."""
    hashes = np.random.default_rng(1).integers(0, 2**64, 3000, dtype=np.uint64)
    at_once, one_by_one = BloomFilter(expected), BloomFilter(expected)
    at_once.add(hashes)
    for at in range(len(hashes)): one_by_one.add(hashes[at:at + 1])
    assert (at_once.words == one_by_one.words).all() and at_once.contains(hashes).all()


@given(st.lists(st.integers(0, 40) | st.integers(0, 40).map(lambda n: n << 40), max_size=60))
def test_one_of_equals_stands_for_all_of_them(values):
    """The second kind of value shares its low bits with every other, so all choose one slot."""
    hashes = np.array(values, np.uint64)
    found = bloom.one_of_equals(hashes)
    assert (hashes[found] == hashes).all() and len(set(found.tolist())) == len(set(values))


def test_adding_many_equal_words_loses_no_bit():
    """All hashes in a handful of blocks: the vectorised write must not lose any to its neighbours."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 50_000, dtype=np.uint64) >> np.uint64(34)
    small = BloomFilter(2000)
    small.add(hashes)
    assert small.contains(hashes).all()


def test_rate_does_not_change_removal():
    """Claim 17 of the specification: rates from 0.1 to 0.001 remove the same share, to a quarter of a point."""
    rng, pool, texts = random.Random(5), [], []
    vocabulary = [f"w{i}" for i in range(3000)]
    for _ in range(1200):
        new = " ".join(rng.choices(vocabulary, k=rng.randrange(20, 70)))
        texts.append(new if rng.random() < 0.8 or not pool else rng.choice(pool))
        pool.append(new)
    characters = sum(map(len, texts))
    removed = [
        1
        - sum(len(r.text) for r in BloomDeduplicator(50_000, false_positive_rate=rate).deduplicate(texts)) / characters
        for rate in (0.1, 0.01, 0.001)
    ]
    assert max(removed) - min(removed) < 0.0025 and removed[0] > 0.1


def test_bound_of_the_paper():
    assert false_removal_bound(100, 60) == pytest.approx(4.55e-9, rel=0.001)
    with pytest.raises(UserError): false_removal_bound(100, 90)


def test_any_chopping_of_the_input_gives_the_same():
    rng = random.Random(11)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randrange(1, 30))) for _ in range(200)]
    whole = BloomDeduplicator(5000, 2, 4, 0.6, EXACT).deduplicate(texts)
    pieces, results, at = BloomDeduplicator(5000, 2, 4, 0.6, EXACT), [], 0
    while at < len(texts):
        step = rng.randrange(1, 9)
        results += pieces.deduplicate(texts[at:at + step])
        at += step
    assert results == whole


PROGRAM = """
import hashlib, random
from dclm_nb.curation.bloom import BloomDeduplicator
rng = random.Random(1)
texts = [" ".join(rng.choices(["a", "b", "c", "é", "don’t"], k=rng.randrange(40))) for _ in range(300)]
dedup = BloomDeduplicator(30_000, 3, 5)
print(hashlib.sha256(repr(dedup.deduplicate(texts)).encode() + dedup.filter.layers[0].words.tobytes()).hexdigest())
"""


def test_same_bits_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": "C", "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in [("0", "UTC"), ("77", "Asia/Tokyo")]
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_save_and_load(tmp_path):
    path = tmp_path / "bloom.safetensors"
    dedup = BloomDeduplicator(1000, 2, 3, 0.5, 0.001)
    dedup.deduplicate(["a b c d", "e f g"])
    dedup.save(path)
    loaded = BloomDeduplicator.load(path)
    ours, theirs = (bloom.filter.layers[0].words for bloom in (loaded, dedup))
    assert (ours == theirs).all() and loaded.inserted == dedup.inserted == 3
    assert loaded.deduplicate(["a b c d"])[0].emptied and loaded.threshold == 0.5
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="bytes instead of"): BloomDeduplicator.load(path)
    sum_beside(path).unlink()
    with pytest.raises(UserError, match="no saved Bloom filter"): BloomDeduplicator.load(path)
    with pytest.raises(UserError, match="no saved Bloom filter"): BloomDeduplicator.load(tmp_path / "absent")


def _saved(path):
    dedup = BloomDeduplicator(1000, 2, 3, 0.5, 0.001)
    dedup.deduplicate(["a b c d", "e f g"])
    dedup.save(path)
    sum_beside(path).unlink()
    return path


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_a_saved_filter_holds_its_own_hash(tmp_path, place):
    data = bytearray(_saved(path := tmp_path / "bloom.safetensors").read_bytes())
    assert BloomDeduplicator.load(path).inserted == 3
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int((len(data) - start) * place)] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="other content than was saved"): BloomDeduplicator.load(path)


@pytest.mark.parametrize("old, new", [(b"0.5", b"0.6"), (b": 1000", b": 1001"), (b": 3", b": 2")])
def test_the_settings_of_a_saved_filter_count(tmp_path, old, new):
    data = _saved(path := tmp_path / "bloom.safetensors").read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(UserError, match="no saved Bloom filter"): BloomDeduplicator.load(path)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(expected_ngrams=0),
        dict(expected_ngrams=10**14),
        dict(expected_ngrams=9, threshold=80),
        dict(expected_ngrams=9, false_positive_rate=1),
        dict(expected_ngrams=9, min_ngram_size=0),
        dict(expected_ngrams=9, min_ngram_size=14),
    ],
)
def test_impossible_settings(wrong):
    with pytest.raises(UserError) as caught: BloomDeduplicator(**wrong)
    assert "\n" not in str(caught.value)


def test_one_huge_line_in_bounded_memory():
    """50 MB on one line, once as one token and once as millions: the working arrays are per chunk, not per
    character."""
    program = ("import re; from dclm_nb.curation.bloom import BloomDeduplicator; d = BloomDeduplicator(10_000_000)\n"
               "r = d.deduplicate(['x' * 50_000_000])[0]; assert r.kept and r.ngrams == 0\n"
               "r = d.deduplicate(['spam ' * 2_000_000])[0]; assert r.kept and r.ngrams == 1_999_988, r.ngrams\n"
               # maxrss would begin at the parent's
               "print(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1024)")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 1500


def test_fingerprints_do_not_collide():
    """A million different short tokens and n-grams: no two share a fingerprint."""
    text = "\n".join(f"{i:x} {i * 7919 % 1_000_003:o}" for i in range(1_000_000))
    hashes = paragraph_ngrams(text, 1, 2).hashes
    assert len(np.unique(hashes)) == len(hashes) == 1_000_000
    assert (
        hashlib.sha256(hashes[:3].tobytes()).hexdigest()
        == hashlib.sha256(paragraph_ngrams("\n".join(text.split("\n")[:3]), 1, 2).hashes.tobytes()).hexdigest()
    )


@pytest.mark.parametrize("text", [
    "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(9000)),                     # Chinese, no blanks
    " ".join("abc"[i % 3] + ",.;!?"[i * i % 5] for i in range(6000)),                    # a sign after each letter
    " ".join(f"word{i}" for i in range(3000)), "ไทย" * 2000, "🙂🙃" * 3000, "a\n" * 5000, "-" * 9000,
])
@pytest.mark.parametrize("sizes", [(13, 13), (1, 3), (5, 13)])
def test_the_block_sizes_its_filter_by_what_it_counts(tmp_path, text, sizes):
    from datatrove.data import Document
    from dclm_nb.curation.blocks import BloomDedup
    from dclm_nb.stages.documents import SaveDocuments
    docs = [Document(text=text, id="0", metadata={"shard": 0})]
    list(SaveDocuments(tmp_path / "in", 1).run(iter(docs), 0, 1))
    block = BloomDedup(tmp_path / "removed", tmp_path / "in", 1, *sizes)
    block.prepare(0, 1)
    assert block.bloom.deduplicate([text])[0].ngrams <= block.bloom.filter.expected
    strangers = np.random.default_rng(0).integers(0, 2**63, 50_000).astype(np.uint64)
    assert block.bloom.filter.contains(strangers).mean() < 0.0115


@pytest.mark.parametrize("how", ["at once", "in steps", "after loading"])
def test_a_filter_that_is_too_small_grows(tmp_path, how):
    """15,200 n-grams in a filter for 1,000, one half after the other."""
    texts = [" ".join(f"w{i}x{j}" for j in range(112)) for i in range(152)]
    dedup, whole = BloomDeduplicator(1000), BloomDeduplicator(100_000)
    if how == "at once": results = dedup.deduplicate(texts)
    else: results = dedup.deduplicate(texts[:76])
    if how == "after loading":
        dedup.save(tmp_path / "b.safetensors")
        dedup = BloomDeduplicator.load(tmp_path / "b.safetensors")
    if how != "at once": results += [result for text in texts[76:] for result in dedup.deduplicate([text])]
    expected = whole.deduplicate(texts)
    assert [result.text for result in results] == [result.text for result in expected] == texts
    assert dedup.filter.added <= dedup.inserted == 15_200 <= dedup.filter.expected
    strangers = np.random.default_rng(0).integers(0, 2**63, 200_000).astype(np.uint64)
    assert 0.008 < dedup.filter.contains(strangers).mean() < 0.0115
    assert all(result.emptied for result in dedup.deduplicate(texts))


def test_a_layer_begins_where_one_is_full():
    hashes = np.arange(1, 1001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    filter = GrowingFilter(100, 0.01)
    for size in (99, 1, 1, 299, 600): filter.add(hashes[filter.added:filter.added + size])
    assert [layer.expected for layer in filter.layers] == [100, 200, 400, 800] and filter.added == 1000
    assert np.allclose([layer.false_positive_rate for layer in filter.layers], [1e-2, 5e-4, 2.5e-4, 1.25e-4])
    assert filter.contains(hashes).all() and filter.nbytes == sum(layer.nbytes for layer in filter.layers)


def test_a_layer_that_memory_cannot_hold_is_refused(monkeypatch):
    """And nothing of what was to be added is inside."""
    filter, hashes = GrowingFilter(100), np.arange(101, dtype=np.uint64)
    monkeypatch.setattr(bloom_filter.psutil, "virtual_memory", lambda: SimpleNamespace(available=200))
    with pytest.raises(UserError, match="a Bloom filter for 200 n-grams"): filter.add(hashes)
    assert filter.added == 0 and not filter.contains(hashes).any()


def test_after_an_error_nothing_is_taken_for_a_copy_of_itself(monkeypatch):
    texts = [" ".join(f"w{i}x{j}" for j in range(2000)) for i in range(100)]      # several batches
    dedup, free = BloomDeduplicator(50_000), bloom_filter.psutil.virtual_memory
    monkeypatch.setattr(bloom_filter.psutil, "virtual_memory", lambda: SimpleNamespace(available=2000))
    with pytest.raises(UserError, match="a Bloom filter for 100,000 n-grams"): dedup.deduplicate(texts)
    monkeypatch.setattr(bloom_filter.psutil, "virtual_memory", free)
    with pytest.raises(UserError, match="begin again, or load"): dedup.deduplicate(texts)


def test_an_error_before_anything_was_added_costs_nothing(monkeypatch):
    dedup, text = BloomDeduplicator(1000), " ".join(f"w{j}" for j in range(3000))
    with monkeypatch.context() as patch:
        patch.setattr(bloom_filter.psutil, "virtual_memory", lambda: SimpleNamespace(available=200))
        with pytest.raises(UserError, match="a Bloom filter for 2,000 n-grams"): dedup.deduplicate([text])
    assert dedup.deduplicate([text])[0].text == text


def test_a_broken_deduplicator_is_not_saved(tmp_path, monkeypatch):
    """Loaded again it would take the texts of the call that ended for copies of themselves."""
    dedup, texts = BloomDeduplicator(1000), [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(5)]
    with monkeypatch.context() as patch:
        patch.setattr(BloomDeduplicator, "_results", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError): dedup.deduplicate(texts)
    with pytest.raises(UserError, match="begin again, or load"): dedup.save(tmp_path / "broken.bloom")
    assert not list(tmp_path.iterdir())


def test_layers_come_all_or_not_at_all(tmp_path, monkeypatch):
    """Memory for one of two further layers: nothing has changed, and what is saved can be loaded."""
    filter, sizes = GrowingFilter(100), iter([10**9, 0])
    with monkeypatch.context() as patch:
        patch.setattr(bloom_filter.psutil, "virtual_memory", lambda: SimpleNamespace(available=next(sizes)))
        with pytest.raises(UserError, match="a Bloom filter for 400 n-grams"):
            filter.add(np.arange(500, dtype=np.uint64))
    assert len(filter.layers) == 1 and filter.added == 0
    write_filter(path := tmp_path / "set.bloom", filter, {})
    assert read_filter(path)[0].nbytes == filter.nbytes


def test_threads_may_share_a_growing_filter(tmp_path):
    filter, hashes = GrowingFilter(100), np.random.default_rng(0).integers(0, 2**64, (16, 800), dtype=np.uint64)
    with ThreadPoolExecutor(4) as pool: list(pool.map(filter.add, hashes))
    assert filter.added == hashes.size and filter.contains(hashes.ravel()).all() and len(filter.layers) == 8
    write_filter(path := tmp_path / "set.bloom", filter, {})
    assert read_filter(path)[0].contains(hashes.ravel()).all()


def test_a_saved_filter_is_not_held_twice_while_it_is_loaded(tmp_path):
    dedup = BloomDeduplicator(5_000_000)
    dedup.save(path := tmp_path / "large.bloom")
    tracemalloc.start()
    loaded = BloomDeduplicator.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded.filter.nbytes == dedup.filter.nbytes > 5e6 and peak < 1.3 * dedup.filter.nbytes


def test_a_filter_without_a_deduplicators_settings_is_refused(tmp_path):
    write_filter(path := tmp_path / "set.bloom", GrowingFilter(100), {"of": "names"})
    with pytest.raises(UserError, match="holds a filter, but no deduplicator's settings"): BloomDeduplicator.load(path)
    assert read_filter(path)[1] == {"of": "names"}


@pytest.mark.parametrize("rate", [0.1, 0.01, 1e-3])
def test_a_full_filter_errs_as_often_as_it_was_asked_to(rate):
    """Measured on a million strangers: the mean over ten filters, each full, lies at the rate or hardly below it."""
    found = []
    for seed in range(10):
        hashes = np.random.default_rng(seed).integers(0, 2**64, 1_020_000, dtype=np.uint64)
        (filter := BloomFilter(20_000, rate)).add(hashes[:20_000])
        found.append(filter.contains(hashes[20_000:]).mean() / rate)
    assert abs(np.mean(found) - 1) < 4 * np.std(found, ddof=1) / 10**0.5 + 0.003


def test_a_filter_of_an_earlier_version_is_refused(tmp_path):
    """It has another number of blocks, in which nothing would be found again."""
    path = tmp_path / "old.safetensors"
    about = dict(min_ngram_size=13, max_ngram_size=13, threshold=0.8, inserted=3000, format="dclm_nb.bloom/1",
                 expected_ngrams=1000, false_positive_rate=0.01)
    save_file({"words": np.zeros(160, np.uint64)}, path, {"settings": json.dumps(about)})
    with pytest.raises(UserError, match="its format is 'dclm_nb.bloom/1' and not .*; delete it and deduplicate again"):
        BloomDeduplicator.load(path)


def test_what_repeats_does_not_fill_a_filter():
    text = " ".join(f"w{j}" for j in range(100))
    dedup = BloomDeduplicator(100, false_positive_rate=EXACT)
    assert [r.kept for _ in range(50) for r in dedup.deduplicate([text])] == [True] + [False] * 49


@pytest.mark.parametrize("call", [
    lambda: BloomDeduplicator(1000).deduplicate("text"),
    lambda: BloomDeduplicator(1000).deduplicate(b"text"),
])
def test_a_string_is_no_list_of_texts(call):
    with pytest.raises(UserError, match="not one string|goes into a list"): call()
