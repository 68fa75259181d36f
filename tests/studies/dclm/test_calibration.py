"""The calibration: planting, the rule, the kept results, the study's own settings, and one real smoke run through the
store."""
import json

import numpy as np
import pandas as pd
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.studies.dclm import calibration, quality_filters
from dclm_nb.studies.dclm.calibration import (
    AGAIN,
    CLEAN,
    DESIGN,
    HALF,
    NARROW,
    PHRASES,
    QUARTER,
    REPEATED,
    TENTH,
    Condition,
    calibrate,
    calibration_of,
    calibration_table,
    clean_documents,
    differences_of,
    must_pass,
    plant,
    planted_documents,
    read_calibration,
    todays_keys,
    usable_instruments,
    write_calibration,
)
from dclm_nb.papers.frames import tidy
from dclm_nb.studies.dclm.profiles import profile
from dclm_nb.studies.dclm.quality_filters import model_settings, pool_settings, probe_settings, run_study
from dclm_nb.studies.dclm.text_runs import PRIMARY, SECONDARY, TRIGRAM

TEXTS = [f"Document {i} says that its words stand in the order in which they were written down." for i in range(300)]
MATERIAL = [
    f"The {a} of the {b} was seen in the morning by nobody."
    for a in ("king", "owl", "miller", "ship")
    for b in ("hill", "town", "sea", "river")
]
HARM = {HALF: 1.0, QUARTER: 0.5, TENTH: 0.2, PHRASES: 0.5, NARROW: 0.5, REPEATED: 0.3}
SALADS = (HALF, QUARTER, TENTH, PHRASES)


def frame(harm, spread, seed=0, column="cloze", sign=1, shared=0.0, again=0.0):
    """Readings as `calibrate` gives them: `harm` by condition, noise of which `shared` is common to a seed, `again`
    added to the second clean runs."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(seed + 1000).normal(0, shared, 6)
    return tidy(
        [
            dict(
                row=c.label,
                column=column,
                seed=s,
                value=common[s] + rng.normal(-sign * harm.get(c, 0) + again * c.again, spread),
                run=f"{c.label}{s}",
            )
            for c, n in DESIGN
            for s in range(n)
        ],
        paper="dclm",
        exhibit="calibration",
        scale="smoke",
        source="rerun",
    )


@pytest.mark.parametrize("condition", SALADS)
def test_planting_replaces_the_share_and_keeps_the_length(condition):
    planted = plant(TEXTS, MATERIAL, condition, 0)
    changed = [(a, b) for a, b in zip(TEXTS, planted) if a != b]
    assert abs(len(changed) / len(TEXTS) - condition.share) < 0.1 and planted == plant(
        TEXTS, MATERIAL, condition, 0
    ) != plant(TEXTS, MATERIAL, condition, 1)
    for old, new in changed: assert len(old.split()) <= len(new.split()) <= len(old.split()) * 12


def test_smaller_shares_are_parts_of_larger_ones():
    replaced = [
        {i for i, (a, b) in enumerate(zip(TEXTS, plant(TEXTS, MATERIAL, c, 5))) if a != b}
        for c in (TENTH, QUARTER, HALF)
    ]
    assert replaced[0] < replaced[1] < replaced[2]


@pytest.fixture
def pool(smoke_pool): return smoke_pool


def test_what_is_planted_in_a_pool(pool):
    """Clean text stays as it is; salad changes the share of documents and their tokens with them; narrow keeps two
    kinds; a fortieth is a fortieth."""
    clean = clean_documents(pool)
    assert all(d["quality"] in ("good", "ordinary") for d in clean.about)
    for condition in (CLEAN, AGAIN): assert planted_documents(pool, condition, 0).texts == clean.texts
    half = planted_documents(pool, HALF, 0)
    same = [a == b for a, b in zip(half.texts, clean.texts)]
    assert (
        0.4 < np.mean(same) < 0.6 and [len(a) == len(b) and (a == b).all() for a, b in zip(half.ids, clean.ids)] == same
    )
    assert {d["kind"] for d in planted_documents(pool, NARROW, 0).about} == {"encyclopaedia", "recipes"}
    assert len(planted_documents(pool, REPEATED, 0)) == round(len(clean) / 40)


def test_a_seeing_instrument_passes_in_both_directions():
    assert (
        calibration_of(frame(HARM, 0.02), "cloze").passes
        and calibration_of(frame(HARM, 0.02, column="bits per byte", sign=-1), "bits per byte").passes
    )


@pytest.mark.parametrize(
    "harm, spread, again, fault",
    [
        ({}, 0.02, 0.0, "misses planted harm"),
        (HARM, 2.0, 0.0, "not sharp"),
        ({c: -x for c, x in HARM.items()}, 0.02, 0.0, "misses planted harm"),
        (HARM, 0.02, 0.2, "not quiet"),
        ({**HARM, QUARTER: -0.5}, 0.02, 0.0, "not sharp"),
    ],
    ids=["blind", "noisy", "inverted", "sees differences where there are none", "confused"],
)
def test_bad_instruments_fail(harm, spread, again, fault):
    found = calibration_of(frame(harm, spread, again=again), "cloze")
    assert not found.passes and fault in found.faults


def test_a_quiet_instrument_is_called_loud_about_as_often_as_promised():
    loud = np.mean(["not quiet" in calibration_of(frame(HARM, 0.1, seed=seed), "cloze").faults for seed in range(200)])
    assert 0.01 <= loud <= 0.10                                 # promised 5 %


def test_pairing_takes_away_what_a_seed_shares_and_nothing_else():
    share_of = lambda seed, s: calibration_of(frame(HARM, 0.1, seed=seed, shared=s), "cloze").resolution.shared
    alone, shared = (np.mean([share_of(seed, s) for seed in range(40)]) for s in (0.0, 0.3))
    assert abs(alone) < 0.15 and shared > 0.8
    together = calibration_of(frame(HARM, 0.001, shared=1.0), "cloze")
    sight = together.resolution
    assert together.passes and sight.seed_sd > 0.5 > 0.01 > sight.paired_sd and sight.detects[5] < sight.detects[3]


def test_usable_ones_are_sorted_by_sharpness_and_the_fixed_instrument_has_to_pass():
    def noisy(column, spread, sign=1): return frame(HARM, spread, column=column, sign=sign)

    data = pd.concat([
        noisy("order margin", 0.001),
        noisy("bits per byte, plays", 0.003, -1),
        noisy("cloze margin", 0.01),
        noisy(PRIMARY, 0.03, -1),
        noisy("continuation", 3.0),
    ])
    assert (
        usable_instruments(data) == ["order margin", "bits per byte, plays", "cloze margin", PRIMARY]
        and must_pass(data) == PRIMARY
    )
    with pytest.raises(UserError, match="continuation does not pass the calibration"): must_pass(data, "continuation")


def test_an_instrument_is_as_sharp_as_for_the_junk_it_sees_worse():
    even, onesided = (calibration_of(frame({**HARM, PHRASES: x}, 0.02), "cloze") for x in (0.5, 0.0))
    assert onesided.passes and abs(onesided.sharpness) < 1 < even.sharpness


def test_differences_pair_by_seed():
    assert np.allclose(differences_of(frame(HARM, 0.0, shared=1.0), "cloze", HALF), [-1, -1, -1])


def test_missing_condition_is_one_line():
    data = frame(HARM, 0.1)
    for label in (HALF.label, AGAIN.label, CLEAN.label):
        with pytest.raises(UserError, match="run that condition first"):
            calibration_of(data[data.row != label], "cloze")
    with pytest.raises(UserError, match="no calibration of 'gpu' is kept"): read_calibration("gpu")
    with pytest.raises(UserError, match="defect"): plant(TEXTS, MATERIAL, Condition("rot", 0.5), 0)
    with pytest.raises(UserError, match="unknown scale"): calibrate("1B-1x")


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
def test_the_settings_are_those_of_the_study(scale, monkeypatch):
    """What the study asks the run store for is recorded and compared: the same pool, the same training, the same
    probes."""
    asked, study = {}, profile(scale).study
    class Recorder:
        def run(self, fn, config, *args, **kwargs): asked[fn.__name__] = config
    def record(plans, *args):
        asked.update({plan.fn.__name__: plan.config for plan in plans})
        return [None] * len(plans)
    monkeypatch.setattr(quality_filters, "run_in_parallel", record)
    run_study(study, seeds=(0,), store=Recorder())
    assert pool_settings(study) == asked["make_pool"] and model_settings(study) == asked["train_reference"]
    assert (
        probe_settings(study) == asked["probe_model"] and model_settings(study).items() <= asked["train_recipe"].items()
    )


def test_kept_laptop_results_follow_from_their_runs():
    """The committed file is whole, is what its manifest says, holds the whole design, and was made with today's
    settings of the study."""
    from dclm_nb.core.files import sha256_of
    from dclm_nb.core.paths import project_root
    path = project_root() / "figures/dclm/calibration_laptop.csv"
    kept, manifest = read_calibration(), json.loads(path.with_suffix(".manifest.json").read_text())
    assert sha256_of(path) == manifest["csv_sha256"] and set(kept.run) == {run["key"] for run in manifest["runs"]}
    for run in manifest["runs"]:
        rows = kept[kept.run == run["key"]]
        assert set(rows.seed) == {run["seed"]} and set(rows.row) == {Condition(**run["condition"]).label}
    assert {(c.label, n) for c, n in DESIGN} == set(kept.groupby("row").seed.nunique().items())
    study = profile("laptop").study
    assert (pool_settings(study), model_settings(study), probe_settings(study)) == (
        manifest["pool_settings"],
        manifest["train"],
        manifest["probes"],
    )
    assert not any(run["git"]["dirty"] for run in manifest["runs"]), "a kept result comes from a clean tree"
    table = calibration_table(kept)
    assert set(usable_instruments(kept)) == set(table.index[table.verdict == "passes"])
    for instrument in (PRIMARY, SECONDARY): assert must_pass(kept, instrument) == instrument


def test_the_kept_calibration_is_of_the_pool_that_table_4_was_made_with():
    "The pool's key stands in both manifests; the calibration once outlived its pool, and nobody noticed."
    from dclm_nb.core.paths import project_root
    figures = project_root() / "figures/dclm"
    manifest = json.loads((figures / "calibration_laptop.manifest.json").read_text())
    assert manifest["pool"] == json.loads((figures / "table_04.manifest.json").read_text())["rests_on"]["pool"]


def test_the_kept_calibration_is_of_todays_pool_and_todays_runs(monkeypatch):
    """Every key is computed anew, from the pool's settings on: what is not the study's any more shows here, and needs
    no run to show."""
    from dclm_nb.core.paths import project_root
    manifest = json.loads((project_root() / "figures/dclm/calibration_laptop.manifest.json").read_text())
    pool, keys = todays_keys("laptop")
    assert manifest["pool"] == pool
    assert {run["key"]: (Condition(**run["condition"]).label, run["seed"]) for run in manifest["runs"]} == keys
    settings = pool_settings(profile("laptop").study)
    monkeypatch.setattr(
        calibration, "pool_settings", lambda study: {**settings, "vocab_size": settings["vocab_size"] + 1}
    )
    other, others = todays_keys("laptop")
    assert other != pool and not set(others) & set(keys), "another pool is another calibration"


def test_a_smoke_run_reads_every_instrument_and_is_kept(tmp_path, monkeypatch):
    store, design = RunStore(), [(CLEAN, 1), (HALF, 1)]
    try: data = calibrate("smoke", design, workers=0, store=store)
    except UserError as error: pytest.skip(str(error))
    assert set(data.row) == {"clean", "word salad 50%"} and np.isfinite(data.value).all()
    assert {PRIMARY, SECONDARY, TRIGRAM + PRIMARY, TRIGRAM + SECONDARY, "cloze", "order margin"} <= set(
        data.column
    ) and data.column.nunique() == 20
    assert calibrate("smoke", design, workers=0, store=store).equals(data) and not any(
        any(store.get(key).folder.iterdir()) for key in set(data.run)
    )
    clean = {"commit": "0" * 40, "dirty": False}
    real = RunStore.get

    def told(git):
        return lambda self, key, full=False: type(run := real(self, key))(run.path, {**run.manifest, "git": git})

    monkeypatch.setattr(RunStore, "get", told({**clean, "dirty": True}))
    with pytest.raises(UserError, match="2 of 2 runs were made with uncommitted changes"):
        write_calibration(data, store, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    monkeypatch.setattr(RunStore, "get", told(clean))
    settings = pool_settings(profile("smoke").study)
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "pool_settings", lambda study: {**settings, "vocab_size": 4096})
        with pytest.raises(UserError, match="2 of 2 runs are not those that the study makes today"):
            write_calibration(data, store, tmp_path / "kept")
    write_calibration(data, store, tmp_path)
    assert read_calibration("smoke", tmp_path).value.tolist() == pytest.approx(data.value.tolist(), abs=1e-6)
