"Fresh seeds are fresh, and what they are compared at is what the grid chose."
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.claims import claims_of
from dclm_nb.image.config import METHODS
from dclm_nb.studies.tradeoffs.compute_grid import PARTS, best_of, parts_table
from dclm_nb.studies.tradeoffs.fresh_seeds import fresh_frame, fresh_notes, parts_of_seeds, run_fresh


@pytest.fixture
def grid(one_seed_grid): return one_seed_grid


def test_the_seeds_of_the_grid_are_not_fresh(grid):
    with pytest.raises(UserError, match="seeds 0 are the grid's own"): run_fresh(grid, (0, 10))


def test_size_mark_and_guidance_are_those_that_the_grid_chose(grid):
    runs = run_fresh(grid, (10, 11))
    for method in METHODS:
        assert runs.chosen[method] == best_of(grid, method, grid.points_within(grid.levels()[-1]), "loss")[0]
    assert {(m, s) for m, s, _ in runs.judged} == {(m, s) for m in METHODS for s in (10, 11)}
    frame = fresh_frame(runs)
    assert set(frame["seed"]) == {10, 11} and set(frame["column"]) == {
        "prompt_following",
        "relation_right",
        "frechet_distance",
    }
    assert list(parts_of_seeds(runs).columns) == ["prompts all right", *PARTS, "opposite relation"] and set(
        fresh_notes(runs)
    ) == set(METHODS)


def test_every_prediction_asks_for_numbers_that_the_page_has(grid):
    frame = fresh_frame(run_fresh(grid, (10, 11)))
    for claim in claims_of(get_exhibit("extra-fresh-seeds", "tradeoffs")):
        for test in claim.tests:
            assert set(test.columns) <= set(frame["column"]) and {row for pair in test.pairs for row in pair} <= set(
                frame["row"]
            )


def test_the_table_of_parts_has_every_method_at_every_level(grid):
    table = parts_table(grid)
    assert len(table) == len(METHODS) * len(grid.levels()) and list(table.columns) == list(PARTS)
    assert parts_table(None) == "Nothing is rerun at replay."
