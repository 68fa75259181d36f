"""Sources and streams: everything once, whatever the ranks, workers, seeds and buffers; causes that are counted."""
import itertools
import logging
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dclm_nb.core.errors import UserError
from dclm_nb.shards.safe_tar import TAR_CAUSES, Layout, write_tar
from dclm_nb.shards.sources import ShardSource, find_shards, this_rank
from dclm_nb.shards.stream import SampleStream, shuffled
from dclm_nb.shards.tally import Refused, Tally

LAYOUT = Layout({"txt": "text"}, {"text": 100}, (("text",),))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    "Five shards of unequal length with the numbers from 0 to 29; the multiples of ten are words."
    folder, cuts = tmp_path_factory.mktemp("shards"), (0, 1, 9, 12, 22, 30)
    text = lambda n: b"ten" if n % 10 == 0 else b"%d" % n
    return [
        write_tar(folder / f"part-{i}.tar", [(f"{n}.txt", text(n)) for n in range(first, end)])
        for i, (first, end) in enumerate(itertools.pairwise(cuts))
    ]


NUMBERS = [n for n in range(30) if n % 10]


def number_of(parts) -> int:
    if not parts["text"].isdigit(): raise Refused("no number")
    return int(parts["text"])


def stream(shards, rank=0, world=1, **options) -> SampleStream:
    source = ShardSource(tuple(shards), LAYOUT, rank, world)
    return SampleStream(source, number_of, [*TAR_CAUSES, "no number"], **options)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 4), st.integers(0, 5), st.integers(0, 5))
def test_every_shard_is_dealt_to_one_process(n, world, workers, seed, epoch):
    workers, world = max(workers, 1), min(world, n)
    every = tuple(Path(f"{i}.tar") for i in range(n))
    dealt = [
        path
        for rank in range(world)
        for worker in range(workers)
        for path in ShardSource(every, LAYOUT, rank, world).order(seed, epoch, worker, workers)
    ]
    assert sorted(dealt) == sorted(every)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers()), st.integers(-1, 40), st.integers(0, 5))
def test_a_buffer_loses_nothing_and_looks_no_further_than_its_size(items, size, seed):
    out = list(shuffled(iter(items), size, random.Random(seed)))
    assert sorted(out) == sorted(items) and out == list(shuffled(iter(items), size, random.Random(seed)))
    if size < 2: assert out == items
    positions = list(shuffled(iter(range(len(items))), size, random.Random(seed)))
    assert all(came <= left + max(size, 1) for left, came in enumerate(positions))


@pytest.mark.parametrize("world, workers", [(1, 0), (1, 2), (2, 2), (3, 0)])
def test_everything_is_read_once_and_counted(shards, world, workers):
    seen, counts = [], {}
    for rank in range(world):
        numbers = stream(shards, rank, world, buffer=4)
        seen += [n for batch in DataLoader(numbers, batch_size=4, num_workers=workers) for n in batch.tolist()]
        for outcome, n in numbers.tally.report().items(): counts[outcome] = counts.get(outcome, 0) + n
    assert sorted(seen) == NUMBERS and counts == {"read": 27, "no number": 3}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 3), epoch=st.integers(0, 3), buffer=st.integers(0, 40))
def test_the_order_depends_on_seed_epoch_and_buffer_alone(shards, seed, epoch, buffer):
    one, two = (stream(shards, seed=seed, buffer=buffer) for _ in range(2))
    for s in (one, two): s.set_epoch(epoch)
    torch.manual_seed(seed + epoch)
    first = list(one)
    assert first == list(two) == list(one) and sorted(first) == NUMBERS


def test_endless_goes_through_the_epochs(shards):
    endless = list(itertools.islice(stream(shards, endless=True, buffer=9), 27 * 3))
    for epoch in range(3):
        one = stream(shards, buffer=9)
        one.set_epoch(epoch)
        assert list(one) == endless[27 * epoch : 27 * (epoch + 1)]


def test_the_first_of_a_stream_or_one_line(shards):
    assert len(stream(shards).first(27)) == 27
    with pytest.raises(UserError, match="28 samples were asked for and the stream has 27 .read: 27, no number: 3"):
        stream(shards).first(28)
    with pytest.raises(UserError, match="n must be at least 1, not 0"): stream(shards).first(0)


def test_an_endless_stream_of_nothing_ends(tmp_path):
    nothing = write_tar(tmp_path / "x.tar", [("a.txt", b"word")])
    with pytest.raises(UserError, match="not one usable sample in a whole pass .no number: 1"):
        next(iter(stream([nothing], endless=True)))


def test_a_cause_that_is_not_counted_is_a_mistake_and_stops(shards):
    wrong = SampleStream(ShardSource(tuple(shards), LAYOUT), number_of, tuple(TAR_CAUSES))
    with pytest.raises(ValueError, match="'no number' is not among read, part twice"): list(wrong)


def test_refusals_are_logged_with_the_name_of_the_sample(caplog):
    tally = Tally(["odd"])
    with caplog.at_level(logging.INFO): tally.add("odd", "x.tar/3"); tally.add("read", "x.tar/4")
    assert [record.getMessage() for record in caplog.records] == ["odd: x.tar/3"]


def test_shards_are_found_by_braces_and_stars_and_all_must_be_there(shards):
    folder = shards[0].parent
    assert find_shards(folder / "part-{0..4}.tar") == find_shards(str(folder / "part-*.tar")) == shards
    assert find_shards([folder / "part-{3..4}.tar", shards[0]]) == [*shards[3:], shards[0]]
    assert find_shards([]) == []
    for missing in (folder / "part-{0..5}.tar", folder / "x-*.tar", folder / "x.tar", folder, "s3://a/0.tar"):
        with pytest.raises(UserError, match="does not exist|no shard|not the address"): find_shards(missing)


@pytest.mark.parametrize("rank, world", [(1, 1), (-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_its_world_is_refused(rank, world):
    with pytest.raises(UserError, match=f"rank {rank} is not in a world of {world}"): this_rank(rank, world)


def test_more_ranks_than_shards_are_refused(shards):
    with pytest.raises(UserError, match="5 shards cannot feed 6 ranks"): ShardSource(tuple(shards), LAYOUT, 0, 6)
    with pytest.raises(UserError, match="0 shards cannot feed 1 ranks"): ShardSource((), LAYOUT)
