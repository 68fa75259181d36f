"""The classifier: the same bytes at every training, its score, its cut, its control."""
import ctypes
import random

import numpy as np
import pytest
from datatrove.data import Document

from dclm_nb.core.errors import UserError
from dclm_nb.curation.blocks import KeepBest
from dclm_nb.curation.quality import (
    EPOCHS,
    RATES,
    ClassifierConfig,
    _held_out,
    keep_best,
    keep_random,
    least_auc,
    load_classifier,
    one_line,
    percentile_threshold,
    quality_scores,
    score_spread,
    train_classifier,
    tune_classifier,
)

SMALL = ClassifierConfig(dim=8, bucket=50_000)


def texts(kind, n, seed):
    rng = random.Random(seed)
    words = {
        "good": "river stone theory because however ancient study engine treaty poem".split(),
        "bad": "buy cheap online deal click offer win free cash bonus".split(),
        "same": "one bag of words for both of them".split(),
    }[kind]
    return [" ".join(rng.choice(words + ["the", "of", "and", "to"]) for _ in range(40)) for _ in range(n)]


def test_training_twice_gives_the_same_bytes_even_after_memory_was_dirtied(tmp_path):
    good, bad = texts("good", 200, 0), texts("bad", 200, 1)
    first = train_classifier(good, bad, tmp_path / "a", SMALL)
    for size in (1 << 18, 1 << 20, 1 << 22): ctypes.memset(ctypes.create_string_buffer(size), 0xAB, size)
    second = train_classifier(good, bad, tmp_path / "b", SMALL)
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    assert (
        train_classifier(good, bad, tmp_path / "c", ClassifierConfig(dim=8, bucket=50_000, seed=1)).name != first.name
    )


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
    assert sorted(load_classifier(train_classifier(texts("good", 100, 0), spoiled, tmp_path, SMALL)).get_labels()) == [
        "__label__cc",
        "__label__hq",
    ]


def test_threshold_and_ties():
    scores = np.arange(1000) / 1000
    assert keep_best(scores, 0.1).sum() == 100 and keep_best(np.repeat([0, 1], 5), 0.1).sum() == 5
    for bad in (0, 1.5, -1):
        with pytest.raises(UserError): percentile_threshold(scores, bad)


@pytest.mark.parametrize("seed", range(6))
def test_the_pipeline_and_the_studies_keep_the_same_documents(tmp_path, seed):
    "Ties at the threshold, and scores that differ by less than a millionth, as fastText's often do."
    rng = np.random.default_rng(seed)
    scores = rng.choice([rng.random(40) * 1e-6, rng.random(40), np.repeat(rng.random(4), 10)][seed % 3], 200)
    sizes, fraction = rng.multinomial(200, np.ones(5) / 5), (0.1, 0.25)[seed % 2]
    docs, shards = [], np.repeat(np.arange(5), sizes)
    for i, shard in enumerate(shards): docs.append(Document(text=str(i), id=str(i), metadata=dict(shard=int(shard))))
    (tmp_path / "scores").mkdir()
    for shard in range(5): np.save(tmp_path / "scores" / f"{shard:05d}.npy", scores[shards == shard])
    kept = []
    for rank in range(2):
        mine = [d for s in range(rank, 5, 2) for d in docs if d.metadata["shard"] == s]
        kept += [int(d.id) for d in KeepBest(tmp_path / "removed", tmp_path, 5, fraction).run(iter(mine), rank, 2)]
    assert sorted(kept) == np.flatnonzero(keep_best(scores, fraction)).tolist()
    assert all(docs[i].metadata["quality"] == scores[i] for i in kept)
    # a page without a score is not dropped in silence
    with pytest.raises(ValueError): list(KeepBest(tmp_path / "removed", tmp_path, 5, fraction).run(iter(docs[:-1])))


def test_the_cut_is_the_interpolated_percentiles_wherever_that_is_finite():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        scores, fraction = rng.random(rng.integers(2, 300)), rng.uniform(0.01, 0.99)
        assert (keep_best(scores, fraction) == (scores >= np.percentile(scores, 100 * (1 - fraction)))).all()
    assert keep_best(np.array([-np.inf] * 8 + [0.5, 0.7]), 0.1).tolist() == [False] * 9 + [True]
    with pytest.raises(UserError, match="1 of 2 scores are not numbers"): keep_best(np.array([0.5, np.nan]))


def test_random_control_keeps_exactly_its_share_and_ignores_order():
    pool = [f"document {i}" for i in range(1000)]
    kept = keep_random(pool, 0.1, seed=5)
    assert kept.sum() == 100
    order = np.random.default_rng(0).permutation(1000)
    assert (keep_random([pool[i] for i in order], 0.1, seed=5) == kept[order]).all()
    assert 0 < (keep_random(pool, 0.1, seed=6) & kept).sum() < 40


def test_scores_of_a_classifier_that_never_learned_are_refused_before_anything_is_cut(tmp_path):
    """The blessed run of November 2026: 8,247 scores between 0.498 and 0.507. And what must pass: scores near zero that
    differ by factors, as the authors' classifier gives them."""
    (tmp_path / "scores").mkdir()
    rng = np.random.default_rng(0)
    np.save(tmp_path / "scores" / "00000.npy", rng.uniform(0.498, 0.507, 8247))
    with pytest.raises(UserError, match="has not learned"):
        list(KeepBest(tmp_path / "removed", tmp_path, 1, 0.1).run(iter([]), 0, 1))
    assert not score_spread(np.full(100, 0.49999)).passes and not score_spread(np.zeros(100)).passes
    assert score_spread(np.exp(rng.uniform(np.log(1e-5), np.log(0.02), 1000))).passes


def test_the_rate_is_chosen_by_held_out_loss_and_whole_documents_are_held_out(tmp_path):
    ours, theirs = texts("good", 120, 0), texts("bad", 120, 1)
    tuned = tune_classifier(ours, theirs, tmp_path, SMALL, groups=[str(i // 12) for i in range(120)]).require()
    assert tuned.learned[0].value == min(t["log_loss"] for t in tuned.trials) and len(tuned.trials) == len(RATES) * len(
        EPOCHS
    )
    assert (tuned.config.lr, tuned.config.epoch) == min(((t["log_loss"], t["lr"], t["epoch"]) for t in tuned.trials))[
        1:
    ]
    assert [p.name for p in tmp_path.glob("quality-*.bin")] == [tuned.path.name]
    held = _held_out([str(i // 12) for i in range(120)], 0.3, 0)
    assert 0 < held.sum() < 120 and all(len(set(held[g * 12:(g + 1) * 12].tolist())) == 1 for g in range(10))


def test_labels_that_say_nothing_are_not_learned(tmp_path):
    "Both classes from one bag of words: whatever the rate, the evidence says no."
    tuned = tune_classifier(texts("same", 200, 0), texts("same", 200, 1), tmp_path, SMALL)
    assert not all(part.passes for part in tuned.learned)
    with pytest.raises(UserError, match="has not learned"): tuned.require()


def test_the_bar_knows_that_random_pages_hold_good_text():
    assert (
        least_auc(0.0) == 0.9 and least_auc(0.22) == pytest.approx(0.9 * 0.78 + 0.11) and least_auc() == least_auc(0.3)
    )
