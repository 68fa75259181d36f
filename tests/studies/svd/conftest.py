"""One tiny curation for all tests of this folder."""
import pytest

from dclm_nb.core.store import RunStore
from dclm_nb.studies.svd.curation_funnel import CurationRuns, run_curation
from dclm_nb.studies.svd.profiles import CurationStudy
from dclm_nb.video.world import WorldSpec


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> CurationRuns:
    "Two films of short scenes, with all that is made of them."
    pytest.importorskip("av"), pytest.importorskip("scenedetect"), pytest.importorskip("rapidocr")
    world = WorldSpec(scenes=(5, 5), seconds=(1.2, 1.8), listed=0.5)
    study = CurationStudy("smoke", 2, {"watermarked": 1, "good looks only": 1}, every=12, small=2, world=world,
                          scorer_scenes=64, scorer_steps=8, scorer_films=2, strict=False)
    return run_curation(study, (0,), workers=0, store=RunStore(tmp_path_factory.mktemp("store")))
