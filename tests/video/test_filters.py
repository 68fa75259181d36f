"""Filters: shares, ties and missing values by any set of numbers; two passes equal one; reasons and books."""
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.video.filters import LARGE_SET, SEARCHED, Cut, Rule, filter_clips, reason, settle

few = settings(max_examples=60, deadline=None)
VALUES = st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(math.nan), st.none()), min_size=1, max_size=30)
known = lambda values: [v for v in values if v is not None and not math.isnan(v)]


@few
@given(VALUES, st.floats(0, 0.99), st.booleans())
def test_a_share_is_never_exceeded_and_equal_values_have_one_fate(values, share, too_high):
    if not known(values): return
    cut = settle(Rule("m", too_high, share=share, keep_missing=True), values)
    gone = [v for v in known(values) if cut.drops(v)]
    assert len(gone) <= share * len(known(values)) + 1e-6
    # one value more would be too much
    worse = sorted(known(values), reverse=too_high)
    assert len(gone) + worse.count(cut.threshold) > math.floor(share * len(worse) + 1e-9)
    assert cut.measured + cut.missing == len(values) and cut.ties == worse.count(cut.threshold)


@pytest.mark.parametrize("share", [k / 20 for k in range(20)])
def test_without_ties_a_share_is_exact(share):
    assert sum(map(settle(Rule("m", share=share), range(20)).drops, range(20))) == round(20 * share)


def test_high_is_the_mirror_of_low():
    values = np.random.default_rng(0).normal(size=50)
    low, high = settle(Rule("m", share=0.3), values), settle(Rule("m", True, share=0.3), -values)
    assert low.threshold == -high.threshold


def test_missing_values():
    for keeps in (False, True):
        cut = settle(Rule("m", limit=1.0, keep_missing=keeps), [0.0, None, math.nan])
        assert (cut.measured, cut.missing) == (1, 2)
        assert cut.drops(None) == cut.drops(math.nan) == (not keeps)


def test_two_passes_over_a_stream_equal_one_over_a_table():
    rng = np.random.default_rng(1)
    clips = [{rule.measure: float(v) for rule, v in zip(LARGE_SET, row)} for row in rng.random((200, 4))]
    clips[3]["motion"] = None
    table = {rule.measure: [clip[rule.measure] for clip in clips] for rule in LARGE_SET}
    outcome = filter_clips(LARGE_SET, table)
    cuts = [settle(rule, (clip[rule.measure] for clip in clips)) for rule in LARGE_SET]
    assert tuple(cuts) == outcome.cuts
    reasons = [reason(cuts, clip) for clip in clips]
    assert [why is not None for why in reasons] == outcome.removed.tolist()
    # every clip that goes has one reason, and reasons are counted where they come first
    firsts = [round(row["first"] * len(clips)) for row in outcome.rows()]
    assert sum(firsts) == outcome.removed.sum()
    assert firsts == [sum(why is not None and why.startswith(rule.measure) for why in reasons) for rule in LARGE_SET]
    assert reasons[3] == "motion missing"


def test_the_order_of_rules_changes_reasons_only():
    table = dict(zip((rule.measure for rule in SEARCHED), np.random.default_rng(2).random((4, 300)).tolist()))
    one, other = filter_clips(SEARCHED, table), filter_clips(SEARCHED[::-1], table)
    assert (one.removed == other.removed).all() and one.cuts == other.cuts[::-1]


def test_arithmetic_of_the_paper():
    table = dict(zip((rule.measure for rule in SEARCHED), np.random.default_rng(3).normal(size=(4, 20_000))))
    outcome = filter_clips(SEARCHED, table)
    assert outcome.independent_share == pytest.approx(0.75**3 * 0.5) == pytest.approx(0.2109, abs=1e-4)
    assert outcome.kept_share == pytest.approx(outcome.independent_share, abs=0.01)


def test_cuts_survive_a_file():
    cut = settle(Rule("m", share=0.4), [1, 2, 3, 4, None])
    assert Cut.from_dict(json.loads(json.dumps(cut.to_dict()))) == cut


@pytest.mark.parametrize("call", [
    lambda: Rule("m"), lambda: Rule("m", share=0.5, limit=1), lambda: Rule("m", share=1.0),
    lambda: Rule("m", limit=math.inf), lambda: settle(Rule("m", share=0.5), [None]),
    lambda: filter_clips(LARGE_SET, {"motion": [1]}), lambda: Cut.from_dict({}),
    lambda: filter_clips(LARGE_SET[:2], {"motion": [1], "text_area": [1, 2]}),
    lambda: filter_clips(LARGE_SET[1:2], {"text_area": []}),
])
def test_errors_are_one_line(call):
    with pytest.raises(UserError) as error: call()
    assert "\n" not in str(error.value)
