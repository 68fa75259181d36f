"""Rendering: fits, marks, escapes, and never mixes what must not be mixed."""
import csv
import io
import math
import re

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dclm_nb.core.statistics import mean_interval
from dclm_nb.core.paths import project_root
from dclm_nb.exhibits.results import recipe_frame, stored_frame
from dclm_nb.papers.catalogue import catalogue, everything, get_exhibit
from dclm_nb.exhibits.render import (
    format_interval,
    compare, footnotes, format_like, latex_escape, to_csv, to_latex, to_markdown, to_text,
)
from dclm_nb.exhibits.results import known_already
from dclm_nb.papers.frames import printed_number, tidy
from dclm_nb.studies.dclm.replay import REPLAYED, is_centred, replay_versions

RERUN = [("RefinedWeb reproduction", 2.01), ("fastText OH-2.5 + ELI5", 1.95)]


def rerun(scale="laptop", seeds=(0, 1, 2), exhibit="table-4"):
    return tidy(
        [dict(row=r, column="bits_per_byte", seed=s, value=v + 0.01 * s * s) for r, v in RERUN for s in seeds],
        paper="dclm",
        exhibit=exhibit,
        scale=scale,
        source="rerun",
    )


@pytest.mark.parametrize("width", [80, 100])
def test_every_exhibit_fits_the_terminal(width):
    for exhibit in catalogue("all"):
        text = to_text(known_already(exhibit), width)
        assert max(map(len, text.splitlines())) <= width, exhibit.id
        assert "…" not in text, exhibit.id


def test_every_printed_value_is_shown_in_every_format():
    for exhibit in catalogue("dclm"):
        comparison = compare(exhibit)
        markdown, latex, lines = to_markdown(comparison), to_latex(comparison), to_csv(comparison)
        for cell in comparison.cells.values():
            if cell.text:
                assert cell.text in markdown and latex_escape(cell.text) in latex and cell.text in lines, (
                    exhibit.id,
                    cell,
                )


def test_a_rerun_is_the_mean_and_interval_of_its_seeds():
    comparison = compare(get_exhibit("table-4"), [rerun()], "laptop")
    cell = comparison.cell("fastText OH-2.5 + ELI5", "bits_per_byte", "rerun")
    interval = mean_interval([1.95, 1.96, 1.99])
    assert (cell.value, cell.low, cell.high, cell.n) == pytest.approx((interval.mid, interval.low, interval.high, 3))
    assert "rerun, 3 seeds" in to_text(comparison)


@pytest.mark.parametrize("exhibit", REPLAYED)
def test_the_version_of_the_baselines_stands_next_to_every_score_that_depends_on_it(exhibit):
    changed = replay_versions(exhibit).reset_index().query("abs(v1 - v2) > 1e-9").column
    assert set(changed) == {c for c in replay_versions(exhibit).reset_index().column if is_centred(c)}
    comparison = known_already(get_exhibit(exhibit))
    for text in (to_markdown(comparison), to_text(comparison), to_latex(comparison)):
        assert text.count("replayed with the paper's baselines (v1)") == 1
    for line in csv.DictReader(io.StringIO(to_csv(comparison))):
        assert (line["note"] == "the paper's baselines (v1)") == (
            line["source"] == "replayed" and is_centred(line["column"])
        ) or line["source"] == "printed"
    assert "baselines (v1)" not in to_text(known_already(get_exhibit("table-1")))


def test_scales_do_not_mix():
    frame = pd.concat([rerun("smoke"), rerun("laptop").assign(value=9.0)])
    assert (
        compare(get_exhibit("table-4"), [frame], "smoke").cell("fastText OH-2.5 + ELI5", "bits_per_byte", "rerun").value
        < 2
    )
    with pytest.raises(AssertionError, match="several scales"): compare(get_exhibit("table-4"), [frame])


def test_four_answers_stand_side_by_side():
    replayed = tidy(
        [dict(row=RERUN[0][0], column="core", value=27.54)], paper="dclm", exhibit="table-4", source="replayed"
    )
    comparison = compare(get_exhibit("table-4"), [recipe_frame(get_exhibit("table-4")), replayed, rerun()], "laptop")
    assert {s for _, s in comparison.columns} == {"printed", "replayed", "rerun", "recipe"}
    head = to_text(comparison, 140).splitlines()
    assert all(any(source in line for line in head[:6]) for source in ("printed", "replayed", "rerun", "recipe"))


@pytest.mark.parametrize("value, differs", [(27.54, False), (27.45, False), (27.5501, True), (26.0, True)])
def test_the_mark_follows_the_printed_rounding(value, differs):
    frame = tidy(
        [dict(row=RERUN[0][0], column="core", value=value)], paper="dclm", exhibit="table-4", source="replayed"
    )
    comparison = compare(get_exhibit("table-4"), [frame])
    assert bool(comparison.mismatches()) == differs and ("≠" in to_text(comparison)) == differs


def test_missing_answers_are_said():
    assert any(line.startswith("rerun: it has none") for line in footnotes(compare(get_exhibit("table-26"))))
    unread = footnotes(compare(get_exhibit("figure-a", "tradeoffs")))
    assert any(line.startswith("printed: no value") for line in unread)


@given(st.floats(0.001, 1e6), st.integers(0, 3))
def test_a_value_shown_like_its_printed_form_rounds_back(value, decimals):
    text = f"{value:.{decimals}f}"
    shown = format_like(value, text).replace(",", "")
    assert abs(float(shown) - value) <= printed_number(text)[1] * 1.000001


@given(st.text(max_size=40))
def test_latex_is_harmless(text):
    assert not re.search(r"(?<!\\)[&%#_]", latex_escape(text).replace(r"\textbackslash{}", ""))


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(to_csv(compare(get_exhibit("table-4"), [rerun()], "laptop")))))
    assert {r["source"] for r in rows} == {"printed", "rerun"} and all(
        r["scale"] == "laptop" for r in rows if r["source"] == "rerun"
    )
    assert all(math.isfinite(float(r["value"])) for r in rows)


def test_a_correlation_has_the_interval_of_its_points_where_a_claim_names_them():
    """Fisher's interval by hand: tanh(atanh r -+ 1.96 / sqrt 7)."""
    comparison = known_already(get_exhibit("figure-3"))
    for source in ("printed", "replayed"):
        cell = comparison.cell("400M-1x", "pearson_r_vs_7b_1x", source)
        low, high = (math.tanh(math.atanh(cell.value) + sign * 1.959964 / math.sqrt(7)) for sign in (-1, 1))
        assert (cell.low, cell.high) == pytest.approx((low, high), abs=1e-6) and cell.text.endswith(
            f" ({low:.2f} to {high:.2f})"
        )
    assert not comparison.mismatches() and any("95 % interval over 10 points" in line for line in footnotes(comparison))
    assert all(
        math.isnan(cell.low) for key, cell in known_already(get_exhibit("table-4")).cells.items() if key[2] != "rerun"
    )


def test_nobody_misses_a_printed_value_of_an_exhibit_of_ours():
    from dclm_nb.studies.dclm.run_noise import repeat_frame
    lines = footnotes(compare(get_exhibit("extra-run-noise"), [repeat_frame()], "replay"))
    assert (
        not [line for line in lines if line.startswith(("printed:", "rerun:", "recipe:"))]
        and "replayed with the paper's baselines (v1)" in lines
    )


def test_a_difference_of_two_printed_scores_is_met_within_two_roundings():
    """26.0 − 24.7 is printed as 1.3, and 26.017 − 24.661 is 1.357; a score itself has one rounding."""
    values = {
        ("exact", "core"): 26.0172,
        ("exact", "delta_from_baseline"): 1.3566,
        ("MinHash", "core"): 25.66,
        ("MinHash", "delta_from_baseline"): 1.01,
    }
    frame = tidy(
        [dict(row=r, column=c, value=v) for (r, c), v in values.items()],
        paper="dclm",
        exhibit="table-17",
        source="replayed",
    )
    comparison = compare(get_exhibit("table-17"), [frame])
    assert set(comparison.mismatches()) == {("MinHash", "core"), ("MinHash", "delta_from_baseline")}
    assert "a printed difference of two printed scores may be off by both of their roundings" in footnotes(comparison)
    other = compare(
        get_exhibit("table-15"),
        [tidy([dict(row="All", column="core", value=27.8)], paper="dclm", exhibit="table-15", source="replayed")],
    )
    assert not any("roundings" in line for line in footnotes(other))


def test_what_the_catalogue_says_of_an_exhibit_stands_under_its_title():
    page, own = (to_markdown(compare(get_exhibit(*name))) for name in (("figure-6", "svd"), ("table-4",)))
    assert page.splitlines()[2].startswith("Preferences of people for the quality") and "rerun: not built yet" in page
    assert own.splitlines()[2].startswith("|") and "not built yet" not in own


def test_an_exhibit_without_any_value_has_no_empty_table():
    shown = to_text(compare(get_exhibit("figure-16", "svd")))
    assert "─" not in shown and "printed: no value that we could read" in shown


def test_strips_of_pictures_are_told_as_pictures_and_what_is_missing_as_missing():
    drawn = [e for e in everything() if e.pictures]
    assert len(drawn) == 6
    for exhibit in everything():
        if "rerun" not in exhibit.answers or not exhibit.built: continue
        said = [line for line in footnotes(compare(exhibit, (), "laptop")) if line.startswith("rerun:")]
        assert said == ["rerun: pictures only, nothing judged" if exhibit.pictures else "rerun: none yet at laptop"]
        assert not exhibit.pictures or stored_frame(project_root() / "figures" / exhibit.paper, exhibit) is None


@pytest.mark.parametrize("paper, name, column, words", [
    ("svd", "figure-10", "panel_b", ("1000", "12000")), ("svd", "figure-4", "order", ("image-only init",))])
def test_a_fact_beside_the_table_stands_in_the_notes_and_in_the_csv(paper, name, column, words):
    shown = compare(get_exhibit(name, paper))
    assert column in dict(shown.columns) and column in to_csv(shown)
    for text in (to_markdown(shown), to_latex(shown)):
        notes = [line for line in text.splitlines() if line[:1] in "-%"]
        table = [line for line in text.splitlines() if line not in notes]
        assert all(any(word in line for line in notes) for word in words)
        assert not any(word in line for word in words for line in table if "&" in line or "|" in line)


@pytest.mark.parametrize("mid, half, bounds, text", [
    (0.11, 0.13, (0, 1), "0.11 (0.00 to 0.24)"),
    (0.97, 0.08, (0, 1), "0.970 (0.890 to 1.000)"),
    (0.50, 0.10, (0, 1), "0.50 ± 0.10"),
    (0.11, 0.13, (-math.inf, math.inf), "0.11 ± 0.13"),                  # a difference may well be below 0
    (7.0, 12.0, (0, math.inf), "7 (0 to 19)"),
    (0.5, math.inf, (0, 1), "0.50 ± inf"),
])
def test_no_interval_reads_as_what_a_quantity_cannot_be(mid, half, bounds, text):
    assert format_interval(mid, half, bounds) == text


@pytest.mark.parametrize("column, values, reads", [
    ("prompt_following_seen_pairs", (0.05, 0.11, 0.17), "to"), ("frechet_distance", (2.0, 2.1, 2.2), "±"),
    ("ema_gain", (-0.2, 0.1, 0.2), "±")])
def test_a_share_says_the_ends_of_its_interval_where_half_widths_go_too_far(column, values, reads):
    frame = tidy([dict(row="diffusion", column=column, seed=s, value=v) for s, v in enumerate(values)],
                 paper="tradeoffs", exhibit="figure-b", scale="laptop", source="rerun")
    comparison = compare(get_exhibit("figure-b", "tradeoffs"), [frame], "laptop")
    assert f" {reads} " in comparison.cell("diffusion", column, "rerun").text
    assert any("ends of the interval" in line for line in footnotes(comparison)) == (reads == "to")
