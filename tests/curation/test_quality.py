"""The classifier: the same bytes at every training, its score, its cut, its control."""
import ctypes
import random

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.curation.quality import ClassifierConfig, keep_best, keep_random, load_classifier, one_line, percentile_threshold, quality_scores, train_classifier

SMALL = ClassifierConfig.at_scale("smoke")


def texts(kind, n, seed):
    rng = random.Random(seed)
    words = {"good": "river stone theory because however ancient study engine treaty poem".split(), "bad": "buy cheap online deal click offer win free cash bonus".split()}[kind]
    return [" ".join(rng.choice(words + ["the", "of", "and", "to"]) for _ in range(40)) for _ in range(n)]


def test_training_twice_gives_the_same_bytes_even_after_memory_was_dirtied(tmp_path):
    good, bad = texts("good", 200, 0), texts("bad", 200, 1)
    first = train_classifier(good, bad, tmp_path / "a", SMALL)
    for size in (1 << 18, 1 << 20, 1 << 22): ctypes.memset(ctypes.create_string_buffer(size), 0xAB, size)
    second = train_classifier(good, bad, tmp_path / "b", SMALL)
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    assert train_classifier(good, bad, tmp_path / "c", ClassifierConfig(dim=8, bucket=50_000, seed=1)).name != first.name


def test_no_garbage_in_the_untouched_part_of_the_table(tmp_path):
    model = load_classifier(train_classifier(texts("good", 50, 0), texts("bad", 50, 1), tmp_path, SMALL))
    table = model.get_input_matrix()
    assert np.isfinite(table).all() and np.abs(table).max() < 10


def test_it_learns_and_scores_are_probabilities(tmp_path):
    model = train_classifier(texts("good", 300, 0), texts("bad", 300, 1), tmp_path, SMALL)
    good, bad = quality_scores(texts("good", 50, 2), model), quality_scores(texts("bad", 50, 3), model)
    assert good.min() > 0.9 > 0.1 > bad.max() and good.max() < 1.001


def test_score_is_that_of_the_text_on_one_line(tmp_path):
    model = train_classifier(texts("good", 100, 0), texts("bad", 100, 1), tmp_path, SMALL)
    text = "the river\nand the stone\r\nof the treaty"
    a, b = quality_scores([text, one_line(text)], model)
    labels, chances = load_classifier(model).predict(one_line(text), k=2)
    assert a == b == pytest.approx(float(dict(zip(labels, chances))["__label__hq"]), abs=1e-4)


def test_labels_inside_a_text_are_text(tmp_path):
    spoiled = [t + " __label__hq __label__new" for t in texts("bad", 100, 1)]
    assert sorted(load_classifier(train_classifier(texts("good", 100, 0), spoiled, tmp_path, SMALL)).get_labels()) == ["__label__cc", "__label__hq"]


def test_threshold_and_ties():
    scores = np.arange(1000) / 1000
    assert keep_best(scores, 0.1).sum() == 100 and keep_best(np.zeros(10), 0.1).all()
    for bad in (0, 1.5, -1):
        with pytest.raises(UserError): percentile_threshold(scores, bad)


def test_random_control_keeps_exactly_its_share_and_ignores_order():
    pool = [f"document {i}" for i in range(1000)]
    kept = keep_random(pool, 0.1, seed=5)
    assert kept.sum() == 100
    order = np.random.default_rng(0).permutation(1000)
    assert (keep_random([pool[i] for i in order], 0.1, seed=5) == kept[order]).all()
    assert 0 < (keep_random(pool, 0.1, seed=6) & kept).sum() < 40
