"""Probes: made deterministically, balanced, answerable, and blind where there is nothing to see."""
import math

import numpy as np
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.core.seeds import seed_for
from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.icl import score_task
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.probes import (
    PROBES, EncodedSuite, ProbeScore, bits_per_byte, build_suite, leading, score_suite, text_rows,
)


class Bytes:
    def encode(self, text, add_special_tokens=False): return list(text.encode())


@pytest.fixture(scope="module")
def articles():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 9))) for _ in range(300)]
    sentence = lambda: " ".join(rng.choice(words, rng.integers(5, 12))).capitalize() + "."
    return {source: [" ".join(sentence() for _ in range(12)) for _ in range(30)] for source in ("one", "two")}


@pytest.mark.parametrize("name", PROBES)
def test_questions_are_well_formed(articles, name):
    records = PROBES[name](articles, 20)
    assert 30 <= len(records) <= 40 and {r["category"] for r in records} == {"one", "two"}
    for record in records:
        assert len(set(record["choices"])) == len(record["choices"]) == 4 and 0 <= record["gold"] < 4
        text = next(
            t
            for t in articles[record["category"]]
            if " ".join(t.split()).startswith(record["query"]) or record["query"] in " ".join(t.split())
        )
        assert f"{record['query']} {record['choices'][record['gold']]}" in " ".join(text.split())
    assert len({r["gold"] for r in records}) == 4


@pytest.mark.parametrize("name", PROBES)
def test_a_question_depends_only_on_its_own_article_where_it_can(articles, name):
    assert PROBES[name](articles, 20) == PROBES[name](articles, 20) != PROBES[name](articles, 20, seed=1)
    if name == "order":
        fewer = {source: texts[::2] for source, texts in articles.items()}
        questions = {r["query"]: r for r in PROBES[name](articles, 30)}
        assert all(questions[r["query"]] == r for r in PROBES[name](fewer, 15))


def test_options_of_the_order_probe_have_the_same_words(articles):
    for record in PROBES["order"](articles, 20):
        assert len({tuple(sorted(choice.split())) for choice in record["choices"]}) == 1


def test_a_model_without_knowledge_is_at_chance(articles):
    """Random preferences: the centred accuracy must be zero within what the number of questions allows."""
    suite = EncodedSuite(build_suite(articles, 5, 30), Bytes(), context_length=512)
    def indifferent(ids):
        generator = torch.Generator().manual_seed(seed_for(*map(int, ids.flatten()[:50])) % 2**31)
        return torch.randn(*ids.shape, 256, generator=generator)
    scores = score_suite(indifferent, suite, remember=False)
    for name in PROBES: assert scores[name].interval(0.999).covers(0), (name, scores[name].value)


def test_probes_are_what_score_task_scores(articles):
    model = OpenLM(OpenLMConfig(width=64, n_layers=2, n_heads=4, vocab_size=256, seq_len=256)).eval()
    suite = build_suite(articles, 4, 10)
    scores = score_suite(model, EncodedSuite(suite, Bytes(), context_length=512))
    for name, records in suite.records.items():
        task = score_task(model, Bytes(), {"name": name, "type": "multiple_choice"}, records, context_length=512)
        assert abs((task.score - 0.25) / 0.75 - scores[name].value) < 1e-9
    per_source = [scores[f"bits per byte, {source}"].value for source in suite.texts]
    assert abs(scores["bits per byte"].value - np.mean(per_source)) < 1e-9
    for source, texts in suite.texts.items():
        assert (
            abs(
                bits_per_byte(model, Bytes(), texts, context_length=512).per_byte
                - scores[f"bits per byte, {source}"].value
            )
            < 1e-6
        )


def test_bits_of_a_uniform_model_and_every_token_once():
    bits = bits_per_byte(lambda ids: torch.zeros(*ids.shape, 256), Bytes(), ["é" * 10, "abc"], context_length=7)
    assert bits.bytes.tolist() == [20, 3] and math.isclose(bits.per_byte, 8, rel_tol=1e-6)
    rows = text_rows(list(range(100, 120)), 7, 0)
    assert (
        [i for row in rows for i in row.ids[1:]] == list(range(100, 120))
        and rows[1].ids[0] == 106
        and max(len(r.ids) for r in rows) == 8
    )


@pytest.mark.parametrize("right, n", [(0, 40), (40, 40), (10, 40)])
def test_intervals_have_width_even_at_the_edges(right, n):
    items = np.array([1.0] * right + [-1 / 3] * (n - right))
    interval = ProbeScore("cloze", float(items.mean()), items, chance=0.25).interval()
    assert interval.low < interval.high and interval.covers(items.mean()) and abs(interval.mid - items.mean()) < 1e-9


def test_leading_ends_at_a_word():
    assert leading("ab cd ef", 7) == "ab cd" and leading("ab", 7) == "ab" and leading("x" * 20, 7) == "x" * 7


def test_questions_that_do_not_fit_are_counted(articles):
    suite = build_suite(articles, 2, 10)
    short = EncodedSuite(suite, Bytes(), context_length=85)
    assert short.truncated["order"] > 0 and short.left_out["order"] + len(short.prompts["order"]) == len(
        suite.records["order"]
    )
    with pytest.raises(UserError, match="no question of probe"): EncodedSuite(suite, Bytes(), context_length=3)
