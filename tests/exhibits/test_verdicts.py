"""Verdicts: each kind of test reaches each outcome it can have, and the modest limits hold."""
import math

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dclm_nb.core.scale import SCALES
from dclm_nb.exhibits.catalogue import get_exhibit
from dclm_nb.exhibits.claims import KINDS, Claim, Test, read_claims
from dclm_nb.exhibits.verdicts import ORDER, VERDICTS, Contrast, Numbers, contrasts, judge, judge_exhibit, numbers_of, printed_numbers, verdict_table
from dclm_nb.studies.frames import read_printed, tidy

Test.__test__ = False


def numbers(values: dict, source="rerun", noise=0.01, rounding=0.0):
    """{(row, column): value} as seeds with a common and a small own deviation, or as a single number."""
    if source != "rerun": return Numbers(source, {("table-4", r, c): {None: v} for (r, c), v in values.items()}, {("table-4", r, c): rounding for r, c in values})
    return Numbers(source, {("table-4", r, c): {s: v + 0.5 * s + noise * math.sin(7 * k + 3 * s) for s in range(4)} for k, ((r, c), v) in enumerate(values.items())})


def claim(*tests, **more): return Claim("dclm", "claim-0", "a sentence", "nowhere", "table-4", tests, **more)


ABOVE = Test("above", "table-4", ("core",), (("a", "b"),), margin=1.0)
ORDERING = Test("ordering", "table-4", ("core",), rows=("a", "b", "c"))
EQUAL = Test("equal", "table-4", ("core",), (("a", "b"),), margin=1.0)
RATIO = Test("ratio", "table-4", ("core",), (("a", "b"),), margin=2.0)
BOUND = Test("bound", "table-4", ("core",), rows=("a",), at_least=5.0)
AT_MOST = Test("bound", "table-4", ("core",), rows=("a",), at_most=5.0)
CONCAVE = Test("concave", "table-4", ("core",), rows=("a", "b", "c"))
LOWER = Test("above", "table-4", ("core",), (("a", "b"),), margin=1.0, lower=True)
of = lambda *values: {(row, "core"): value for row, value in zip("abcdef", values)}


@pytest.mark.parametrize("test, values, outcome", [
    (ABOVE, of(3, 1), "reproduced"), (ABOVE, of(1.5, 1), "same direction"), (ABOVE, of(1, 1), "inconclusive"), (ABOVE, of(0, 1), "not reproduced"),
    (LOWER, of(1, 3), "reproduced"), (LOWER, of(3, 1), "not reproduced"),
    (ORDERING, of(3, 2, 1), "reproduced"), (ORDERING, of(3, 2, 2), "inconclusive"), (ORDERING, of(3, 1, 2), "not reproduced"),
    (EQUAL, of(1.2, 1), "reproduced"), (EQUAL, of(2, 1), "inconclusive"), (EQUAL, of(4, 1), "not reproduced"), (EQUAL, of(1, 4), "not reproduced"),
    (CONCAVE, of(1, 3, 4), "reproduced"), (CONCAVE, of(1, 2, 3), "inconclusive"), (CONCAVE, of(1, 2, 4), "not reproduced"), (CONCAVE, of(3, 2, 1), "not reproduced"),
])
def test_each_outcome_of_a_rerun(test, values, outcome): assert judge(claim(test), numbers(values), "laptop").outcome == outcome


@pytest.mark.parametrize("test, values, rounding, outcome", [
    (RATIO, of(5, 2), 0, "reproduced"), (RATIO, of(3, 2), 0, "same direction"), (RATIO, of(1, 2), 0, "not reproduced"), (RATIO, of(2, 2), 0.05, "inconclusive"),
    (BOUND, of(6), 0.05, "reproduced"), (BOUND, of(5.02), 0.05, "inconclusive"), (BOUND, of(4), 0.05, "not reproduced"), (AT_MOST, of(4), 0, "reproduced"), (AT_MOST, of(6), 0, "not reproduced"),
    (ABOVE, of(1.05, 1.0), 0.05, "inconclusive"), (ABOVE, of(1.2, 1.0), 0.05, "same direction"), (ABOVE, of(3, 1), 0.05, "reproduced"),
])
def test_each_outcome_of_a_printed_number(test, values, rounding, outcome):
    assert judge(claim(test), numbers(values, "printed", rounding=rounding)).outcome == outcome


def test_correlation():
    wide = lambda ys: {(f"row {k}", c): v for k, y in enumerate(ys) for c, v in (("x", float(k)), ("y", float(y)))}
    test = Test("correlation", "table-4", x="x", y="y", margin=0.6)
    outcome = lambda ys, source: judge(claim(test), numbers(wide(ys), source, noise=0.0), "laptop").outcome
    assert outcome([1, 2, 3, 4, 5], "replayed") == "reproduced" and outcome([5, 4, 3, 2, 1], "replayed") == "not reproduced"
    assert outcome([1, 2, 3, 4, 5, 6, 7, 8.5], "rerun") == "reproduced" and outcome([1, 0, 1, 0, 1, 0], "rerun") == "inconclusive"
    assert outcome([1, 2], "replayed") == "not run"                                   # two points always lie on a line


def test_the_kinds_are_closed_and_all_are_used_or_tested():
    assert {t.kind for c in read_claims("all") for t in c.tests} == set(KINDS)


def test_nothing_may_be_claimed_from_smoke_nor_without_numbers():
    for scale in SCALES.values():
        assert judge(claim(ABOVE), numbers({}), scale).outcome == "not run"
        if not scale.may_claim: assert judge(claim(ABOVE), numbers(of(3, 1)), scale).outcome == "not comparable"
    assert judge(claim(ABOVE, not_comparable="closed opponents"), numbers(of(3, 1)), "laptop").outcome == "not comparable"
    assert judge(claim(ABOVE, not_comparable="closed opponents"), numbers(of(3, 1), "replayed"), "laptop").outcome == "reproduced"


def test_a_withheld_claim_is_not_comparable_and_only_as_a_rerun():
    withheld = judge(claim(ABOVE), numbers(of(3, 1)), "laptop", withheld="the gate is closed")
    assert (withheld.outcome, withheld.reason) == ("not comparable", "the gate is closed")
    assert judge(claim(ABOVE), numbers(of(3, 1), "replayed"), "laptop", withheld="the gate is closed").outcome == "reproduced"
    assert judge(claim(ABOVE), numbers({}), "laptop", withheld="the gate is closed").outcome == "not run"


def test_a_missing_comparison_and_a_stand_in_never_reproduce():
    some = Test("above", "table-4", ("core",), (("a", "b"), ("a", "missing")))
    assert judge(claim(some), numbers(of(3, 1)), "laptop").outcome == "same direction"
    stand_in = {("a", "bits_per_byte"): 1.0, ("b", "bits_per_byte"): 2.0}
    verdict = judge(claim(ABOVE, stand_in={"column": "bits_per_byte", "lower": True}), numbers(stand_in), "laptop")
    assert verdict.outcome == "same direction" and "measured by bits per byte" in verdict.reason
    assert judge(claim(EQUAL, stand_in={"column": "bits_per_byte", "lower": True}), numbers(stand_in), "laptop").outcome == "not run"   # a size does not carry over


def test_one_seed_is_inconclusive_and_says_so():
    one = Numbers("rerun", {("table-4", "a", "core"): {7: 3.0}, ("table-4", "b", "core"): {7: 1.0}})
    verdict = judge(claim(ABOVE), one, "laptop")
    assert verdict.outcome == "inconclusive" and "one seed" in verdict.reason
    unpaired = Numbers("rerun", {("table-4", "a", "core"): {1: 3.0, 2: 3.1}, ("table-4", "b", "core"): {3: 1.0, 4: 1.1}})
    assert judge(claim(ABOVE), unpaired, "laptop").outcome == "inconclusive"


def test_pairing_removes_what_seeds_share():
    assert judge(claim(ABOVE), numbers(of(3, 1), noise=0.0), "laptop").outcome == "reproduced"          # the seeds lie 1.5 apart, the pairs do not


@given(st.floats(-5, 5), st.floats(0, 2), st.floats(0, 3))
def test_the_outcome_only_improves_with_the_estimate(estimate, half, needed):
    at = lambda x: ORDER.index(Contrast("", x, x - half, x + half, needed).outcome)
    assert at(estimate) <= at(estimate + 0.5)


@given(st.floats(-5, 5), st.floats(0.01, 2))
def test_reproduced_and_not_reproduced_swap_with_the_sign(estimate, half):
    there, back = (Contrast("", s * estimate, s * estimate - half, s * estimate + half).outcome for s in (1, -1))
    assert (there == "reproduced") == (back == "not reproduced") and (there == "inconclusive") == (back == "inconclusive")


def test_every_row_that_a_claim_of_dclm_names_is_printed():
    for c in read_claims("dclm"):
        for t in c.tests:
            if not get_exhibit(t.exhibit, "dclm").printed_file.is_file(): continue
            printed = {(p.row, p.column) for p in read_printed("dclm", t.exhibit)}
            named = {(r, col) for col in t.columns for r in (*t.rows, *(r for pair in t.pairs for r in pair))}
            assert named <= printed, (c.id, named - printed)


def test_what_the_paper_prints_supports_its_own_sentences():
    outcomes = {c.id: judge(c, printed_numbers("dclm", c.exhibits)).outcome for c in read_claims("dclm")}
    assert "not reproduced" not in outcomes.values() and sum(o == "reproduced" for o in outcomes.values()) >= 24
    assert outcomes["claim-28"] == "inconclusive"                                      # 56.0 against 55.9: within rounding


def test_no_claim_of_the_unread_paper_is_judged_in_print():
    assert {judge(c, printed_numbers("tradeoffs", c.exhibits)).outcome for c in read_claims("tradeoffs")} == {"not run"}


def test_the_table_shows_every_claim_and_source():
    frame = tidy([dict(row=r, column="core", value=v) for r, v in (("RefinedWeb reproduction", 27.54), ("fastText OH-2.5 + ELI5", 30.21))], paper="dclm", exhibit="table-4", source="replayed")
    verdicts = judge_exhibit(get_exhibit("table-4"), frame)
    assert len(verdicts) == 6 and {v.outcome for v in verdicts} <= set(VERDICTS)
    markdown, text = verdict_table(verdicts, 80)
    assert markdown.count("\n") == 4 and max(map(len, text.splitlines())) <= 80


def test_reruns_of_another_scale_are_not_mixed_in():
    frame = pd.concat([tidy([dict(row="a", column="core", value=v, seed=1)], paper="dclm", exhibit="table-4", source="rerun", scale=s) for s, v in (("smoke", 99.0), ("laptop", 1.0))])
    assert numbers_of(frame, "rerun", "laptop").values["table-4", "a", "core"] == {1: 1.0}


def test_contrasts_name_what_is_missing():
    assert contrasts(ORDERING, numbers(of(3, 2)))[1] is None


def test_a_difference_is_that_of_the_table_whichever_way_is_better():
    """A distance of 2 beside one of 9: positive is the claim's way round, and the name says which is taken from which."""
    values = Numbers("printed", {("table-4", row, "core"): {None: value} for row, value in (("near", 2.0), ("far", 9.0))})
    below, above = (contrasts(Test("above", "table-4", ("core",), (("near", "far"),), lower=lower), values)[0] for lower in (True, False))
    assert (below.name, below.estimate) == ("far − near", 7.0) and (above.name, above.estimate) == ("near − far", -7.0)
