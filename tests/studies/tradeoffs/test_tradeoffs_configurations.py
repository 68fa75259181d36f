"""Tables A, C and D of the tradeoffs paper: counted equals computed, one source for every setting, notebooks that run
in seconds."""
import ast
import dataclasses
import json

import matplotlib
import nbformat
import pandas as pd
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.exhibits.offers import settle_scale
from dclm_nb.image.config import METHODS
from dclm_nb.image.flops import forward_flops, training_flops
from dclm_nb.image.recipes import PAPER_SIZES, SIZES
from dclm_nb.studies.tradeoffs import configurations
from dclm_nb.papers.frames import check_frame
from dclm_nb.studies.tradeoffs.profiles import profile
from dclm_nb.studies.tradeoffs.runs import encode_set
from dclm_nb.studies.tradeoffs.tuning import Tuned

matplotlib.use("Agg")


def wide(frame): return frame.set_index(["row", "column"]).value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_every_network_costs_what_is_counted_when_it_runs(method, size):
    """Each component of the forward pass; training whole, where diffusion's own input needs no gradients: under 1 % of
    the smallest network, and less of larger ones."""
    config = configurations.network_of(method, size)
    assert configurations.counted_forward(config) == forward_flops(config)
    counted, formula = configurations.counted_training(config), training_flops(config, 1)
    assert 0.99 * formula < counted < formula if method == "diffusion" else counted == formula


def test_counting_can_disagree():
    """A formula for another network does not pass: the counter looks at what runs."""
    config = configurations.network_of("next-token", "small")
    found = configurations.counted_forward(config)
    assert found != forward_flops(
        dataclasses.replace(config, vocab_size=config.vocab_size + 1)
    ) and found != forward_flops(dataclasses.replace(config, n_layers=config.n_layers + 1))


def test_every_counted_value_equals_the_formula_but_the_gradients_nobody_needs():
    formula, counted = configurations.flops_frame(), configurations.counted_frame("laptop")
    assert (
        counted.seed.eq(0).all()
        and counted.source.eq("rerun").all()
        and formula.source.eq("recipe").all()
        and set(map(tuple, counted[["row", "column"]].values)) <= set(wide(formula).index)
    )
    off = {key for key, value in wide(counted).items() if value != wide(formula)[key]}
    assert off == {("small: training", "diffusion"), ("XL: training", "diffusion")}
    assert len(counted) == 2 * 3 * 9 + 6 and configurations.counted_frame("replay").empty
    notes = configurations.flop_notes(formula, counted)
    assert notes["counted"].startswith("58 of 60") and "XL: training, diffusion" in notes
    assert "nothing is counted" in configurations.flop_notes(formula, configurations.counted_frame("replay"))["counted"]


def test_the_counter_leaves_the_number_of_threads_alone():
    import torch
    before = torch.get_num_threads()
    config = configurations.network_of("diffusion", "small")
    configurations.counted_drawing(config, configurations.drawings("diffusion")["drawing, 12 steps"])
    assert torch.get_num_threads() == before


def test_the_parameters_are_those_of_the_network_that_is_trained():
    from dclm_nb.image.backbone import Backbone
    for method in METHODS:
        config = configurations.network_of(method, "small")
        assert configurations.parameter_count(config) == sum(p.numel() for p in Backbone(config).parameters())


def test_the_networks_here_are_those_that_the_study_trains(tmp_path):
    for method in METHODS:
        (folder := tmp_path / method).mkdir()
        found = encode_set(
            {"scale": "laptop", "codec": profile("laptop").study.codec_of(method), "pictures": 3000}, 0, folder
        )
        config = configurations.network_of(method, "small")
        assert (config.tokens, config.channels or config.vocab_size, config.caption_words, config.caption_length) == (
            found["tokens"],
            found["numbers"],
            found["words"],
            found["length"],
        )


def test_every_size_says_whose_it_is():
    frame = check_frame(configurations.sizes_frame())
    assert set(frame.row) == {
        f"{size} ({SIZES[size].provenance})" for size in (*configurations.our_sizes(), *PAPER_SIZES)
    }
    assert all("(assumed)" in configurations.size_row(size) for size in PAPER_SIZES) and set(frame.source) == {"recipe"}
    value = wide(frame)
    assert all(
        value[row, f"parameters, {method}"] > value[row, "core parameters"]
        for row in set(frame.row)
        for method in METHODS
    )


def test_settings_follow_the_tuning_where_there_is_one():
    tuned = Tuned(
        {(m, size): 1e-3 * (k + 1) for k, m in enumerate(METHODS) for size in configurations.our_sizes()},
        7.0,
        {m: (2.0, 1.5) for m in METHODS},
        pd.DataFrame(),
    )
    before, after = configurations.settings_frame(), configurations.settings_frame(tuned)
    value = wide(check_frame(after))
    assert [value["ours: learning rate, thousandths, chosen, medium", m] for m in METHODS] == [1, 2, 3] and value[
        "ours: time shift, chosen, small", "diffusion"
    ] == 7.0
    assert (
        not before.row.str.contains("chosen").any()
        and ("ours: time shift, chosen, small", "next-token") not in value.index
    )
    assert {r for r in after.row if r not in set(before.row)} == {
        f"ours: {name}, chosen, {size}"
        for name in ("learning rate, thousandths", "time shift")
        for size in configurations.our_sizes()
    }


def test_equal_compute_here_and_equal_pictures_at_the_assumed_scale():
    value = wide(configurations.settings_frame())
    for size, budget in profile("laptop").study.budgets:
        assert {value[f"ours: FLOPs, {size}", m] for m in METHODS} == {budget} and len({
            value[f"ours: pictures seen, {size}", m] for m in METHODS
        }) == 3
    assert (
        len({value["assumed: pictures seen, XL", m] for m in METHODS}) == 1
        and len({value["assumed: FLOPs, XL", m] for m in METHODS}) == 3
    )


NOTEBOOKS = {"table_a": ["recipe"], "table_c": ["recipe"], "table_d": ["rerun", "recipe"]}


def cells(name):
    return [
        c
        for c in nbformat.read(project_root() / "reproduce/tradeoffs" / f"{name}.ipynb", 4).cells
        if c.cell_type == "code"
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebooks_are_short_and_without_logic(name):
    assert [c.metadata.get("tags") for c in cells(name)].count(["parameters"]) == 1 and not any(
        c.outputs or c.execution_count for c in cells(name)
    )
    nodes = [node for c in cells(name) for node in ast.walk(ast.parse(c.source))]
    assert not any(isinstance(node, (ast.For, ast.If, ast.FunctionDef, ast.Import)) for node in nodes)
    assert {node.module for node in nodes if isinstance(node, ast.ImportFrom)} == {
        "dclm_nb.exhibits.showcase",
        "dclm_nb.studies.tradeoffs",
    }


@pytest.mark.parametrize(
    "name, scale", [("table_a", "replay"), ("table_c", "replay"), ("table_d", "replay"), ("table_d", "smoke")]
)
def test_a_notebook_runs_and_vouches_for_what_it_wrote(name, scale, tmp_path):
    scope = {}
    for c in cells(name):
        exec(compile(c.source, f"{name}.ipynb#{c.id}", "exec"), scope)
        if "parameters" in c.metadata.get("tags", []): scope.update(out_dir=str(tmp_path), scale=scale)
    manifest = json.loads((tmp_path / f"{name}.manifest.json").read_text())
    assert (
        manifest["answers"] == [a for a in NOTEBOOKS[name] if scale != "replay" or a != "rerun"]
        and manifest["status"] == "ok"
    )
    page = (tmp_path / f"{name}.md").read_text()
    assert "our numbering" in page and ("assumed" in page or name == "table_d")


def test_where_no_scale_is_asked_for_each_runs_at_one_it_has():
    settled = {e: settle_scale(get_exhibit(e, "tradeoffs")).name for e in ("table-a", "table-c", "table-d")}
    assert settled == {"table-a": "replay", "table-c": "replay", "table-d": "laptop"}


def test_a_name_that_nobody_knows_is_one_line():
    assert [configurations.codec_numbers(codec) for codec in ("pca-16", "conv-kl-8", "vq-256")] == [16, 8, 256]
    for codec in ("pca", "pca-x", "pca-0", "16"):
        with pytest.raises(UserError, match=f"unknown codec '{codec}'.*choose from: .*pca-"):
            configurations.codec_numbers(codec)
    with pytest.raises(UserError, match="unknown size 'XXXL' .*choose from: .*XL"): configurations.size_row("XXXL")
    with pytest.raises(UserError, match="unknown scale"): configurations.counted_frame("huge")
