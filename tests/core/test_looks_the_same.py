"""Scores, flags and texts give one result, in whatever row of values they come."""
from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.curation.decontamination import NgramIndex, decontaminate
from dclm_nb.curation.lm_filters import TokenScores
from dclm_nb.curation.minhash import curve_distance, duplicate_probability
from dclm_nb.curation.pipeline import CurationConfig
from dclm_nb.curation.quality import (
    auc, draws_of, keep_best, keep_drawn, keep_random, log_loss, percentile_threshold, score_spread,
)
from dclm_nb.curation.tokens import train_tokenizer
from dclm_nb.exhibits.render import format_like
from dclm_nb.judging.instrument import alarm_rate, compare
from dclm_nb.judging.precision_recall import precision_recall
from dclm_nb.judging.preference import votes_from_scores, win_rate
from dclm_nb.judging.separation import separation

SCORES, OTHERS = [0.25, 0.5, 0.75, 0.125], [0.5, 0.25, 0.625, 0.875]     # a half-precision number holds each of them
FORMS = {
    "array": np.array, "single": lambda v: np.array(v, "f4"), "half": lambda v: np.array(v, "f2"),
    "objects": lambda v: np.array(v, object), "tensor": torch.tensor, "bfloat16": lambda v: torch.tensor(v).bfloat16(),
    "trained": lambda v: torch.tensor(v, requires_grad=True), "tensors": lambda v: [torch.tensor(x) for x in v],
    "column": lambda v: pd.Series(v, index=range(5, 5 + len(v))), "index": pd.Index, "arrow": pa.array, "tuple": tuple,
    "generator": lambda v: (x for x in v), "map": lambda v: map(float, v), "deque": deque,
    "values": lambda v: dict(enumerate(v)).values(), "0-d arrays": lambda v: [np.array(x) for x in v],
}
OF_SCORES = {
    "auc": lambda v: auc(v(SCORES), v(OTHERS)), "log_loss": lambda v: log_loss(v(SCORES), v(OTHERS)),
    "score_spread": lambda v: score_spread(v(SCORES)).value,
    "threshold": lambda v: percentile_threshold(v(SCORES), 0.5), "keep_best": lambda v: keep_best(v(SCORES), 0.5),
    "keep_drawn": lambda v: keep_drawn(v(SCORES), 0.5),
    "votes": lambda v: votes_from_scores("a", "b", v(SCORES), v(OTHERS)),
    "separation": lambda v: separation(v(SCORES), [True, False, True, False], resamples=20),
    "alarm_rate": lambda v: alarm_rate(v(SCORES)), "compare": lambda v: compare("i", "n", v(SCORES), v(OTHERS)),
    "duplicate_probability": lambda v: duplicate_probability(v(SCORES), 4, 2),
    "token scores": lambda v: TokenScores(v(SCORES), v(OTHERS)).logprobs.mean(),
}


def same(found, right) -> bool:
    if isinstance(right, (np.ndarray, np.floating, float)):
        return np.allclose(np.asarray(found, float), np.asarray(right, float), atol=1e-6)
    return found == right


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OF_SCORES)
def test_scores(name, form):
    if name in ("token scores", "duplicate_probability") and form == "half": return     # computed in what they came in
    assert same(OF_SCORES[name](FORMS[form]), OF_SCORES[name](list))


FLAGS = {
    "array": np.array, "numbers": lambda v: np.array(v, int), "floats": lambda v: np.array(v, float),
    "tensor": torch.tensor,
    "column": pd.Series, "objects": lambda v: pd.Series(v, dtype=object), "ints": lambda v: list(map(int, v)),
    "arrow": pa.array, "generator": lambda v: (x for x in v), "of numpy": lambda v: list(map(np.bool_, v)),
}


@pytest.mark.parametrize("form", FLAGS)
def test_flags(form):
    flags = [True, False, False, True]
    assert separation(SCORES, FLAGS[form](flags), resamples=20) == separation(SCORES, flags, resamples=20)


TEXTS = ["a b c d e f g", "h i j k l m n", "a b c d e f g", "other text"]
OF_TEXTS = {
    "pool": lambda v, path: decontaminate(v(TEXTS), ["a b c d"], 3).kept.tolist(),
    "evaluation": lambda v, path: decontaminate(TEXTS, v(TEXTS[:1]), 3).kept.tolist(),
    "index": lambda v, path: NgramIndex(v(TEXTS), 3).numbers.tolist(),
    "draws": lambda v, path: draws_of(v(TEXTS)).tolist(),
    "keep_random": lambda v, path: keep_random(v(TEXTS), 0.5).tolist(),
    "items": lambda v, path: votes_from_scores("a", "b", SCORES, OTHERS, v(TEXTS)),
}


@pytest.mark.parametrize("name", OF_TEXTS)
@pytest.mark.parametrize("form", ["array", "objects", "column", "index", "arrow", "tuple", "generator", "deque",
                                  "strings", "chunks", "keys"])
def test_texts(name, form, tmp_path):
    more = {"strings": lambda v: pd.Series(v, dtype="string"), "chunks": lambda v: pa.chunked_array([v]),
            "keys": lambda v: dict(enumerate(v)).values()}
    assert OF_TEXTS[name]((FORMS | more)[form], tmp_path) == OF_TEXTS[name](list, tmp_path)


def test_a_tokenizer_from_a_column_of_a_table(tmp_path):
    one, other = train_tokenizer(TEXTS, tmp_path / "a", 300), train_tokenizer(pa.array(TEXTS), tmp_path / "b", 300)
    text = lambda found: Path(found).read_bytes() if isinstance(found, (str, Path)) else found.to_str()
    assert text(one) == text(other)


def test_votes_and_vectors_and_pairs():
    votes = votes_from_scores("a", "b", SCORES, OTHERS, np.arange(4))
    assert [vote.item for vote in votes] == [0, 1, 2, 3] and all(type(vote.item) is int for vote in votes)
    for given in (tuple(votes), (vote for vote in votes), deque(votes)):
        assert win_rate(given, "a", "b", ties=np.str_("half")) == win_rate(votes, "a", "b", ties="half")
    vectors = np.random.default_rng(0).normal(size=(2, 12, 3))
    right = precision_recall(*map(torch.tensor, vectors))
    for form in (list, np.array, np.ndarray.tolist): assert precision_recall(*map(form, vectors)) == right
    for form in (list, np.array, torch.tensor, tuple, pd.Series):
        assert curve_distance(form([4, 2]), form([3, 2])) == curve_distance((4, 2), (3, 2))


def test_paths_and_nan():
    assert CurationConfig(classifier=Path("a"), tokenizer=Path("b")) == CurationConfig(classifier="a", tokenizer="b")
    assert CurationConfig(classifier=Path("a")).settings()["classifier"] == "a"
    assert format_like(float("nan")) == format_like(np.float32("nan")) == format_like(float("nan"), "3.5") == "nan"


@pytest.mark.parametrize("attempt", [
    lambda: auc(np.zeros((2, 2)), [1.0]), lambda: log_loss(np.zeros((2, 2)), [1.0]),
    lambda: auc(torch.zeros(2, 2), [1.0]),
    lambda: keep_best(np.zeros((2, 1))), lambda: keep_drawn([[1.0]]), lambda: score_spread(np.array(["a"])),
    lambda: auc({0.5}, [1.0]), lambda: auc("ab", [1.0]), lambda: alarm_rate([1.0, float("nan"), 2.0]),
    lambda: alarm_rate(np.array([1.0, np.nan, 2.0])), lambda: alarm_rate([1.0, float("inf"), 2.0]),
    lambda: keep_random(set(TEXTS)), lambda: decontaminate({"a": "b"}, TEXTS), lambda: separation(SCORES, [2, 0, 1, 1]),
])
def test_what_is_no_row_is_refused_in_a_line(attempt):
    with pytest.raises(UserError) as refused: attempt()
    assert "\n" not in str(refused.value)
