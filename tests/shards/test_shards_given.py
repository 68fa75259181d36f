"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import numpy as np
import pytest
from odd import Walk
from datatrove.data import Document

import dclm_nb.shards
from dclm_nb.shards.clips import write_clip_shards, write_clip_table
from dclm_nb.shards.records import Records, map_npy, map_rows, write_npy, write_rows
from dclm_nb.shards.safe_tar import Layout, write_tar
from dclm_nb.shards.sources import ShardSource, find_shards, this_rank
from dclm_nb.shards.stream import SampleStream

LAYOUT = Layout(endings={"txt": "txt"}, limits={"txt": 99}, needed=(("txt",),))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    shard = write_tar(folder / "a.tar", [("a.txt", b"text")])
    rows = np.arange(6, dtype=np.int64)
    write_rows(folder / "rows.bin", rows)
    (folder / "clip.mp4").write_bytes(b"film")
    stream = SampleStream(ShardSource((shard,), LAYOUT), str, ("no",))
    clips = [Document("text", "a", metadata={"path": str(folder / "clip.mp4")})]
    return {
        Layout: dict(endings={"txt": "txt"}, limits={"txt": 99}, needed=(("txt",),), twice="part twice"),
        write_tar: dict(path=folder / "b.tar", members=[("a.txt", b"text")]),
        find_shards: dict(pattern=shard),
        this_rank: dict(rank=0, world_size=1),
        ShardSource: dict(shards=(shard,), layout=LAYOUT, rank=0, world_size=1),
        SampleStream: dict(source=ShardSource((shard,), LAYOUT), decode=str, causes=("no",), seed=0, buffer=2,
                           endless=False),
        stream.set_epoch: dict(epoch=1),
        stream.first: dict(n=1),
        Records: dict(parts=[rows, rows]),
        Records([rows]).rows: dict(indices=[0, 5, 0]),
        write_rows: dict(path=folder / "b.bin", rows=rows),
        map_rows: dict(path=folder / "rows.bin", record=np.dtype("int64"), rows=6, sha256=None, then="make it again"),
        write_npy: dict(path=folder / "a.npy", rows=rows),
        map_npy: dict(path=write_npy(folder / "c.npy", rows), then="make it again"),
        write_clip_table: dict(clips=clips, path=folder / "clips.parquet"),
        write_clip_shards: dict(clips=clips, folder=folder / "clips", clips_per_shard=2),
    }


INNER = """
# what is given comes from our own code, which checked it before
clips: clip_facts clip_schema clip_shard_damage shard_damage
records: NoRow narrowed read_header content_identity
safe_tar: Layout.is_whole shard_samples
sources: ShardSource.order ShardSource.samples Source shard_hashes
stream: shuffled
tally: Refused Tally
"""


class TestWalk(Walk):
    room, inner = dclm_nb.shards, INNER
