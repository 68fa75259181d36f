"""The calibration: planting, the rule, the kept results, and one real smoke run through the store."""
import json

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.studies.calibration import (CLEAN, CONDITIONS, DESIGN, HALF, PHRASES, QUARTER, TENTH, Condition, calibrate, calibration_of, calibration_table, calibration_texts,
                                         effect_of, passes, plant, read_calibration, seed_spread, usable_instruments, write_calibration)
from dclm_nb.studies.frames import tidy

TEXTS = [f"Document {i} says that its words stand in the order in which they were written down." for i in range(300)]
MATERIAL = [f"The {a} of the {b} was seen in the morning by nobody." for a in ("king", "owl", "miller", "ship") for b in ("hill", "town", "sea", "river")]


def frame(drop, spread, seed=0, column="cloze", sign=1):
    rng = np.random.default_rng(seed)
    return tidy([dict(row=c.label, column=column, seed=s, value=rng.normal(-sign * drop.get(c.label, 0), spread), run=f"{c.label}{s}") for c, n in DESIGN for s in range(n)],
                paper="dclm", exhibit="calibration", scale="smoke", source="rerun")


DROP = {HALF.label: 1.0, QUARTER.label: 0.5, TENTH.label: 0.2, PHRASES.label: 0.5}


@pytest.mark.parametrize("condition", CONDITIONS[1:])
def test_planting_replaces_the_share_and_keeps_the_length(condition):
    planted = plant(TEXTS, MATERIAL, condition, 0)
    changed = [(a, b) for a, b in zip(TEXTS, planted) if a != b]
    assert abs(len(changed) / len(TEXTS) - condition.share) < 0.1 and planted == plant(TEXTS, MATERIAL, condition, 0) != plant(TEXTS, MATERIAL, condition, 1)
    for old, new in changed: assert len(old.split()) <= len(new.split()) <= len(old.split()) * 12


def test_smaller_shares_are_parts_of_larger_ones():
    replaced = [{i for i, (a, b) in enumerate(zip(TEXTS, plant(TEXTS, MATERIAL, c, 5))) if a != b} for c in (TENTH, QUARTER, HALF)]
    assert replaced[0] < replaced[1] < replaced[2]


def test_a_seeing_instrument_passes_in_both_directions():
    assert passes(frame(DROP, 0.02), "cloze") and passes(frame(DROP, 0.02, column="bits per byte", sign=-1), "bits per byte")


@pytest.mark.parametrize("drop, spread, fault", [({}, 0.02, "misses planted harm"), (DROP, 2.0, "not sharp"), ({k: -v for k, v in DROP.items()}, 0.02, "misses planted harm")])
def test_blind_noisy_or_inverted_instruments_fail(drop, spread, fault):
    found = calibration_of(frame(drop, spread), "cloze")
    assert not found.passes and fault in found.faults


def test_readings_in_two_clusters_do_not_pass():
    """Clean seeds in two clusters, as a leak of the seed into the reading would make them: halves of equal seeds differ."""
    data = frame(DROP, 0.001)
    clean = data.row == "clean"
    data.loc[clean, "value"] = [0.0, 0.0, 0.0, 5.0, 5.0, 5.0]
    found = calibration_of(data, "cloze")
    assert found.aa.alarms == 1 and found.seed_sd > 1 and not found.passes


def test_effects_pair_by_seed_and_spread_pools_conditions():
    data = frame(DROP, 0.0)
    planted, clean = effect_of(data, "cloze", HALF)
    assert len(planted) == len(clean) == 3 and np.allclose(planted - clean, -1) and seed_spread(data, "cloze") == pytest.approx(0, abs=1e-12)


def test_missing_condition_is_one_line():
    data = frame(DROP, 0.1)
    with pytest.raises(UserError, match="run that condition first"): calibration_of(data[data.row != HALF.label], "cloze")
    with pytest.raises(UserError, match="no calibration 'gpu' is kept"): read_calibration("gpu")
    with pytest.raises(UserError, match="defect"): plant(TEXTS, MATERIAL, Condition("rot", 0.5), 0)
    with pytest.raises(UserError, match="unknown calibration"): calibrate("1B-1x")


def test_kept_laptop_results_follow_from_their_runs():
    """The committed file is whole, is what its manifest says, and carries every condition of the design's first rule."""
    from dclm_nb.core.files import sha256_of
    from dclm_nb.core.paths import project_root
    path = project_root() / "figures/dclm/calibration_laptop.csv"
    kept, manifest = read_calibration(), json.loads(path.with_suffix(".manifest.json").read_text())
    assert sha256_of(path) == manifest["csv_sha256"] and set(kept.run) == {run["key"] for run in manifest["runs"]}
    for run in manifest["runs"]:
        rows = kept[kept.run == run["key"]]
        assert set(rows.seed) == {run["seed"]} and set(rows.row) == {Condition(run["config"]["defect"], run["config"]["share"]).label}
    assert {CLEAN.label, HALF.label, QUARTER.label} <= set(kept.row)
    table = calibration_table(kept)
    assert set(usable_instruments(kept)) == set(table.index[table.verdict == "passes"])


def test_a_smoke_run_reads_every_instrument_and_is_kept(tmp_path):
    try: calibration_texts()
    except UserError as error: pytest.skip(str(error))
    store = RunStore(tmp_path / "runs")
    data = calibrate("smoke", [(CLEAN, 1), (HALF, 1)], store)
    assert set(data.row) == {"clean", "word salad 50%"} and np.isfinite(data.value).all() and data.column.nunique() == 10
    write_calibration(data, store, tmp_path)
    assert read_calibration("smoke", tmp_path).value.tolist() == pytest.approx(data.value.tolist(), abs=1e-6)
    assert calibrate("smoke", [(CLEAN, 1), (HALF, 1)], store).equals(data) and not any((store.root / key / "files" / "model").exists() for key in data.run)
