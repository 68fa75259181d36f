"""Small inputs that several fault tests share: an archive of pages, shards of pictures, and shards of clips."""
from pathlib import Path

import numpy as np
import pytest

from dclm_nb.curation.crawl_texts import manual
from dclm_nb.curation.warc import Page, write_warc
from dclm_nb.image.scenes import scene_set
from dclm_nb.image.webdata import write_shard


@pytest.fixture(scope="session")
def warc(tmp_path_factory) -> Path:
    """Twenty pages of the manual that the project carries, of which two are there twice."""
    raws = [raw for raw in manual() if raw.split == "crawl"][:20]
    pages = [Page(f"http://example.org/{i}", raw.html) for i, raw in enumerate([*raws, *raws[-2:]])]
    return write_warc(tmp_path_factory.mktemp("crawl") / "a.warc.gz", pages)


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """Two shards of captioned scenes."""
    folder = tmp_path_factory.mktemp("shards")
    for i in range(2): write_shard(folder / f"{i:05d}.tar", scene_set(24, seed=i))
    return folder


@pytest.fixture(scope="session")
def clip_shards(tmp_path_factory) -> Path:
    """A folder as `curate video` leaves it: shards of three clips of a square that moves."""
    import av
    from datatrove.data import Document

    from dclm_nb.shards.clips import write_clip_shards
    folder, clips = tmp_path_factory.mktemp("films"), []
    for k in range(3):
        with av.open(str(path := folder / f"{k}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.height = stream.width = 32
            for t in range(24):
                picture = np.full((32, 32, 3), 90, np.uint8)
                picture[12:20, t : t + 8, k] = 255
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            file.mux(stream.encode())
        facts = dict(film=str(k), fps=25.0, frames=24, width=32, height=32, path=str(path), start=0.0, end=0.96,
                     motion_bucket_id=100 + k)
        clips.append(Document(text=f"the square {k} moves right", id=f"{k}/0000", metadata=facts))
    write_clip_shards(clips, folder / "curated" / "abc" / "shards")
    return folder / "curated"
