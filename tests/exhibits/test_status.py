"""The views over everything: three questions are counted apart, and so are the papers' exhibits and ours."""
import dataclasses
import io
import json
import os
from pathlib import Path

import pytest

from dclm_nb.papers.catalogue import catalogue, everything, extras, get_exhibit
from dclm_nb.papers.claims import read_claims
from dclm_nb.papers.exhibit import ANSWERS
from dclm_nb.exhibits.ledger import (
    QUESTIONS, counts_markdown, ledger, replayed_counts, replayed_markdown, verdict_counts,
)
from dclm_nb.exhibits.bless import bless
from dclm_nb.exhibits.report import report
from dclm_nb.exhibits.status import LEGEND, matrix_for_terminal, matrix_markdown, standing, summary
from dclm_nb.papers.contrasts import VERDICTS


@pytest.fixture(scope="module")
def dclm(): return ledger("dclm", Path("nowhere"))


def test_each_source_is_counted_by_itself_and_in_its_own_words(dclm):
    counts = verdict_counts(dclm)
    assert list(counts) == list(QUESTIONS) == list(VERDICTS)
    for source, words in counts.items():
        # a prediction of ours is printed nowhere
        asked = [c for c in read_claims("dclm") if source == "rerun" or not c.is_prediction]
        assert sum(words.values()) == len(asked) and set(words) <= set(VERDICTS[source]) and 0 not in words.values()
        assert list(words) == [word for word in VERDICTS[source] if word in words]                    # the best first
    lines = counts_markdown(dclm).splitlines()
    assert len(lines) == 3 and all(question in line for question, line in zip(QUESTIONS.values(), lines))
    everything_added = str(3 * len(read_claims("dclm")))
    assert everything_added not in counts_markdown(dclm)


def test_a_replay_that_has_a_ruler_shows_it_in_the_ledger(dclm):
    found = {v.claim.id: v for v in dclm if v.source == "replayed"}
    assert (
        found["claim-6b"].outcome == "within noise"
        and "sd of a difference of two single runs" in found["claim-6b"].reason
    )
    assert (
        found["claim-10"].outcome == "within noise" and "-0.61 with the other released run" in found["claim-10"].reason
    )
    assert found["claim-3"].outcome == "direction follows" and found["claim-29"].outcome == "follows (no ruler)"


def test_extras_are_not_counted_among_the_exhibits_of_a_paper():
    theirs, ours = [standing(e) for e in catalogue("dclm")], [standing(e) for e in extras("dclm")]
    assert summary(theirs + ours) == f"{summary(theirs)}; {summary(ours)}" and f"of {len(theirs)} exhibits" in summary(
        theirs
    )
    more = dataclasses.replace(ours[0], marks=dict.fromkeys(ours[0].marks, "●"))
    # another extra leaves the paper's counts as they are
    assert summary([*theirs, more, more]).split(";")[:2] == summary(theirs).split(";")
    assert all(f"| {e.id} |" in matrix_markdown([*theirs, *ours]) for e in everything("dclm"))


def test_the_report_has_the_counts_of_every_paper_and_a_blessing_takes_extras_along(tmp_path):
    page = report(tmp_path).read_text()
    assert page.count("does it happen again here?") == 3 and "extra-run-noise" in page
    from dclm_nb.exhibits.showcase import Showcase
    from dclm_nb.studies.dclm.run_noise import repeat_frame
    out = tmp_path / "reproduce" / "_out" / "dclm" / "extra_run_noise" / "replay"
    show = Showcase("dclm", "extra-run-noise", out_dir=out).add(repeat_frame())
    show.table(), show.save()
    assert [(e.id, scale, reason) for e, scale, reason in bless("dclm", allow=True, root=tmp_path)] == [
        ("extra-run-noise", "replay", "")
    ]
    page = (tmp_path / "figures" / "dclm" / "extra_run_noise.md").read_text()
    assert page.startswith("# How far apart") and "**Extra (ours): run noise.**" in page


def test_a_result_whose_runs_are_damaged_is_not_blessed(tmp_path, monkeypatch):
    """Every file behind it is hashed, also one that a look-up would trust; a run that is kept elsewhere is not looked
    for."""
    from dclm_nb.core.store import RunStore
    from dclm_nb.exhibits import bless as blessing, showcase
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(showcase, "git_state", lambda: {"commit": "c0ffee", "dirty": False})
    monkeypatch.setattr(blessing, "has_commit", lambda commit, root: commit == "c0ffee")
    def pool(config, seed, folder):
        (folder / "pool.jsonl").write_text("text")
        os.utime(folder / "pool.jsonl", ns=(10**18, 10**18))
        return {}
    run = RunStore().run(pool, {})
    show = showcase.Showcase(
        "dclm", "table-4", scale="replay", out_dir=tmp_path / "reproduce/_out/dclm/table_04/replay"
    )
    show.rests_on(pool=run, elsewhere=type(run)(run.path, {**run.manifest, "key": "0" * 24}))
    show.save()
    (run.folder / "pool.jsonl").write_text("Text")
    os.utime(run.folder / "pool.jsonl", ns=(10**18, 10**18))
    for allow in (False, True):
        assert [reason for _, _, reason in bless("dclm", allow, tmp_path)] == [
            f"changed since it was made: run {run.key}, pool.jsonl has other content than when it was written"
        ]
    (run.folder / "pool.jsonl").write_text("text")
    assert [reason for _, _, reason in bless("dclm", root=tmp_path)] == [""]


def test_every_replayed_value_that_disagrees_is_listed_with_both_values():
    agree, both = replayed_counts("dclm")
    listed = [m for e in catalogue("dclm") for m in e.mismatches]
    assert both - agree == len(listed) and agree > 20 * len(listed)
    text = replayed_markdown("dclm")
    assert text.startswith(f"{agree} of {both} replayed values")
    assert all(f"| {m.printed} | {m.replayed} |" in text for m in listed)
    assert replayed_markdown("svd") == ""


def test_a_page_is_told_apart_by_what_it_does():
    found = {
        name: standing(get_exhibit(name), Path("nowhere")).page
        for name in ("table-4", "table-12", "figure-7", "table-20")
    }
    assert found == {"table-4": "study", "table-12": "replay", "figure-7": "replay", "table-20": "catalogue"}
    assert "| dclm | table-20 |" in matrix_markdown([standing(get_exhibit("table-20"), Path("nowhere"))])


def standing_with(tmp_path, *scales: str):
    "What there is of Table 4 where reruns at these scales are stored and nothing else is."
    for scale in scales:
        (folder := tmp_path / "reproduce" / "_out" / "dclm" / "table_04" / scale).mkdir(parents=True, exist_ok=True)
        told = {"scale": scale, "answers": ["printed", "rerun"], "created": "2026"}
        (folder / "table_04.manifest.json").write_text(json.dumps(told))
    return standing(get_exhibit("table-4"), tmp_path)


def terminal(standings) -> str:
    from rich.console import Console
    (console := Console(file=io.StringIO(), width=100)).print(matrix_for_terminal(standings))
    return console.file.getvalue()


def test_the_legend_explains_every_mark_and_column_and_fits(tmp_path):
    shown = terminal([standing_with(tmp_path)])
    assert all(mark in shown.partition("pages:")[2] for mark in ("◆", "↺", "·", "●", "○", "blank", "5/8"))
    assert all(f"{answer}, what" in shown for answer in ANSWERS)
    assert all(line in shown and len(line) <= 100 for line in LEGEND)


@pytest.mark.parametrize("scales, mark, said", [
    ((), "○", "○"), (("smoke",), "○", "○ (smoke)"), (("laptop",), "●", "● laptop"),
    (("laptop", "smoke"), "●", "● laptop (smoke)"), (("smoke", "gpu", "laptop"), "●", "● laptop, gpu (smoke)")])
def test_a_smoke_run_is_not_shown_as_one_that_may_claim_something(tmp_path, scales, mark, said):
    found = standing_with(tmp_path, *scales)
    assert (found.marks["rerun"], found.rerun) == (mark, said)
    assert f"| {said} |" in matrix_markdown([found])
    legend = "a trial that may claim nothing"
    assert (legend in terminal([found])) == ("smoke" in scales) == (legend in matrix_markdown([found]))
    assert "rerun 0 of 1" in summary([found]) if mark == "○" else "rerun 1 of 1" in summary([found])


@pytest.mark.parametrize("paper", ["dclm", "tradeoffs", "svd"])
def test_the_line_of_a_paper_counts_its_answers_and_no_extras(paper):
    standings = [standing(e) for e in everything(paper)]
    theirs = [s for s in standings if not s.exhibit.is_extra]
    lines = [line for line in terminal(standings).splitlines() if line.startswith(f"{paper} ")]
    counted = [f"{sum(s.marks[a] == '●' for s in theirs)}/{sum(a in s.exhibit.answers for s in theirs)}"
               for a in ("printed", "replayed", "rerun", "recipe")]
    assert lines[0].split()[-len([c for c in counted if c != "0/0"]):] == [c for c in counted if c != "0/0"]
    assert all("/" not in line for line in lines[1:])                                           # the extras
