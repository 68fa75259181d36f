"""Near-duplicates: distances, bands against all pairs, groups, and copies of drawn clips."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.video.near_duplicates import (
    DuplicateConfig, clip_signature, embedding_pairs, hash_pairs, keepers, signature_distance,
)
from dclm_nb.video.world import WorldSpec, draw_scene, render

few = settings(max_examples=40, deadline=None)


def clip(number: int) -> np.ndarray:
    scene = draw_scene(WorldSpec(still=0, text=0, poor=0, flicker=0, textured=1), "near duplicates", number)
    return render(scene, np.linspace(0, scene.seconds, 8), 64)


@few
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 4))
def test_distance_is_symmetric_and_zero_for_the_same(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, (rows, 8)).astype(np.uint8) for rows in (n, m))
    assert signature_distance(a, b) == signature_distance(b, a) and signature_distance(a, a[::-1]) == 0
    assert 0 <= signature_distance(a, b) <= 1


@few
@given(st.integers(0, 99), st.integers(0, 3))
def test_bands_lose_no_pair_that_differs_in_three_bits(seed, flips):
    rng, config = np.random.default_rng(seed), DuplicateConfig(frames=3)
    base = [rng.integers(0, 256, (3, 8)).astype(np.uint8) for _ in range(6)]
    copies = []
    for signature in base:
        bits = np.unpackbits(signature, axis=1)
        for row in bits: row[rng.choice(64, flips, replace=False)] ^= 1
        copies.append(np.packbits(bits, axis=1))
    found = hash_pairs(base + copies, config)
    assert {(k, k + 6) for k in range(6)} <= set(found) <= set(hash_pairs(base + copies, config, bands=False))


def test_copies_are_found_and_others_are_not():
    pytest.importorskip("imagehash")
    clips = [clip(k) for k in range(12)]
    copies = [np.clip(c[:, ::2, ::2] * 0.9 + 5, 0, 255).astype(np.uint8) for c in clips]
    assert hash_pairs([clip_signature(c) for c in clips + copies]) == [(k, k + 12) for k in range(12)]


def test_mirrored_copies_on_request():
    pytest.importorskip("imagehash")
    clips = [clip(0), np.ascontiguousarray(clip(0)[:, :, ::-1]), clip(5)]
    for mirrored, found in ((False, []), (True, [(0, 1)])):
        config = DuplicateConfig(mirrored=mirrored)
        assert hash_pairs([clip_signature(c, config) for c in clips], config) == found


def test_embeddings_by_blocks():
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = [(i, j) for i in range(50) for j in range(i + 1, 50) if vectors[i] @ vectors[j] >= 0.9]
    assert embedding_pairs(vectors, 0.9) == whole == embedding_pairs(vectors, 0.9, block=7) and whole


@few
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_of_each_group_the_first_stays(pairs):
    kept = keepers(10, pairs)
    assert all(kept[k] <= k and kept[kept[k]] == kept[k] for k in range(10))
    assert all(kept[a] == kept[b] for a, b in pairs)
    # no more is joined than the pairs say
    parent = {k: {k} for k in range(10)}
    for a, b in pairs:
        joined = parent[a] | parent[b]
        for k in joined: parent[k] = joined
    assert [min(parent[k]) for k in range(10)] == kept.tolist()


@pytest.mark.parametrize("call", [
    lambda: clip_signature(np.zeros((0, 8, 8, 3), np.uint8)), lambda: DuplicateConfig(distance=0.5),
    lambda: DuplicateConfig(frames=0),
])
def test_errors_are_one_line(call):
    pytest.importorskip("imagehash")
    with pytest.raises(UserError) as error: call()
    assert "\n" not in str(error.value)
