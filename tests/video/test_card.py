"""What a curation says of films that left nothing, and of a set that is small."""
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("scenedetect")

from dclm_nb.video.filters import Rule  # noqa: E402
from dclm_nb.video.pipeline import FEW, VideoCuration, curate_films  # noqa: E402
from films_made import made, texture  # noqa: E402

STILL = Rule("motion", limit=1.0)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    made(folder / "moving.mp4", texture(60, step=2))
    made(folder / "still.mp4", texture(60, step=0))
    made(folder / "brief.mp4", texture(5))
    made(folder / "still too.mp4", np.repeat(texture(1, seed=3), 60, 0))
    return curate_films(folder, tmp_path_factory.mktemp("out"), VideoCuration(text=None, filters=(STILL,)), workers=1)


def test_films_that_left_nothing_are_named_with_the_cause(report):
    assert {row["film"]: row["cause"] for row in report.data["empty"]} == {
        "brief": "clips: too short", "still": "motion: too low", "still_too": "motion: too low",
    }
    said = next(line for line in report.remarks if "left no clip" in line)
    assert said.startswith("3 films left no clip: brief.mp4 (clips: too short), still")
    assert "## Films of which no clip is left: 3" in (report.folder / "card.md").read_text()


def test_little_is_said_to_be_little(report):
    assert any(line.startswith("only 1 clip is left: few to train on") for line in report.remarks) and FEW > 1
    assert "only 1 clip is left" in (Path(report.folder) / "contact_sheet.html").read_text()
