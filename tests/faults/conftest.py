"""Small inputs that several fault tests share: an archive of pages and shards of pictures."""
from pathlib import Path

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
