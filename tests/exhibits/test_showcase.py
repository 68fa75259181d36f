"""The showcase: what it shows is what it saves; nothing half-written; one line for the user."""
import errno
import json
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sha256_of
from dclm_nb.exhibits import showcase
from dclm_nb.papers.claims import claims_of
from dclm_nb.exhibits.showcase import Showcase, config_differences
from dclm_nb.papers.frames import RowNotes, tidy
from dclm_nb.studies.dclm.replay import replay_frame, row_notes


def frame(source="rerun", scale="laptop", value=2.0):
    return tidy(
        [
            dict(row="fastText OH-2.5 + ELI5", column="bits_per_byte", seed=s, value=value + s / 100, run=f"run{s}")
            for s in range(3)
        ],
        paper="dclm",
        exhibit="table-4",
        scale=scale,
        source=source,
    )


def full(folder, scale="laptop"):
    show = Showcase("dclm", "table-4", scale=scale, out_dir=folder).add(frame(scale=scale))
    (
        show.claims(),
        show.table(),
        show.figure(),
        show.verdicts(),
        show.differences({"lr": 1e-3, "tokens": 10}, {"lr": 1e-3, "tokens": 5}, why={"tokens": "time"}),
        show.save(),
    )
    return json.loads((folder / "table_04.manifest.json").read_text())


def test_the_manifest_vouches_for_every_file(tmp_path):
    manifest = full(tmp_path)
    assert set(manifest["files"]) == {p.name for p in tmp_path.glob("[!.]*")} - {"table_04.manifest.json"}
    assert all(sha256_of(tmp_path / name) == sha for name, sha in manifest["files"].items())
    assert (
        manifest["seeds"] == [0, 1, 2]
        and manifest["runs"] == ["run0", "run1", "run2"]
        and manifest["scale"] == "laptop"
    )
    assert {"git", "versions", "host", "created", "verdicts"} <= set(manifest)
    page = (tmp_path / "table_04.md").read_text()
    assert (
        "## Verdicts" in page
        and "## What differs" in page
        and "| tokens | 10 | 5 | time |" in page
        and "| lr |" not in page
    )


@pytest.mark.parametrize("exhibit", ["table-5", "table-8"])
def test_notes_of_rows_and_of_claims_reach_the_saved_page(exhibit, tmp_path):
    show = Showcase("dclm", exhibit, out_dir=tmp_path).add(replay_frame(exhibit))
    verdicts = show.verdicts()
    show.notes(notes := row_notes(exhibit)), show.save()
    page = (tmp_path / f"{show.exhibit.name}.md").read_text()
    assert all(f"- **{row}**: {note}" in page for row, note in notes.items()) and all(
        c.note in page for c in claims_of(show.exhibit)
    )
    assert all(f"note: {c.note}"[:40] in repr(verdicts) for c in claims_of(show.exhibit) if c.note)


def test_notes_reach_the_page_and_empty_ones_leave_no_heading(tmp_path):
    for folder, notes in (("some", RowNotes({"AskLLM": "one run, one seed"})), ("none", RowNotes())):
        show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path / folder)
        assert "Nothing to note" in repr(show.notes(notes)) or notes
        show.verdicts(), show.differences({"lr": 1}, {"lr": 2}), show.save()
    some, none = ((tmp_path / folder / "table_04.md").read_text() for folder in ("some", "none"))
    assert "## Notes\n\n- **AskLLM**: one run, one seed\n" in some and some.index("## Notes") < some.index(
        "## Verdicts"
    ) < some.index("## What differs")
    assert "## Notes" not in none and "Nothing to note" not in none


def test_an_attached_folder_belongs_to_the_result_and_nothing_is_attached_where_nothing_was_made(tmp_path):
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"1")
    assert "model/" in repr(show.attach(tmp_path / "model")) and "nothing to attach" in repr(show.attach(None))
    show.save()
    assert json.loads((tmp_path / "table_04.manifest.json").read_text())["files"]["model/weights.bin"] == sha256_of(
        tmp_path / "model" / "weights.bin"
    )


def test_an_exhibit_without_claims_has_no_table_of_verdicts(tmp_path):
    show = Showcase("tradeoffs", "table-f", scale="replay", out_dir=tmp_path)
    assert "No claim" in repr(show.verdicts()) and show.judged == []
    show.save()
    assert "## Verdicts" not in (tmp_path / "table_f.md").read_text()


def test_the_same_numbers_make_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(Showcase, "peak_mb", 500.0)             # the page tells it, and it grows from run to run
    first, second = full(tmp_path / "a"), full(tmp_path / "b")
    assert first["files"] == second["files"]


def test_smoke_claims_nothing(tmp_path):
    assert {v["outcome"] for v in full(tmp_path, "smoke")["verdicts"] if v["source"] == "rerun"} <= {
        "not comparable",
        "not run",
    }


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    show = Showcase("dclm", "table-4", scale="smoke", out_dir=tmp_path / "file" / "out").add(frame(scale="smoke"))
    with pytest.raises(UserError) as error: show.save()
    assert "\n" not in str(error.value)


def test_a_disk_that_fills_up_leaves_no_manifest(tmp_path, monkeypatch):
    whole = showcase.atomic_write
    def full_disk(path, data):
        if path.suffix == ".tex": raise UserError(f"cannot write {path}: no space left ({errno.ENOSPC})")
        return whole(path, data)
    monkeypatch.setattr(showcase, "atomic_write", full_disk)
    show = Showcase("dclm", "table-4", scale="smoke", out_dir=tmp_path).add(frame(scale="smoke"))
    with pytest.raises(UserError): show.save()
    assert not list(tmp_path.glob("*.manifest.json")) and not list(tmp_path.glob("*.tmp"))


def test_foreign_frames_are_refused():
    with pytest.raises(UserError, match="nothing of table-5"): Showcase("dclm", "table-5").add(frame())
    with pytest.raises(UserError, match="unknown source"):
        Showcase("dclm", "table-4").add(frame().assign(source="guessed"))


def test_a_finished_matplotlib_figure_is_saved_along(tmp_path):
    from matplotlib.figure import Figure
    (own := Figure()).subplots().plot([1, 2])
    show = Showcase("dclm", "table-4", scale="smoke", out_dir=tmp_path).add(frame(scale="smoke"))
    show.figure(), show.figure(own), show.save()
    assert (tmp_path / "table_04.svg").is_file() and (tmp_path / "table_04_2.png").is_file()


def test_differences_come_from_the_configs_alone():
    import dataclasses
    @dataclasses.dataclass
    class Model: width: int = 8; layers: tuple = (1, 2)
    shown = config_differences({"model": Model(), "lr": 0.1}, {"model": Model(16), "lr": 0.1}).markdown
    assert "| model.width | 8 | 16 |  |" in shown and "2 further settings are the same" in shown


def test_a_withheld_verdict_is_not_comparable_in_the_page_the_manifest_and_the_ledger(tmp_path):
    from dclm_nb.exhibits.ledger import ledger
    reason = "the classifier was trained on nothing"
    out = tmp_path / "reproduce" / "_out" / "dclm" / "table_04" / "laptop"
    show = Showcase("dclm", "table-4", scale="laptop", out_dir=out).add(frame(), frame(value=2.1).assign(row="AskLLM"))
    show.table(), show.verdicts({"claim-6b": reason, "claim-1": "of another exhibit"}), show.save()
    manifest = json.loads((out / "table_04.manifest.json").read_text())
    assert manifest["withheld"] == {"claim-6b": reason} and reason in (out / "table_04.md").read_text()
    found = {(v.claim.id, v.source): v for v in ledger("dclm", tmp_path)}
    assert (found["claim-6b", "rerun"].outcome, found["claim-6b", "rerun"].reason) == ("not comparable", reason)
    # what the paper prints is not ours to withhold
    assert found["claim-6b", "printed"].outcome == "supports"


def test_a_drawing_of_nothing_is_one_line_and_no_file(tmp_path):
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    assert "nothing to draw" in repr(show.figure(None)) and show.figures == []


def test_a_recipe_that_is_not_the_papers_says_so(tmp_path):
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    show.differences({"lr": 1}, {"lr": 2}, theirs="assumed", head="The assumed paper scale, and here"), show.save()
    page = (tmp_path / "table_04.md").read_text()
    assert (
        "| setting | assumed | here | why |" in page
        and "## The assumed paper scale, and here" in page
        and "What differs from the paper" not in page
    )


def test_a_blessed_result_brings_its_attached_folders(tmp_path, monkeypatch):
    from dclm_nb.exhibits import bless as blessing
    from dclm_nb.exhibits.bless import bless
    monkeypatch.setattr(showcase, "git_state", lambda: {"commit": "c0ffee", "dirty": False})
    monkeypatch.setattr(blessing, "has_commit", lambda commit, root: commit == "c0ffee")
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path / "reproduce/_out/dclm/table_04/replay")
    (inner := show.out_dir / "model" / "codec").mkdir(parents=True)
    (inner / "codec.json").write_text("{}")
    show.attach(show.out_dir / "model"), show.save()
    assert [reason for _, _, reason in bless("dclm", root=tmp_path)] == [""]
    assert (tmp_path / "figures/dclm/model/codec/codec.json").read_text() == "{}"


def test_a_section_saves_a_table_and_not_the_sentence_that_nothing_was_run(tmp_path):
    import pandas as pd
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    show.section("Pools", pd.DataFrame({"5 % good": ["12"]}, index=pd.Index(["mail"], name="kind")))
    assert repr(show.section("Funnel", "Nothing is trained at replay.")) == "Nothing is trained at replay."
    show.save()
    page = (tmp_path / "table_04.md").read_text()
    assert "## Pools\n\n| kind | 5 % good |\n|:--|--:|\n| mail | 12 |" in page and "Nothing is trained" not in page


def test_the_manifest_names_the_runs_that_a_page_rests_on(tmp_path):
    from types import SimpleNamespace
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    show.rests_on(pool=SimpleNamespace(key="abc"))
    show.save()
    assert json.loads((tmp_path / "table_04.manifest.json").read_text())["rests_on"] == {"pool": "abc"}


@pytest.mark.parametrize("peaks, said", [
    ((4000.0, 300.0), "4.0 GB"), ((10.0, 10.0), "0.3 GB"), ((None, 2345.6), "2.3 GB"),
])
def test_the_manifest_and_the_page_say_how_much_memory_the_runs_took(tmp_path, monkeypatch, peaks, said):
    "That of the largest process: the one that made the pool that the runs rest on, or this one."
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(showcase, "peak_mb", lambda: 300.0)
    for key, peak, inputs in zip(("a" * 24, "b" * 24), peaks, ({}, {"pool": "a" * 24})):
        (folder := tmp_path / "home/runs" / key).mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"peak_memory_mb": peak, "wall_s": 1, "inputs": inputs}))
    row = dict(row="fastText OH-2.5 + ELI5", column="bits_per_byte", value=1.5, seed=0, run="b" * 24)
    show = Showcase("dclm", "table-4", scale="smoke", out_dir=tmp_path / "out")
    show.add(tidy([row], paper="dclm", exhibit="table-4", scale="smoke", source="rerun"))
    show.save()
    kept = json.loads((tmp_path / "out/table_04.manifest.json").read_text())["peak_memory_mb"]
    assert kept >= max(p or 0 for p in peaks) and kept > 50
    assert f"\n- Peak memory: {said}" in (tmp_path / "out/table_04.md").read_text()


def test_a_page_on_which_nothing_ran_says_nothing_of_memory_and_its_manifest_does(tmp_path):
    Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path).save()
    assert json.loads((tmp_path / "table_04.manifest.json").read_text())["peak_memory_mb"] > 50
    assert "emory" not in (tmp_path / "table_04.md").read_text().split("## How this was made")[1]


def test_a_secret_in_a_reason_does_not_reach_the_manifest(tmp_path, monkeypatch):
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    show.withheld = {"Claim 1": "no answer from https://me:p4ss@h.org/x?token=s3cr3t"}
    show.save()
    text = (tmp_path / "table_04.manifest.json").read_text()
    assert "p4ss" not in text and "s3cr3t" not in text and "h.org/x" in text


def test_a_section_leaves_its_files_beside_the_page(tmp_path):
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    from dclm_nb.exhibits.showcase import Clip, Pictures
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    show.section("Funnel", pd.DataFrame({"left": [9]}, index=pd.Index(["crawl"], name="step")))
    (
        show.section("A curve", figure),
        show.section("What is kept", Pictures(frames)),
        show.section("It moves", Clip(frames)),
    )
    show.save(), plt.close(figure)
    page = (tmp_path / "table_04.md").read_text()
    heads = ["## Funnel", "## A curve", "## What is kept", "## It moves"]
    assert [page.index(head) for head in heads] == sorted(page.index(head) for head in heads)
    for name in ("table_04.a-curve.svg", "table_04.what-is-kept.png", "table_04.it-moves.gif"):
        assert f"]({name})" in page
    assert (tmp_path / "table_04.funnel.csv").read_text() == "step,left\ncrawl,9\n"
    kept = json.loads((tmp_path / "table_04.manifest.json").read_text())["files"]
    assert {"table_04.funnel.csv", "table_04.a-curve.png", "table_04.it-moves.gif"} <= set(kept)
    with pytest.raises(UserError, match="a section holds"): show.section("Nothing", 7)


def _count(config: dict, seed: int, folder: Path) -> dict: return {"seen": config["n"] + seed}


def test_a_page_rests_on_every_run_that_it_was_given(tmp_path, monkeypatch):
    from dclm_nb.core.store import RunStore
    store = RunStore(tmp_path / "store")
    before = store.run(_count, {"n": 1})
    show = Showcase("svd", "figure-8", scale="smoke", out_dir=tmp_path / "out")
    asked = [store.run(_count, {"n": 2}, seed) for seed in (0, 1, 1)]
    assert show.runs == {run.key for run in asked} and before.key not in show.runs


def test_a_sentence_that_was_said_on_a_page_is_not_said_again(tmp_path):
    show = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    said = [repr(show.section(head, "Nothing is trained.")) for head in ("Funnel", "Judges", "Pools")]
    assert said == ["Nothing is trained.", "", ""] and repr(show.section("Swap", "No pair.")) == "No pair."
    other = Showcase("dclm", "table-4", scale="replay", out_dir=tmp_path)
    assert repr(other.section("Funnel", "Nothing is trained.")) == "Nothing is trained."


@pytest.mark.parametrize("left, right, said", [
    ({"lr": 0.1, "width": 8}, {"lr": 0.1, "width": 8}, "All 2 settings are the same."),
    ({"lr": 0.1}, {"lr": 0.1}, "The one setting is the same."), ({}, {}, "There are no settings.")])
def test_settings_that_do_not_differ_are_no_empty_table(left, right, said):
    assert config_differences(left, right).markdown == said
