"""The page shows what each rule took and left, escapes what strangers wrote, and does without pictures that cannot be
drawn."""
import re

import numpy as np
import pytest

pytest.importorskip("cv2")

from datatrove.data import Document  # noqa: E402

from dclm_nb.video.contact_sheet import chosen, histogram, write_sheet  # noqa: E402
from dclm_nb.video.filters import Rule, settle  # noqa: E402


@pytest.mark.parametrize("too_high", [False, True])
def test_both_sides_of_the_line_are_sorted_from_the_bad_end(too_high):
    values = list(np.random.default_rng(0).permutation(50.0 * np.arange(30)))
    cut = settle(Rule("motion", share=0.3, too_high=too_high), values)
    gone, kept = chosen([*values, None, float("nan")], cut, 6)
    assert all(cut.drops(values[k]) for k in gone) and not any(cut.drops(values[k]) for k in kept)
    shown = [values[k] for k in (*gone, *kept)]
    assert shown == sorted(shown, reverse=too_high) and len(gone) == len(kept) == 6
    # nearest to the line on both sides
    order = sorted(values, reverse=too_high)
    assert values[gone[-1]] == order[8] and values[kept[0]] == order[9]


def test_a_page_without_a_picture_or_a_clip_is_a_page(tmp_path):
    cut = settle(Rule("motion", limit=1.0), [])
    assert "0 of 0 clips" in write_sheet([], [cut], tmp_path, tmp_path / "a.html").read_text()
    evil = Document("<script>alert(1)</script>", "<img src=x>/0001", metadata=dict(motion=0.5, path="gone.mp4"))
    page = write_sheet([evil], [cut], tmp_path, tmp_path / "b.html").read_text()
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page and "1 of 1 clips go" in page
    assert not re.search(r"https?://", page)


def test_the_histogram_counts_every_clip_on_its_side():
    values = [0.0] * 7 + [1.0] * 3
    cut = settle(Rule("text_area", too_high=True, limit=0.5), values)
    drawn = histogram(values, cut)
    told = lambda colour: sum(map(int, re.findall(rf"fill='{colour}'><title>(\d+)<", drawn)))
    assert (told("#d55e00"), told("#0072b2")) == (3, 7)
