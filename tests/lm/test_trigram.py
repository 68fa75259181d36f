"""The trigram reader: equal to a dictionary of counts, sums to one, and reads an article from its own start."""
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from dclm_nb.lm.trigram import TrigramReader, article_bits


class ByHand:
    "The same model with dictionaries, one token at a time."
    def __init__(self, tokens, vocab, discount=0.75):
        self.n, self.vocab, self.d = len(tokens), vocab, discount
        self.counts = [Counter(zip(*(tokens[i:] for i in range(k)))) for k in (1, 2, 3)]
        self.after = [defaultdict(list) for _ in range(3)]
        for k in (1, 2):
            for run, count in self.counts[k].items(): self.after[k][run[:-1]].append(count)

    def p(self, context, token):
        if not context: return (self.counts[0][token,] + 1) / (self.n + self.vocab)
        lower, seen = self.p(context[1:], token), self.after[len(context)].get(tuple(context))
        if not seen: return lower
        own = self.counts[len(context)][*context, token]
        return max(own - self.d, 0) / sum(seen) + self.d * len(seen) / sum(seen) * lower


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_a_dictionary_of_counts(seed):
    rng = np.random.default_rng(seed)
    vocab = int(rng.integers(2, 12))
    tokens = rng.integers(0, vocab, int(rng.integers(3, 300)))
    asked = rng.integers(0, vocab, 60)
    hand, reader = ByHand(tokens.tolist(), vocab), TrigramReader(tokens, vocab)
    want = [hand.p(asked[i - 2:i].tolist(), int(asked[i])) for i in range(2, len(asked))]
    assert np.allclose(reader.probabilities(asked), want, rtol=1e-12)


def test_every_context_sums_to_one_seen_or_not():
    rng = np.random.default_rng(0)
    reader = TrigramReader(rng.integers(0, 20, 500), 30)                 # ten tokens that were never seen
    for context in rng.integers(0, 30, (40, 2)).tolist():
        assert math.isclose(sum(reader.probabilities([*context, z])[0] for z in range(30)), 1, rel_tol=1e-9)


def test_an_article_costs_the_same_alone_and_among_others():
    rng = np.random.default_rng(1)
    reader = TrigramReader(rng.integers(0, 9, 2000), 9)
    articles = [rng.integers(1, 9, n).tolist() for n in (5, 1, 0, 40, 7)]
    together = article_bits(reader, articles)
    assert (
        np.allclose(together, [article_bits(reader, [a])[0] for a in articles])
        and together[2] == 0
        and (together[[0, 1, 3, 4]] > 0).all()
    )


def test_large_vocabularies_do_not_run_into_each_other():
    "Runs of tokens are numbers: with the largest allowed vocabulary three tokens still have a number of their own."
    vocab = 2**21 - 1
    tokens = np.array([vocab - 1, vocab - 2, vocab - 1, vocab - 2, vocab - 3, 0, 1] * 3)
    assert np.allclose(
        TrigramReader(tokens, vocab).probabilities(tokens),
        [ByHand(tokens.tolist(), vocab).p(tokens[i - 2 : i].tolist(), int(tokens[i])) for i in range(2, len(tokens))],
    )
