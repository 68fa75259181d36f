"""Whole numbers that no float holds, and tensors that hold no numbers of ours, are one line at every door for data."""
import math

import numpy as np
import pytest
import torch

from dclm_nb.core.doors import held
from dclm_nb.core.errors import UserError
from dclm_nb.judging.frechet import feature_statistics, frechet_distance
from dclm_nb.judging.instrument import compare
from dclm_nb.judging.precision_recall import precision_recall
from dclm_nb.judging.preference import votes_from_scores
from dclm_nb.judging.separation import separation
from dclm_nb.video.conditioning import fit_motion_scale, fps_id
from dclm_nb.video.filters import Rule, settle

USES = {
    "settle": lambda one: settle(Rule("motion", share=0.5), [1.0, one]),
    "fit_motion_scale": lambda one: fit_motion_scale([1.0 * i for i in range(1, 9)] + [one]),
    "fps_id": lambda one: fps_id([0.0, one]),
    "votes": lambda one: votes_from_scores("a", "b", [one, 1.0], [1.0, 2.0], ["x", "y"]),
    "separation": lambda one: separation([one, 1.0], [True, False], resamples=5),
    "compare": lambda one: compare("a", "b", [one, 1.0], [1.0, 2.0], "+"),
    "list": lambda one: held("x", [one], list[float]),
    "maybe": lambda one: held("x", [one, None], list[float | None]),
    "array": lambda one: held("x", [one, 1.0], np.ndarray),
    "table": lambda one: held("x", [[one, 1.0], [1.0, 2.0]], np.ndarray),
    "tensor": lambda one: held("x", [one, 1.0], torch.Tensor),
    "number": lambda one: held("x", one, float),
}


@pytest.mark.parametrize("name", USES)
def test_a_whole_number_beyond_all_floats_is_one_line(name):
    for one in (10**400, -(10**400)):
        with pytest.raises(UserError) as said: USES[name](one)
        assert "\n" not in str(said.value) and len(str(said.value)) < 400


@pytest.mark.parametrize("name", [name for name in USES if name != "table"])
def test_a_large_whole_number_is_that_float(name):
    for one in (2**53, 2**63, 2**70):
        found, wanted = USES[name](one), USES[name](float(one))
        assert repr(found) == repr(wanted) or isinstance(found, (list, int)) and found == wanted


def test_groups_of_any_names(recwarn):
    flags, scores = [True, False, True, False], [1.0, 2.0, 3.0, 0.5]
    for groups in ([None] * 4, [None, "a", 1, None], ["a", "b", "a", "b"], [math.nan] * 4):
        assert 0 <= separation(scores, flags, groups, resamples=5).mid <= 1
    with pytest.raises(UserError): separation(scores, flags, [[], [], {}, []], resamples=5)


REAL = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("odd", [REAL.to("meta"), REAL.to_sparse(), REAL.to(torch.complex64)],
                         ids=["meta", "sparse", "complex"])
def test_features_that_are_no_real_numbers_are_one_line(odd):
    for use in (feature_statistics, lambda x: frechet_distance(x, REAL), lambda x: frechet_distance(REAL, x),
                lambda x: precision_recall(x, REAL, 2), lambda x: precision_recall(REAL, x, 2)):
        with pytest.raises(UserError) as said: use(odd)
        assert "\n" not in str(said.value) and len(str(said.value)) < 400
