"""Runs side by side: the same results as one after the other, failures reported, nothing lost."""
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.core.parallel import PlannedRun, run_in_parallel


def double(config, seed, folder):
    "A run: twice x plus the seed."
    (folder / "note.txt").write_text("done")
    return {"value": 2 * config["x"] + seed}


def refuse_three(config, seed, folder):
    "A run that fails for x = 3."
    if config["x"] == 3: raise UserError("three is refused; take another number")
    return {"value": config["x"]}


def test_side_by_side_equals_one_by_one(tmp_path):
    plans = [PlannedRun(f"{x}", double, {"x": x}, seed) for x in range(3) for seed in (0, 1)]
    alone = run_in_parallel(plans, RunStore(tmp_path / "a"), workers=0)
    together = run_in_parallel(plans, RunStore(tmp_path / "b"), workers=2)
    assert (
        [r.result for r in alone]
        == [r.result for r in together]
        == [{"value": 2 * x + s} for x in range(3) for s in (0, 1)]
    )
    assert [r.key for r in alone] == [r.key for r in together]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_is_reported_and_the_rest_is_kept(tmp_path, workers):
    plans = [PlannedRun(str(x), refuse_three, {"x": x}) for x in (1, 3, 5)]
    with pytest.raises(UserError, match="three is refused"): run_in_parallel(plans, RunStore(tmp_path), workers=workers)
    assert plans[0].is_stored(RunStore(tmp_path)) and not plans[1].is_stored(RunStore(tmp_path))
