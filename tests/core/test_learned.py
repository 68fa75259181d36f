"""No learned part decides anything before it beats what needs no learning."""
import math

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.learned import Learned, learned_table


@pytest.mark.parametrize(
    "value, lower, margin, passes",
    [
        (0.95, False, 0.4, True),
        (0.9, False, 0.4, True),
        (0.89, False, 0.4, False),
        (0.5, False, 0.0, False),
        (0.4, False, 0.0, False),
        (0.1, True, 0.4, True),
        (0.2, True, 0.4, False),
        (math.nan, False, 0.0, False),
        (math.inf, False, 0.0, False),
        (-math.inf, True, 0.0, False),
    ],
)
def test_a_part_passes_only_where_it_is_better_by_its_margin(value, lower, margin, passes):
    part = Learned("the part", "measure", value, 0.5, "a coin", lower, margin, n=10)
    assert part.passes is passes
    if passes: assert part.require() is part
    else:
        with pytest.raises(UserError, match="the part has not learned: measure"): part.require()


def test_the_refusal_is_one_line_and_names_what_was_measured():
    with pytest.raises(UserError) as found: Learned("x", "AUC", 0.5, 0.5, "a coin", margin=0.4, n=7).require()
    assert "\n" not in str(found.value) and "7 held-out items" in str(found.value) and "0.4 better" in str(found.value)


def test_evidence_survives_a_manifest():
    part = Learned("x", "AUC", 0.9, 0.5, "a coin", n=3)
    assert Learned(**part.as_dict()) == part


def test_the_table_says_no_where_a_part_did_not_learn():
    table = learned_table([
        Learned("x", "AUC", 0.9, 0.5, "a coin", margin=0.4),
        Learned("y", "loss", 2.0, 1.0, "mean", lower=True),
    ])
    assert list(table["learned"]) == ["yes", "NO"] and list(table["needed"]) == ["≥ 0.900", "better"]
