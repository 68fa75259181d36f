"""A finished curation of films whose files were damaged since is made again from the stage that left them, to the same
bytes."""
import shutil
from itertools import cycle, product
from pathlib import Path

import pytest
from damages import DAMAGES, harm
from tiers import nightly

pytest.importorskip("av")
pytest.importorskip("scenedetect")

from dclm_nb.core.files import is_sum  # noqa: E402
from dclm_nb.video.filters import Rule  # noqa: E402
from dclm_nb.video.films import write_films  # noqa: E402
from dclm_nb.video.near_duplicates import DuplicateConfig  # noqa: E402
from dclm_nb.video.pipeline import VideoCuration, curate_films  # noqa: E402
from dclm_nb.video.world import WorldSpec  # noqa: E402

RULES = (Rule("motion", share=0.3),)
QUICK = VideoCuration(shortest=0.3, text=None, captions=("told",), filters=RULES, duplicates=DuplicateConfig(),
                      clips_a_tar=2)


def two_films(folder: Path) -> Path:
    "A folder of two films of a few seconds."
    spec = WorldSpec(scenes=(2, 3), seconds=(1.2, 1.8))
    return write_films(folder / "world", 2, spec, size=48, every=8).films


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path: return two_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def report(films, tmp_path_factory): return curate_films(films, tmp_path_factory.mktemp("out"), QUICK, workers=1)


def content(folder: Path) -> dict[str, bytes]:
    "All files but logs and signs of life."
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files
            if not {"logs", "heartbeat"} & set(path.relative_to(folder).parts) and path.suffix != ".lock"}


def artefacts(folder: Path) -> list[str]: return [name for name in content(folder) if not is_sum(Path(name))]


# one file of each kind; nightly all kinds, each in another way, and the first in all
PARTS = ["films/00000.json", "records/00000.json", "found/00000.jsonl.gz", "clips/*/*.mp4", "measured/00000.jsonl.gz",
         "removed/*/00000.jsonl.gz", "thresholds.json", "filtered/00000.jsonl.gz", "kept/00000.jsonl.gz",
         "shards/00000.tar", "shards/00000.parquet", "shards/00000_stats.json", "motion_scale.json",
         "contact_sheet.html", "card.md", "report.json"]
CASES = [("clips/*/*.mp4", "one bit"), ("shards/00000.tar", "deleted"), ("card.md", "cut"),
         ("contact_sheet.html", "zeros"), ("motion_scale.json", "one bit")]
WAYS = [*zip(PARTS, cycle(("one bit", "cut", "deleted", "zeros", "foreign"))), *product(PARTS[:1], DAMAGES)]


def test_the_table_of_parts_names_every_file_of_a_curation(report):
    left = [name for name in artefacts(report.folder) if not any(Path(name).match(part) for part in PARTS)
            and "00000" in name]
    assert not left


@pytest.mark.parametrize("case", [*CASES, *nightly(*(way for way in dict.fromkeys(WAYS) if way not in CASES))])
def test_a_damaged_part_of_a_curation_is_made_again(films, report, tmp_path, capsys, case):
    part, how = case
    copy = shutil.copytree(report.folder, tmp_path / report.key)
    harm(sorted(copy.glob(part))[0], how)
    again = curate_films(films, tmp_path, QUICK, workers=1)
    assert again.data == report.data and content(copy) == content(report.folder)
    # without a report the curation had not ended: there is nothing to warn of
    assert ("it is made again" in capsys.readouterr().err) == (case != ("report.json", "deleted"))


def test_a_folder_of_a_curation_that_is_gone_is_made_again(films, report, tmp_path):
    copy = shutil.copytree(report.folder, tmp_path / report.key)
    for part in ("shards", "clips"): shutil.rmtree(copy / part)
    curate_films(films, tmp_path, QUICK, workers=1)
    assert content(copy) == content(report.folder)
