"""A link that leads back to itself, and a name that no file system takes, are refused in one line wherever a path is
given."""
import os
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.given import as_folder
from dclm_nb.core.paths import inside, resolved
from dclm_nb.curation.blocks import TrainQuality
from dclm_nb.curation.pipeline import curate
from dclm_nb.curation.quality import ClassifierConfig
from dclm_nb.stages.reading import into_shards
from dclm_nb.video.pipeline import curate_films

NOWHERE = ["loop", "loop/below", "there", "x" * 300, "a/" * 2100 + "a"]


@pytest.fixture(params=NOWHERE, ids=["loop", "below", "ring", "name", "path"])
def nowhere(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for here, there in (("there", "back"), ("back", "there")): (tmp_path / here).symlink_to(there)
    return request.param


def test_every_door_for_a_path_says_so(nowhere, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film")
    for use in (
        resolved,
        lambda path: inside(tmp_path, path),
        lambda path: inside(path, "name"),
        lambda path: as_folder("out", path),
        lambda path: into_shards([path], 1),
        lambda path: TrainQuality("o", "p", ClassifierConfig(), model=path),
        lambda path: curate(path, "o"),
        lambda path: curate([path], "o"),
        lambda path: curate(film, path),
        lambda path: curate_films(path, "o"),
        lambda path: curate_films([path], "o"),
        lambda path: curate_films([film], path),
    ):
        with pytest.raises(UserError) as said: use(nowhere)
        assert "\n" not in str(said.value) and len(str(said.value)) < 400


def test_a_path_that_leads_somewhere_is_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link", "a/not-there", "link/../link/not-there"):
        assert resolved(tmp_path / name) == Path(os.path.realpath(tmp_path / name))
    assert resolved("").is_absolute() and resolved(str(tmp_path)) == tmp_path.resolve()
