"""The budget: arithmetic on configurations, and the word *assumed* wherever something is."""
import json
from dataclasses import replace

import subprocess
import sys

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.paper import get_scale
from dclm_nb.exhibits import budget as module
from dclm_nb.exhibits.budget import budget
from dclm_nb.exhibits.results import cpu_seconds_to_make, made_on, seconds_to_make
from dclm_nb.exhibits.showcase import cpu_seconds_of_runs, seconds_of_runs
from dclm_nb.papers.catalogue import everything, get_exhibit
from dclm_nb.exhibits.offers import settle_scale
from dclm_nb.image.config import METHODS
from dclm_nb.image.flops import training_flops
from dclm_nb.image.recipes import PAPER_SIZES, PaperScale, paper_recipe
from dclm_nb.studies.tradeoffs.cost import PARTS, exhibit_flops
from dclm_nb.studies.tradeoffs.configurations import parameter_count
from dclm_nb.studies.tradeoffs.profiles import profile
from dclm_nb.studies.training_cost import short_number

FIGURE = get_exhibit("figure-a", "tradeoffs")


def test_the_assumed_family_says_so_and_costs_what_its_recipe_costs():
    lines = dict(budget(FIGURE, "laptop"))
    assert "provenance: assumed" in lines["at paper size"] and [
        name for name in lines if name.removeprefix("at ") in PAPER_SIZES
    ] == [f"at {size}" for size in PAPER_SIZES]
    for method in METHODS:
        network, recipe = paper_recipe(method, "XL")
        assert (
            recipe.flops == training_flops(network, PaperScale().pictures)
            and f"{method} {short_number(parameter_count(network))} parameters, {recipe.flops:.2e} FLOPs"
            in lines["at XL"]
        )
    assert lines["at XL"].endswith(
        f"up to {16 * max(parameter_count(paper_recipe(m, 'XL')[0]) for m in METHODS) / 1e9:.1f} GB"
    )


def test_one_size_asked_for_is_one_size_told():
    lines = dict(budget(FIGURE, "XXL"))
    assert "at XXL" in lines and "at S" not in lines and "at laptop" not in lines
    assert lines["launch"].startswith("dclm-nb train-image --method diffusion --size XXL --shards FOLDER --out FOLDER")


def test_gpu_tells_what_all_runs_cost_before_the_first_one():
    lines, parts = dict(budget(FIGURE, "gpu")), exhibit_flops("figure-a", "gpu")
    assert f"{sum(parts.values()):.2e} FLOPs" in lines["all runs"] and lines["on one H100"].startswith(
        f"{sum(parts.values()) / (989e12 * 0.038 * 3600):.2g} hours at 4% (measured with gpu-256)"
    )
    study = profile("gpu").study
    assert (
        parts["grid"] >= 3 * 3 * sum(flops for _, flops in study.budgets) and parts["sweeps"] >= 9 * study.tuning_budget
    )
    assert "on one H100" not in dict(budget(FIGURE, "laptop")) and "all runs" not in dict(
        budget(get_exhibit("table-a", "tradeoffs"))
    )


def test_a_page_from_the_catalogue_tells_what_the_paper_trained():
    lines = dict(budget(get_exhibit("figure-6", "svd")))
    assert any(name.startswith("paper: ") for name in lines)
    assert "not built yet" in lines["notebook"] and lines["at replay"].startswith("no rerun")


def test_a_built_page_tells_it_too():
    lines = dict(budget(get_exhibit("figure-4", "svd")))
    assert (
        lines["paper: section3 ablations"] == "8 frames, 256 × 256 pixels, 40,000 iterations, 10,240,000 samples in all"
    )
    assert "not built yet" not in lines["notebook"]
    assert dict(budget(get_exhibit("figure-16", "svd")))["at paper size"] == "not known"
    assert dict(budget(get_exhibit("figure-7", "svd")))["paper: camera lora"] == "5,000 iterations"


def test_every_exhibit_that_rests_on_trained_models_has_parts_and_offers_gpu():
    rest = [e for e in everything("tradeoffs") if "gpu" in e.scales]
    assert {e.id for e in rest} == set(PARTS)
    assert all(settle_scale(e, get_scale("gpu")).name == "gpu" for e in rest)


@pytest.mark.parametrize("offered", [("laptop",), ("laptop", "1B-1x")])
def test_so_does_that_of_a_table_of_dclm(offered):
    assert dict(budget(replace(get_exhibit("table-4"), scales=offered), "1B-1x"))[
        "launch"
    ] == (
        "dclm-nb reproduce table-4 --paper dclm --scale 1B-1x"
        if "1B-1x" in offered
        else "not from here: its notebook has laptop"
    )


def test_diffusion_alone_where_only_diffusion_is_varied_and_nothing_where_nothing_is_trained():
    assert "next-token" not in dict(budget(get_exhibit("figure-h", "tradeoffs"), "S"))["at S"]
    for exhibit in ("table-a", "table-c", "table-d"):
        assert (
            "at S" not in dict(lines := budget(get_exhibit(exhibit, "tradeoffs")))
            and "trains no model" in dict(lines)["at paper size"]
        )


def test_measured_seconds_stand_first_where_there_are_any(monkeypatch):
    monkeypatch.setattr(module, "measured_seconds", lambda exhibit, scale: 754.0 if scale == "laptop" else None)
    monkeypatch.setattr(module, "seconds_to_make", lambda *_: 900.0)
    monkeypatch.setattr(module, "cpu_seconds_to_make", lambda *_: None)
    assert dict(budget(FIGURE, "laptop"))["at laptop"].startswith("12 min 34 s by the longest") and dict(
        budget(FIGURE, "smoke")
    )["at smoke"].startswith("not measured yet")


def test_what_would_only_be_replayed_costs_seconds_and_no_model(monkeypatch):
    monkeypatch.setattr(module, "measured_seconds", lambda exhibit, scale: None)
    lines = dict(budget(get_exhibit("table-2")))
    assert lines["at replay"] == "no rerun: replay, seconds" and "one model" not in lines
    assert "reproduce" not in lines["launch"]
    with pytest.raises(UserError, match="not offered at gpu; it is at: replay, smoke, laptop"):
        budget(get_exhibit("table-4"), "gpu")


def test_every_exhibit_has_a_budget():
    for exhibit in everything("tradeoffs"):
        assert len(budget(exhibit, "S" if "recipe" in exhibit.answers else None)) >= 3


def test_a_size_of_another_paper_is_refused():
    with pytest.raises(UserError, match="unknown scale of tradeoffs"): budget(FIGURE, "1B-1x")


def took(monkeypatch, page: float, clock: float, cpu: float | None) -> str:
    "What the budget of Table 4 says of a page and its runs that took so many seconds."
    monkeypatch.setattr(module, "measured_seconds", lambda exhibit, scale: page)
    monkeypatch.setattr(module, "seconds_to_make", lambda exhibit, scale: clock)
    monkeypatch.setattr(module, "cpu_seconds_to_make", lambda exhibit, scale: cpu)
    return dict(budget(get_exhibit("table-4"), "laptop"))["at laptop"]


def test_a_page_made_from_stored_runs_does_not_give_its_seconds_as_the_price(monkeypatch):
    "Table 4 took 11 seconds because its models were in the store; making them took half an hour."
    told = took(monkeypatch, page=11.0, clock=2400.0, cpu=None)
    assert told.startswith("40 min 00 s by the clock") and told.endswith("11 s once they are stored")
    assert took(monkeypatch, page=1500.0, clock=2400.0, cpu=None).startswith("25 min")


def test_processor_time_is_the_price_where_it_was_counted(monkeypatch):
    "On a machine with other work the runs took 40 minutes by the clock and a processor 15 minutes."
    told = took(monkeypatch, page=11.0, clock=2400.0, cpu=900.0)
    assert told.startswith("15 min 00 s of one core") and "40 min" not in told
    told = took(monkeypatch, page=1500.0, clock=2400.0, cpu=900.0)
    assert told.startswith("25 min 00 s by") and "15 min 00 s of one core" in told


@pytest.mark.parametrize("counted, said", [((3.0, 4.0), 7.0), ((3.0, None), None), ((None, None), None)])
def test_a_result_has_processor_time_where_each_of_its_runs_has(tmp_path, counted, said):
    for key, seconds in zip("ab", counted):
        (tmp_path / key).mkdir()
        told = {"wall_s": 9.0, "inputs": {"pool": "b"} if key == "a" else {}}
        (tmp_path / key / "manifest.json").write_text(json.dumps(told | ({"cpu_s": seconds} if seconds else {})))
    assert cpu_seconds_of_runs(["a"], tmp_path) == said and seconds_of_runs(["a"], tmp_path) == 18.0


@pytest.mark.parametrize("told, cpu", [
    ([{}], None), ([{"runs_cpu_seconds": None}], None), ([{"runs_cpu_seconds": 5.0}], 5.0),
    ([{}, {"runs_cpu_seconds": 5.0}], 5.0), ([{"runs_cpu_seconds": 5.0}, {"runs_cpu_seconds": 8.0}], 8.0)])
def test_results_that_counted_no_processor_time_do_not_hide_those_that_did(tmp_path, told, cpu):
    table = get_exhibit("table-4")
    for number, more in enumerate(told):
        folder = tmp_path / "reproduce" / "_out" / "dclm" / table.name / str(number)
        folder.mkdir(parents=True)
        told = {"scale": "laptop", "runs_seconds": 20.0, **more}
        (folder / f"{table.name}.manifest.json").write_text(json.dumps(told))
    assert cpu_seconds_to_make(table, "laptop", tmp_path) == cpu and seconds_to_make(table, "laptop", tmp_path) == 20


def test_a_time_stands_beside_the_machine_of_the_result_whose_runs_took_longest(tmp_path, monkeypatch):
    table = get_exhibit("table-4")
    for number, (seconds, cores) in enumerate([(20.0, 2), (90.0, 16), (5.0, 1)]):
        folder = tmp_path / "reproduce" / "_out" / "dclm" / table.name / str(number)
        folder.mkdir(parents=True)
        told = {"scale": "laptop", "runs_seconds": seconds, "wall_seconds": seconds,
                "host": {"cpu": "Some CPU", "cores": cores, "memory_gb": 25}}
        (folder / f"{table.name}.manifest.json").write_text(json.dumps(told))
    assert made_on(table, "laptop", tmp_path)["cores"] == 16 and made_on(table, "smoke", tmp_path) == {}
    monkeypatch.setattr(module, "made_on", lambda exhibit, scale: made_on(exhibit, scale, tmp_path))
    took(monkeypatch, page=90.0, clock=90.0, cpu=None)
    assert dict(budget(table, "laptop"))["measured on"] == (
        "Some CPU, 16 cores, 25 GB of memory; not scaled to your machine")
    assert "measured on" not in dict(budget(table, "replay"))
    monkeypatch.setattr(module, "measured_seconds", lambda exhibit, scale: None)
    assert "measured on" not in dict(budget(table, "laptop"))


@pytest.mark.parametrize("making", [None, 0.0])
def test_seconds_of_a_page_are_no_price_where_nobody_knows_what_its_runs_took(monkeypatch, making):
    "A page that found its runs in the store is quick, and says nothing about making them."
    monkeypatch.setattr(module, "measured_seconds", lambda exhibit, scale: 16.0)
    monkeypatch.setattr(module, "seconds_to_make", lambda exhibit, scale: making)
    monkeypatch.setattr(module, "cpu_seconds_to_make", lambda exhibit, scale: making)
    for exhibit in (get_exhibit("figure-b", "tradeoffs"), get_exhibit("table-4"), get_exhibit("figure-2", "svd")):
        assert dict(budget(exhibit, "laptop"))["at laptop"].startswith("not measured yet")


@pytest.mark.parametrize("exhibit", everything(), ids=lambda e: f"{e.paper} {e.id}")
def test_no_launch_line_is_one_that_is_refused(exhibit):
    for scale in [None, *exhibit.paper_runs]:
        said = dict(budget(exhibit, scale)).get("launch", "")
        if "dclm-nb reproduce" in said: settle_scale(exhibit, get_scale(said.split("--scale ")[1], exhibit.paper))


@pytest.mark.parametrize("paper", ["dclm", "tradeoffs", "svd"])
def test_a_budget_of_any_exhibit_trains_nothing_and_imports_no_trainer(paper):
    """Lightning alone takes longer to import than a price may take."""
    code = ("import sys; from dclm_nb.exhibits.budget import budget; from dclm_nb.papers.catalogue import everything\n"
            f"for exhibit in everything({paper!r}): budget(exhibit)\n"
            "print(sorted({'lightning', 'transformers', 'matplotlib', 'datatrove'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("line", [
    ["--help"], ["status"], ["budget", "--help"], ["runs", "--help"], ["data", "--help"], ["claims", "--help"],
    ["budget", "table-4"], ["budget", "figure-5", "--paper", "svd"]])
def test_what_only_tells_something_imports_no_torch(line):
    code = ("import atexit, sys; from dclm_nb.cli import main\n"
            "atexit.register(lambda: print('heavy', sorted({'torch', 'lightning'} & set(sys.modules))))\n"
            "main(sys.argv[1:])")
    ended = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "heavy []", ended
