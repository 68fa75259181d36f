"""Token folders and the order of their contexts, for any shape of folder, batch, seed and starting point."""
import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.lm.data import BatchStream, TokenShards, context_stream, pass_order, write_token_folder


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 24), seed=st.integers(0, 5), steps=st.integers(0, 30))
def test_the_stream_can_be_entered_anywhere(n, batch, seed, steps):
    whole = list(islice(BatchStream(n, batch, seed), steps + 4))
    assert list(islice(BatchStream(n, batch, seed, start=steps * batch), 4)) == whole[steps:]
    flat = np.concatenate([np.array(b) for b in whole])
    for number in range(len(flat) // n): assert sorted(flat[number * n : (number + 1) * n]) == list(range(n))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    micro=st.integers(1, 3),
    world=st.integers(1, 4),
    share=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_devices_and_micro_batches_share_the_same_batches(n, micro, world, share, seed):
    batch = micro * world * share
    whole = list(islice(BatchStream(n, batch, seed), 5))
    ranks = [
        list(islice(BatchStream(n, batch, seed, micro_batches=micro, rank=r, world=world), 5 * micro))
        for r in range(world)
    ]
    for step, want in enumerate(whole):
        pieces = [p for rank in ranks for p in rank[step * micro : (step + 1) * micro]]
        assert all(len(p) == share for p in pieces) and sorted(sum(pieces, [])) == sorted(want)


def test_passes_and_seeds_differ():
    orders = [tuple(pass_order(50, seed, number)) for seed in range(3) for number in range(3)]
    assert len(set(orders)) == 9
    assert tuple(next(context_stream(50, 1, start=110))) == tuple(pass_order(50, 1, 2)[10:])


@pytest.mark.parametrize("vocab_size, dtype", [(65_536, "uint16"), (65_537, "uint32")])
@pytest.mark.parametrize("shards", [1, 3, 20])
def test_folder_round_trip(tmp_path, vocab_size, dtype, shards):
    ids = np.random.default_rng(0).integers(0, vocab_size, (13, 5))
    # 20 shards of 13 contexts: some are empty
    data = TokenShards(write_token_folder(tmp_path / "t", ids, vocab_size, shards=shards))
    assert data.manifest["dtype"] == dtype and len(data) == 13 and data.tokens == 52
    order = np.random.default_rng(1).integers(0, 13, 40)
    assert (data.rows(order) == ids[order]).all()
    assert len([context for context in data]) == 13         # a loop ends where there is no row


def test_the_identity_is_of_the_tokens(tmp_path):
    ids = np.arange(60).reshape(12, 5)
    folders = [write_token_folder(tmp_path / name, x, 100) for name, x in (("a", ids), ("b", ids), ("c", ids[::-1]))]
    a, b, c = (TokenShards(f).identity() for f in folders)
    assert a == b != c


@pytest.mark.parametrize("at", [0, 57, 119])
def test_one_flipped_bit_is_found(tmp_path, at):
    folder = write_token_folder(tmp_path / "t", np.arange(60).reshape(12, 5), 100)
    data = bytearray((folder / "shard_00000.bin").read_bytes())
    data[at] ^= 1
    (folder / "shard_00000.bin").write_bytes(data)
    with pytest.raises(UserError, match="SHA-256"): TokenShards(folder)


def test_a_manifest_cannot_point_outside(tmp_path):
    folder = write_token_folder(tmp_path / "t", np.arange(60).reshape(12, 5), 100)
    (folder / "shard_00000.bin").rename(tmp_path / "shard_00000.bin")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["file"] = "../shard_00000.bin"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".manifest.json.sum").unlink()
    with pytest.raises(UserError, match="no bytes"): TokenShards(folder)
