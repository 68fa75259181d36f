"""What a scale means stands in the wings alone, and the runs behind blessed results are still those that we ask for."""
import ast
import importlib
import json
from pathlib import Path

import pytest

from dclm_nb.core.learned import Learned
from dclm_nb.core.paths import project_root
from dclm_nb.core.store import Recipe, Run
from dclm_nb.image.config import METHODS
from dclm_nb.image.judges import train_judges
from dclm_nb.image.methods import Sampling
from dclm_nb.papers.catalogue import catalogue
from dclm_nb.papers.paper import papers
from dclm_nb.papers.scale import DIAL
from dclm_nb.studies.dclm import quality_filters
from dclm_nb.studies.dclm.profiles import profile as text_profile
from dclm_nb.studies.tradeoffs import profiles as pictures
from dclm_nb.studies.tradeoffs import runs
from dclm_nb.studies.tradeoffs.tuning import Tuned

TRAINED = [name for name, scale in DIAL.items() if scale.trains]        # "smoke", "laptop", "gpu"
ROOMS = ("core", "curation", "lm", "image", "learn", "shards", "judging")
# What is spelled like a scale below the studies and is none: (module, word): what it is.
NO_SCALES: dict[tuple[str, str], str] = {
    ("lm.config", "gpu"): "an accelerator of Lightning",
    ("lm.config", "smoke"): "the name of a tiny network for trials, of which no study knows",
}


@pytest.mark.parametrize("paper", list(papers()))
def test_every_scale_that_an_exhibit_offers_has_a_profile(paper):
    offered = {scale for exhibit in catalogue(paper) for scale in exhibit.scales} & set(TRAINED)
    if not offered: return
    wing = importlib.import_module(f"dclm_nb.studies.{paper}.profiles")
    assert offered <= set(wing.PROFILES)
    assert all(wing.profile(scale) is wing.PROFILES[scale] for scale in offered)


def words_of(file: Path) -> set[str]:
    "The strings of a module."
    return {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)} & set(TRAINED)


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_below_the_studies_knows_the_name_of_a_scale(room):
    files = sorted((project_root() / "dclm_nb" / room).rglob("*.py"))
    assert files and not {(f"{room}.{f.stem}", w) for f in files for w in words_of(f)} - set(NO_SCALES)


def blessed(page: str) -> dict: return json.loads((project_root() / f"figures/{page}.manifest.json").read_text())


class KeysOnly:
    "A store that says what it would make, and makes nothing; whatever it is asked for has learned."
    def run(self, fn, config: dict, seed: int = 0, inputs: dict | None = None, **options) -> Run:
        learned = Learned("everything", "share", 1.0, 0.0, "nothing").as_dict()
        result = {"learned": [learned] if fn is train_judges else learned}
        return Run(Path(), {"key": Recipe.of(fn, config, seed, inputs).key, "result": result})


@pytest.fixture
def nothing_is_made(monkeypatch):
    def together(plans, store, *options, **more) -> list[Run]:
        return [store.run(p.fn, p.config, p.seed, p.inputs) for p in plans]
    for module in (quality_filters, runs): monkeypatch.setattr(module, "run_in_parallel", together)


def test_table_4_still_rests_on_the_runs_that_were_blessed(nothing_is_made):
    manifest = blessed("dclm/table_04")
    asked = quality_filters.run_study(text_profile(manifest["scale"]).study, store=KeysOnly())
    assert asked.pool.key == manifest["rests_on"]["pool"]
    assert {probe.key for probe in asked.probes.values()} <= set(manifest["runs"])      # among all that it was given


def test_figure_a_still_rests_on_the_runs_that_were_blessed(nothing_is_made):
    """What was tuned stands in results that are not here, so every learning rate, shift and guidance is tried: one of
    them gives a blessed key for each method, and none would if anything else had changed."""
    manifest = blessed("tradeoffs/figure_a")
    study = pictures.profile(manifest["scale"]).study
    shop, (size, budget) = runs.StudyRuns(study, KeysOnly()), study.budgets[0]
    for method in METHODS:
        setups = [
            runs.TrainSpec(method, size, Tuned({(method, size): rate}, shift, {}, None).train_config(
                method, size, budget, study))
            for rate in (study.rates[0] * 2**k for k in range(-1, 5)) for shift in study.shifts
        ]
        asked = [
            runs.Question(setup, run, 0, len(study.marks) - 1, Sampling(guidance=guidance))
            for setup, run in zip(setups, shop.train([(setup, 0) for setup in setups]))
            for guidance in study.guidances
        ]
        assert {run.key for run in shop.judge(asked)} & set(manifest["runs"])
