"""What quality scoring holds in memory does not grow with the pool: measured in processes of their own."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dclm_nb.curation import quality
from dclm_nb.curation.quality import (
    ClassifierConfig, draws_of, keep_drawn, keep_random, quality_scores, train_classifier)
from dclm_nb.stages.documents import json_lines, load_documents, shard_file

FEW, MANY = 1_500, 15_000
WORDS = "the river of the town was first described by an engineer and is used in every school today ".split()
SMALL = ClassifierConfig(dim=8, bucket=50_000)

MEASURED = """
import json, re, sys
from pathlib import Path
from dclm_nb.curation import crawl_texts, quality
from dclm_nb.curation.blocks import ScoreQuality, TrainQuality

what, folder = sys.argv[1], Path(sys.argv[2])
chosen = []
if what == "train":
    crawl_texts.positive_passages = lambda: [(f"{kind} {i}", f"good {i}") for kind in "abcd" for i in range(100)]
    class Tuned:
        path, learned, config = folder / "model.bin", (), quality.ClassifierConfig()
        def require(self): return self
    def tune(positives, negatives, *args, **options):
        chosen.extend(negatives)
        return Tuned()
    quality.tune_classifier = tune
    block = TrainQuality(folder, folder / "pool", quality.ClassifierConfig(), seed=3)
else: block = ScoreQuality(folder, folder / "pool", 1)
assert list(block.run(None, 0, 1)) == []
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([peak, chosen]))
"""


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    "{size: a folder with a pool of so many pages of 6 kB, and a classifier}."
    made, rng = {}, np.random.default_rng(0)
    for n in (FEW, MANY):
        folder = made[n] = tmp_path_factory.mktemp(f"pool{n}")
        (folder / "pool").mkdir()
        page = " ".join(rng.permutation(WORDS * 64))
        with json_lines(shard_file(folder / "pool", 0)) as write:
            for i in range(n): write(dict(text=f"page {i} {page}", id=str(i), metadata=dict(shard=0)))
        model = train_classifier(["a good text"] * 20, ["bad words"] * 20, folder, SMALL)
        model.rename(folder / "model.bin")
        (folder / "classifier.json").write_text(json.dumps(dict(model="model.bin")))
    return made


def measured(what, folder) -> tuple[float, list[str]]:
    "(peak in MB, what was chosen to learn from) of a block in a process of its own."
    known = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED, what, folder], capture_output=True, text=True, env=known)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, chosen = json.loads(done.stdout.splitlines()[-1])
    return peak / 1024, chosen


@pytest.mark.parametrize("what", ["score", "train"])
def test_ten_times_the_pages_take_no_more_memory(pools, what):
    (few, _), (many, chosen) = measured(what, pools[FEW]), measured(what, pools[MANY])
    assert many < 1.2 * few, f"{few:.0f} MB for {FEW:,} pages and {many:.0f} MB for {MANY:,}"
    texts = [d.text for d in load_documents(pools[MANY] / "pool")]
    if what == "score":
        scores = np.load(pools[MANY] / "scores/00000.npy")
        assert scores.shape == (MANY,) and scores.dtype == np.float64
        some = [0, 255, 256, 257, 511, 512, MANY - 1]
        model = quality.load_classifier(pools[MANY] / "model.bin", tried=True)
        assert scores[some].tolist() == [float(quality_scores([texts[i]], model)[0]) for i in some]
    else:
        from dclm_nb.curation.crawl_texts import EXAMPLE_WORDS
        assert 400 <= len(chosen) <= 4800
        kept = keep_random(texts, len(chosen) / len(texts), 3)
        assert chosen == [quality.drawn_passage(t, EXAMPLE_WORDS, 3) for t, k in zip(texts, kept) if k]


def test_scores_of_a_stream_are_those_of_a_list(pools):
    model = quality.load_classifier(pools[FEW] / "model.bin", tried=True)
    for n in (0, 1, 255, 256, 257, 700):
        texts = [f"text {i}\nof river {i % 7}" for i in range(n)]
        assert quality_scores(iter(texts), model).tolist() == quality_scores(texts, model).tolist()
        assert quality_scores(texts, model).shape == (n,)


def test_a_choice_by_draws_is_that_by_texts():
    texts = [f"text {i % 90}" for i in range(100)]
    for fraction in (0.01, 0.1, 0.5, 1.0):
        assert keep_drawn(draws_of(iter(texts), 5), fraction).tolist() == keep_random(texts, fraction, 5).tolist()


def test_the_models_of_trials_are_not_kept(tmp_path, monkeypatch):
    "Eight are tried, and at the paper's size each takes 0.8 GB."
    import gc
    import weakref
    import fasttext
    alive, real = weakref.WeakSet(), fasttext.load_model
    def loaded(path):
        alive.add(model := real(path))
        return model
    monkeypatch.setattr(fasttext, "load_model", loaded)
    good, bad = ([f"{w} {i} {x} {i * 7 % 13}" for i in range(60)] for w, x in (("good", "river"), ("bad", "sale")))
    quality.tune_classifier(good, bad, tmp_path, SMALL)
    gc.collect()
    assert len(alive) == 0
