"""Several threads may share one filter: nothing is kept twice, nothing is lost, and a copy is its own."""
import copy
import pickle
import sys
import threading

import numpy as np
import pytest

from dclm_nb.curation.bloom import BloomDeduplicator
from dclm_nb.curation.bloom_filter import BloomFilter

TEXTS = ["\n".join(" ".join(f"w{i}x{k}x{j}" for j in range(20)) for k in range(3)) for i in range(1200)]


@pytest.fixture(autouse=True)
def quick_turns():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work, count=4):
    found = [None] * count
    def go(k): found[k] = work(k)
    threads = [threading.Thread(target=go, args=(k,)) for k in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return found


def test_threads_keep_each_text_once():
    kept = BloomDeduplicator(200_000)
    results = in_threads(lambda k: kept.deduplicate(TEXTS))
    once = [sum(each[i].kept for each in results) for i in range(len(TEXTS))]
    assert once == [1] * len(TEXTS)
    assert kept.inserted == 1200 * 3 * 8


def test_threads_add_to_one_filter_without_loss():
    hashes = np.random.default_rng(0).integers(0, 2**64, (4, 20_000), dtype=np.uint64)
    alone, shared = BloomFilter(80_000), BloomFilter(80_000)
    alone.add(hashes.ravel())
    in_threads(lambda k: [shared.add(part) for part in np.array_split(hashes[k], 40)])
    assert (shared.words == alone.words).all()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_goes_on(copied):
    kept = BloomDeduplicator(200_000)
    kept.deduplicate(TEXTS[:5])
    assert not any(result.kept for result in copied(kept).deduplicate(TEXTS[:5]))
