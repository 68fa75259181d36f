"""A pool of text: shares of good documents, one stream for both readers, and choices that a study can make from it."""
import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore
from dclm_nb.studies.dclm.filter_judges import CONTROL, LABELLED, NOBODY, choose
from dclm_nb.studies.dclm.keep_fraction import FRACTIONS, best_elsewhere, chance_parts, outside, within
from dclm_nb.studies.dclm.quality_filters import FilterStudy, pool_settings
from dclm_nb.studies.dclm.text_pool import Documents, make_pool, places_of_share, read_held_out, read_pool, token_stream_of


def documents(n, length=5):
    return Documents(
        [{"url": f"page {i}", "text": f"text {i}", "quality": "good" if i % 4 == 0 else "low"} for i in range(n)],
        [np.full(length, i + 1, dtype=np.uint16) for i in range(n)],
    )


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.22, 0.4, 0.9])
def test_a_pool_of_a_share_is_as_large_as_it_can_be(share):
    good = np.arange(2000) % 5 == 0
    places = places_of_share(good, [f"page {i}" for i in range(2000)], share)
    assert abs(good[places].mean() - share) < 1 / len(places) and (np.diff(places) > 0).all()
    # one of the two sides is used up
    assert good[places].sum() >= 396 or (~good)[places].sum() == 1600


def test_a_smaller_share_takes_a_part_of_the_same_good_documents():
    good, names = np.arange(2000) % 5 == 0, [f"page {i}" for i in range(2000)]
    few, many = (set(p[good[p]].tolist()) for p in (places_of_share(good, names, s) for s in (0.05, 0.1)))
    assert few < many


def test_the_stream_reads_everything_before_anything_twice():
    few = documents(7)
    stream = token_stream_of(few, 7 * 5 * 3 + 4, seed=0)
    for i in range(3): assert sorted(set(stream[i * 35:(i + 1) * 35].tolist())) == list(range(1, 8))
    orders = [stream[i * 35:(i + 1) * 35:5].tolist() for i in range(3)]
    assert len({tuple(o) for o in orders}) > 1, "a second pass in the same order"
    assert token_stream_of(few, 50, 1).tolist() != token_stream_of(few, 50, 2).tolist()


def test_the_order_of_a_document_does_not_depend_on_the_others():
    """Two filters that share documents read them in the same relative order at the same seed: their difference is what
    they chose."""
    all_of_them, some = documents(30), documents(30).where(np.arange(30) % 3 == 0)
    order = token_stream_of(all_of_them, 30 * 5, 4)[::5].tolist()
    assert [i for i in order if (i - 1) % 3 == 0] == token_stream_of(some, 10 * 5, 4)[::5].tolist()


def test_choices_and_their_refusals():
    docs, scores = documents(40), {"fastText": np.arange(40.0)}
    assert choose(NOBODY, docs, scores, 0.1, 0).all() and (choose(LABELLED, docs, scores, 0.1, 0) == docs.good).all()
    assert choose("fastText", docs, scores, 0.1, 0).nonzero()[0].tolist() == [36, 37, 38, 39]
    assert (
        choose(CONTROL, docs, scores, 0.1, 0).sum() == 4
        and (choose(CONTROL, docs, scores, 0.1, 0) != choose(CONTROL, docs, scores, 0.1, 1)).any()
    )
    with pytest.raises(UserError, match="unknown judge"): choose("PageRank", docs, scores, 0.1, 0)
    with pytest.raises(UserError, match="kept nothing"): token_stream_of(docs.where(np.zeros(40, bool)), 10, 0)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.22])
def test_sides_of_the_best_fraction_are_a_partition(share):
    assert sorted(within(share) + outside(share)) == sorted(FRACTIONS) and within(share) and outside(share)
    assert all(share / 2 - 1e-9 <= f <= 2 * share + 1e-9 for f in within(share))


def test_the_best_fraction_is_chosen_on_the_other_replicates():
    import pandas as pd

    rows = [
        {"filter": "f", "share": 0.1, "order": r, "judge": r, "fraction": f, "five": v}
        for r, values in enumerate([(0.0, 5.0), (3.0, 1.0), (3.0, 1.0)])
        for f, v in zip((0.1, 0.2), values)
    ]
    # 0: the others say 0.2; 1 and 2: the others say 0.1
    assert best_elsewhere(pd.DataFrame(rows), "f", 0.1, (0.1, 0.2)) == {0: 5.0, 1: 3.0, 2: 3.0}


def test_chance_is_told_apart():
    assert chance_parts(np.add.outer([0.0, 1, 2], [5.0, 5, 5])) == pytest.approx(
        {"order": 1.0, "judge": 0.0, "rest": 0.0}, abs=1e-9
    )
    assert chance_parts(np.add.outer([1.0, 1, 1], [0.0, 2, 4])) == pytest.approx(
        {"order": 0.0, "judge": 2.0, "rest": 0.0}, abs=1e-9
    )


def test_a_smoke_pool_holds_no_copies_and_shares_nothing_with_what_is_held_out(tmp_path):
    from dclm_nb.curation.decontamination import NgramIndex
    pool = RunStore(tmp_path).run(make_pool, pool_settings(FilterStudy.at_scale("smoke")))
    whole, held = read_pool(pool), read_held_out(pool)
    assert not any(d["copy"] for d in whole.about) and len(whole) + pool.result["copies"] == pool.result["documents"]
    assert all(i[-1] == 0 and (i[:-1] > 0).all() for i in whole.ids)  # one end-of-text, at the end
    index = NgramIndex(
        [t for texts in held["evaluation"].values() for t in texts] + [p for _, p in held["positives"]["fastText"]]
    )
    assert not any(index.hits(t).any() for t in whole.texts)
    rest = [d for d in whole.about if d["quality"] != "good"]
    assert sum(d["made"] != "made" for d in rest) >= len(rest) / 2
