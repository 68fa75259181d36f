"""The studies behind the Tradeoffs exhibits, at smoke: every claim finds its numbers, the gate holds back what it must,
nothing that is tuned on is reported on."""
import ast
import dataclasses
import shutil
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.core.learned import Learned
from dclm_nb.core.paths import project_root
from dclm_nb.core.store import Run, RunStore
from dclm_nb.papers.catalogue import catalogue
from dclm_nb.papers.claims import read_claims
from dclm_nb.exhibits.showcase import Showcase, manifest
from dclm_nb.papers.contrasts import contrasts, numbers_of
from dclm_nb.image.checker import check_all
from dclm_nb.image.codecs import load_codec
from dclm_nb.image.config import METHODS
from dclm_nb.image.methods import Sampling
from dclm_nb.image.recipes import ImageTrainConfig
from dclm_nb.studies.tradeoffs import compute_grid, frontier_tables, goals, inference, runs, variants
from dclm_nb.studies.tradeoffs.figures import sweep_panels
from dclm_nb.studies.tradeoffs.profiles import CODECS, SCENES, profile
from dclm_nb.studies.tradeoffs.runs import REPORT, TRAINING, TUNING, Question, TrainSpec, StudyRuns, scenes_for
from dclm_nb.studies.tradeoffs.tuning import TUNING_SEEDS, finalists, further, mean_by, tune

SEEDS = (0, 1)
NOTEBOOKS = [e for e in catalogue("tradeoffs") if e.id not in ("table-a", "table-c", "table-d")]


class Remembers(RunStore):
    "The store that all tests share, and which runs were asked of it here."

    def __init__(self):
        super().__init__()
        self.asked: dict[str, Run] = {}

    def run(self, *arguments, **options) -> Run:
        run = super().run(*arguments, **options)
        self.asked[run.key] = run
        return run


@pytest.fixture(scope="module")
def shop():
    "Smoke, with a third codec in the ladder, for the claim that needs a middle."
    study = dataclasses.replace(profile("smoke").study, codec_ladder=("pca-8", "pca-12", "pca-20"))
    return StudyRuns(study, Remembers(), workers=0)


@pytest.fixture(scope="module")
def apart(shop, tmp_path_factory):
    "A store of its own that has the judges: what a patched library makes must not be found by anyone else."
    root, judges = tmp_path_factory.mktemp("runs"), shop.judges()
    shutil.copytree(judges.path, root / judges.key)
    return RunStore(root)


@pytest.fixture(scope="module")
def grid(shop): return compute_grid.run_grid(shop, SEEDS)


@pytest.fixture(scope="module")
def frames(shop, grid):
    "The frame of every exhibit that is rerun."
    return {
        "figure-a": compute_grid.metric_frame(grid, "figure-a", "frechet_distance", "frechet_distance"),
        "figure-b": pd.concat([
            compute_grid.metric_frame(grid, "figure-b", "all", "prompt_following"),
            compute_grid.composition_frame(grid),
        ]),
        "figure-c": compute_grid.loss_frame(grid),
        "figure-d": inference.steps_frame(grid),
        "figure-e": inference.clock_frame(grid, rounds=1),
        "figure-f": variants.codec_frame(shop, SEEDS),
        "figure-g": compute_grid.ema_frame(grid),
        "figure-h": variants.practice_frame(shop, SEEDS),
        "figure-i": inference.guidance_frame(grid),
        "table-b": variants.reconstruction_frame(shop),
        "table-e": frontier_tables.fit_frame(grid),
    }


def test_every_claim_finds_the_rows_and_columns_that_it_asks_for(frames):
    everything = pd.concat(frames.values())
    numbers = numbers_of(everything, "rerun", "smoke")
    for claim in read_claims("tradeoffs"):
        # a slope needs three frontier points: tested below; fresh seeds have a test of their own
        if claim.id == "claim-5" or claim.is_prediction: continue
        found = [contrast for test in claim.tests for contrast in contrasts(test, numbers)]
        assert found and None not in found, claim.id


def test_slopes_are_fitted_for_each_seed_and_left_out_where_there_are_too_few_points(grid, monkeypatch):
    law = pd.DataFrame([
        {
            "method": m,
            "size": "small",
            "seed": s,
            "flops": c,
            "budget": c,
            "frechet_distance": 9 * (c / 1e12) ** (-0.2 - 0.1 * k - 0.01 * s),
            "prompt_error": e,
        }
        for k, m in enumerate(METHODS)
        for s in (0, 1, 2)
        for c, e in ((1e12, 0.9), (2e12, 0.8), (4e12, 0.1))
    ])
    monkeypatch.setattr(frontier_tables, "fitted_points", lambda grid: law)
    frame = frontier_tables.fit_frame(grid)
    slopes = frame[frame["column"].eq("slope_frechet_distance")].set_index(["row", "seed"])["value"]
    assert slopes[METHODS[1], 2] == pytest.approx(-0.32) and len(slopes) == 9
    # the hull leaves two
    assert "slope_prompt_error" not in set(frame["column"])
    assert set(frontier_tables.seed_table(grid).sort_index().loc["prompts missed", "on the frontier"]) == {2}
    for test in next(c for c in read_claims("tradeoffs") if c.id == "claim-5").tests:
        assert None not in contrasts(test, numbers_of(frame, "rerun", "smoke"))
    assert "too few points" in frontier_tables.crossing_table(grid).to_string()
    notes = frontier_tables.crossing_notes(grid)
    meets = "diffusion meets next-token"
    by_seed = f"Fréchet distance, {meets}, seed by seed"
    assert list(notes) == [f"Fréchet distance, {meets}", f"prompts missed, {meets}", by_seed]
    # the laws have one value at 1e12, which is the first budget; of the prompts no seed has a fit
    assert notes.pop(by_seed).count("1e+12 FLOPs on seed") == 3
    assert "too few points" in notes["prompts missed, diffusion meets next-token"]


def planted_curves(bends_on: tuple[int, ...]) -> pd.DataFrame:
    """Diffusion's seeds `bends_on` fall late, so that their hull has two points; all else are power laws with a larger
    network beside them that is a step cheaper and worse."""
    late = lambda m, s, c: 3 if m == "diffusion" and s in bends_on and c < 4e12 else 1
    laws = [
        (m, size, s, c, 9 * (c / 1e12) ** -0.3 * penalty * late(m, s, c))
        for m in METHODS for size, penalty in (("small", 1.0), ("medium", 1.4))
        for s in (0, 1, 2) for c in (1e12, 2e12, 4e12)
    ]
    return pd.DataFrame([
        dict(method=m, size=size, seed=s, budget=c, flops=c * (1 if size == "small" else 0.97), frechet_distance=d,
             prompt_error=d / 40)
        for m, size, s, c, d in laws
    ])


@pytest.mark.parametrize("bends_on", [(), (1,), (0, 2), (0, 1, 2)])
def test_a_slope_of_some_of_the_seeds_only_is_not_printed(grid, monkeypatch, bends_on):
    monkeypatch.setattr(frontier_tables, "fitted_points", lambda grid: planted_curves(bends_on))
    frame = frontier_tables.fit_frame(grid)
    points = frontier_tables.seed_table(grid).sort_index().loc["Fréchet distance", "on the frontier"]
    assert points["diffusion"].tolist() == [2 if s in bends_on else 3 for s in (0, 1, 2)]
    assert (points.drop("diffusion") == 3).all()                        # none for the larger networks
    for name in ("slope", "intercept"):
        told = frame[frame["column"].eq(f"{name}_frechet_distance")].groupby("row").size()
        assert told.to_dict() == {m: 3 for m in METHODS if m != "diffusion" or not bends_on}


def test_the_slope_from_the_second_budget_on_does_not_see_the_first(grid, monkeypatch):
    budgets = np.array([5e11, 1e12, 2.5e12, 5e12])
    def curves_with(first: float) -> pd.DataFrame:
        return pd.DataFrame([
            dict(method=m, size=size, seed=s, budget=c, flops=c, frechet_distance=worse * d, prompt_error=0.5)
            for m in METHODS for size, worse in (("small", 1.0), ("medium", 1.3)) for s in (0, 1, 2)
            for c, d in zip(budgets, [first, 4.0 + s, 3.0, 2.9])
        ])
    for first in (9.0, 5.0):
        monkeypatch.setattr(frontier_tables, "fitted_points", lambda grid: curves_with(first))
        later = frontier_tables.fit_frame(grid).query("column == 'later_slope_frechet_distance'")
        assert len(later) == 9
        for seed, value in zip(later["seed"], later["value"]):
            wanted = np.polyfit(np.log10(budgets[1:]), np.log10([4.0 + seed, 3.0, 2.9]), 1)[0]
            assert value == pytest.approx(wanted, abs=1e-12)
    beside = frontier_tables.slopes_beside(frontier_tables.fit_frame(grid))
    kinds = ("frontier", "all budgets", "later budgets")
    assert set(beside["row"]) == {f"{method} / {kind}" for method in METHODS for kind in kinds}
    table = frontier_tables.seed_table(grid).sort_index().loc["Fréchet distance", METHODS[0], 1]
    assert table["5e+11"] == table["1e+12"] == "5.0000" and table["2.5e+12"] == "3.0000"


def test_a_frontier_has_at_most_one_network_of_each_budget(grid):
    points, budgets = frontier_tables.seed_table(grid)["on the frontier"], grid.levels()
    assert len(points) == 2 * len(METHODS) * len(SEEDS) and points.max() <= len(budgets)
    assert set(compute_grid.curves(grid)["budget"]) == set(budgets)


def test_a_closed_gate_withholds_the_first_six_claims_and_the_manifest_says_so(grid, frames, tmp_path):
    closed = compute_grid.withheld(grid)
    assert set(closed) >= {f"claim-{n}" for n in range(1, 7)} and "fairness gate closed" in closed["claim-1"]
    show = Showcase("tradeoffs", "figure-b", scale="smoke", out_dir=tmp_path).add(frames["figure-b"])
    show.table(), show.verdicts(closed)
    rerun = {v.claim.id: v for v in show.judged if v.source == "rerun"}
    assert set(rerun) == {"claim-1", "claim-2", "claim-3"} and all(
        v.outcome == "not comparable" and v.reason == closed[id] for id, v in rerun.items()
    )
    assert manifest(show)["withheld"] == {id: closed[id] for id in rerun}


def test_an_open_gate_withholds_nothing_that_the_judges_can_see(grid, monkeypatch):
    monkeypatch.setattr(compute_grid, "floor_check", lambda grid: (True, ""))
    monkeypatch.setattr(compute_grid, "decided_by_codec", lambda grid: {})
    blind = grid.shop.judges().result["blind"]
    assert set(compute_grid.withheld(grid)) == {
        claim for metric in blind for claim in compute_grid.RESTS_ON.get(metric, ())
    }


@pytest.mark.parametrize("alone, decided", [(1e9, {"claim-5", "claim-6"}), (0.0, set())])
def test_what_a_codec_decides_is_no_verdict_on_methods(grid, monkeypatch, alone, decided):
    monkeypatch.setattr(compute_grid, "codec_scores", lambda shop, codec: {"frechet_distance": alone})
    reasons = compute_grid.decided_by_codec(grid)
    assert set(reasons) == decided and all("the codec decides it" in reason for reason in reasons.values())
    margins = [
        test.margin
        for claim in read_claims("tradeoffs")
        if claim.id == "claim-5"
        for test in claim.tests
        if test.kind == "equal"
    ]
    assert margins == [compute_grid.MATCHED]


def test_the_other_judges_speak_of_real_pictures_and_every_method(grid):
    notes = compute_grid.other_judges(grid)
    assert set(notes) == {f"other judges, {who}" for who in ("real pictures", *METHODS)} and set(
        compute_grid.gate_note(grid)
    ) == {"fairness gate"}
    spoken = [name for name in compute_grid.OTHER_JUDGES if name not in grid.shop.judges().result["blind"]]
    assert all(note.count(",") == len(spoken) - 1 for note in notes.values())


def test_the_compute_of_the_columns_is_said(grid):
    notes = compute_grid.compute_note(grid, unseen_pairs="of two things")
    assert (
        f"within {grid.levels()[-1]:.3g} training FLOPs" in notes["compute"]
        and notes["unseen pairs"] == "of two things"
        and not compute_grid.compute_note(None)
    )


def test_what_is_tuned_on_is_not_reported_on(shop, grid):
    spec = profile("smoke").scenes
    sets = {purpose: scenes_for(purpose, 300, "smoke") for purpose in (TRAINING, TUNING, REPORT)}
    for a in sets:
        for b in sets: assert runs.overlap(sets[a], sets[b], spec) == ((300, 300) if a == b else (0, 0))
    assert not set(TUNING_SEEDS) & set(SEEDS)
    judged = {run.key for run in grid.judged.values()}
    tried = [
        r
        for r in shop.store.asked.values()
        if r.manifest["name"] == "image/sample-and-judge" and r.manifest["config"]["purpose"] == TUNING
    ]
    assert tried and all(r.manifest["seed"] in (*TUNING_SEEDS, *SEEDS) and r.key not in judged for r in tried)
    assert all(run.manifest["config"]["purpose"] == REPORT for run in grid.judged.values())


def test_each_metric_is_read_at_the_guidance_tuned_for_it(grid):
    for (point, which), run in grid.judged.items():
        assert run.manifest["config"]["sampling"]["guidance"] == grid.tuned.guidance[point.method][which]


def test_guidance_is_chosen_on_tuning_captions_with_networks_at_the_end_of_their_training(grid):
    rows = grid.tuned.sweeps.query("sweep == 'guidance'")
    assert not tune(grid.shop).guidance and set(rows["seed"]) == set(SEEDS) and set(rows["method"]) == set(METHODS)
    for method, part in rows.groupby("method"):
        means = part.groupby("guidance")[["prompt_following", "frechet_distance"]].mean()
        follow, quality = grid.tuned.guidance[method]
        assert (
            means["prompt_following"][follow] == means["prompt_following"].max()
            and means["frechet_distance"][quality] == means["frechet_distance"].min()
        )


def test_a_sweep_goes_on_until_its_best_rate_is_inside():
    # the best lies far below where the sweep begins
    lowest = lambda rate: abs(rate - 3e-4)
    tried = {rate: lowest(rate) for rate in (2e-3, 4e-3)}
    while more := further(tried, most=12): tried |= {rate: lowest(rate) for rate in more}
    assert min(tried) < min(tried, key=tried.get) < max(tried)
    assert further({1.0: 1.0, 2.0: 2.0}, most=2) == []


def test_a_lucky_seed_does_not_choose(grid):
    lottery = [
        dict(rate=r, loss=v)
        for r, values in {1.0: (0.1, 0.9, 0.9), 2.0: (0.3, 0.3, 0.3), 4.0: (0.8,)}.items()
        for v in values
    ]
    assert finalists(mean_by(lottery, "rate", "loss"), 1) == [2.0] and finalists(
        {r["rate"]: r["loss"] for r in lottery[::-1]}, 2
    ) == [1.0, 2.0]
    sweeps = grid.tuned.sweeps
    for (method, size), rate in grid.tuned.rates.items():
        tried = (
            sweeps[sweeps["sweep"].eq("rate") & sweeps["method"].eq(method) & sweeps["size"].eq(size)]
            .groupby("rate")["loss"]
            .agg(["mean", "size"])
        )
        assert (
            tried.loc[rate, "size"] == len(TUNING_SEEDS)
            and tried.loc[rate, "mean"] == tried.loc[tried["size"].eq(len(TUNING_SEEDS)), "mean"].min()
        )


def test_equal_compute_is_equal(grid):
    table = compute_grid.curves(grid)
    for (method, size), part in table.groupby(["method", "size"]):
        for mark, spent in enumerate(sorted(part["flops"].unique())):
            asked = grid.compute(size, mark)
            assert abs(spent / asked - 1) < 0.15, (method, size, mark)  # within a step or two of forty
    for method in METHODS:
        assert table[table["method"].eq(method)]["flops"].max() <= max(budget for _, budget in grid.shop.study.budgets)


def test_the_second_call_trains_nothing(shop, grid, monkeypatch):
    monkeypatch.setattr(RunStore, "_make", lambda self, fn, recipe, *rest, **options: pytest.fail(f"made {recipe}"))
    again = compute_grid.run_grid(shop, SEEDS)
    assert {k: r.key for k, r in again.models.items()} == {k: r.key for k, r in grid.models.items()}


def test_the_cache_saves_operations_and_changes_no_picture(frames):
    frame = frames["figure-d"].query("column == 'inference_flops'").groupby("row")["value"].mean()
    assert (
        frame["next-token / no cache"] > 2 * frame["next-token"] and frame["diffusion"] > frame["diffusion / few steps"]
    )
    assert not frames["figure-d"].duplicated(["row", "column", "seed"]).any() and {
        "diffusion / equal quality",
        "masked-token / equal quality",
    } <= set(frame.index)


def score_in(run: Run, column: str) -> float | None:
    "What a run says of a column; None for a column that is worked out from several runs."
    if column.startswith("inference_flops"): return run.result["inference_flops"]
    scores = {"frechet_distance": "frechet_distance", "prompt_following": "all"}
    return next((run.result["scores"][score] for name, score in scores.items() if column.startswith(name)), None)


@pytest.mark.parametrize("exhibit", ["figure-a", "figure-b", "figure-d", "figure-f", "figure-g", "figure-h", "figure-i",
                                     "table-e"])
def test_the_run_beside_a_number_is_the_one_it_was_read_from(shop, frames, exhibit):
    read = 0
    for value in frames[exhibit].itertuples():
        if not value.run or value.row == inference.NO_CACHE: continue
        told = score_in(shop.store.get(value.run), value.column)
        if told is None: continue
        assert told == value.value, (value.row, value.column, value.seed)
        read += 1
    assert read >= len(SEEDS)


def test_a_metric_has_the_cost_of_the_pictures_that_it_was_read_from(grid, monkeypatch):
    "Guidance 1 asks for one pass through the network, any other for two."
    tuned = dataclasses.replace(grid.tuned, guidance={m: (2.0, 1.0) for m in METHODS})
    frame = inference.steps_frame(dataclasses.replace(grid, tuned=tuned))
    cost = frame[frame["seed"].eq(SEEDS[0])].pivot(index="row", columns="column", values="value")
    for row in METHODS: assert cost.loc[row, "inference_flops"] > 1.7 * cost.loc[row, "inference_flops_distance"]
    drawn = inference.steps_curves(frame)
    axes = sweep_panels(drawn, {"prompt_following": "inference_flops",
                                "frechet_distance": "inference_flops_distance"}, logx=True).axes
    for axis, column in zip(axes, ("inference_flops", "inference_flops_distance")):
        assert {x for line in axis.lines for x in line.get_xdata()} >= set(drawn[column])


def test_the_network_that_counts_is_chosen_by_its_loss_on_tuning_scenes_and_has_spent_no_more(grid):
    for method in METHODS:
        loss = lambda at: sum(grid.tuning_losses[compute_grid.Point(method, at[0], seed, at[1])] for seed in SEEDS)
        chosen = [
            compute_grid.best_of(grid, method, grid.points_within(level), "frechet_distance") for level in grid.levels()
        ]
        assert [loss(at) for at, _ in chosen] == [min(map(loss, grid.points_within(level))) for level in grid.levels()]
        for at, values in chosen:
            assert values == [
                grid.score(compute_grid.Point(method, at[0], seed, at[1]), "frechet_distance") for seed in SEEDS
            ]
    assert (
        set(grid.points_at(grid.levels()[-1]))
        < set(grid.points_within(grid.levels()[-1]))
        == {(size, mark) for size, _ in grid.shop.study.budgets for mark in range(len(grid.shop.study.marks))}
    )


def test_unseen_compositions_were_never_trained_on():
    trained = scenes_for(TRAINING, 400, "smoke").captions
    unseen = scenes_for(REPORT, 200, "smoke", "unseen pairs").captions
    assert not set(trained) & set(unseen) and {w for c in unseen for w in c.split()} <= {
        w for c in trained for w in c.split()
    }
    assert all(c.startswith("a ") for c in scenes_for(REPORT, 50, "smoke", "seen pairs").captions)


def test_an_exported_model_draws_what_the_study_drew(grid, tmp_path):
    from dclm_nb.image.checkpoints import load_image_model, sample
    assert compute_grid.export_model(None, "next-token", tmp_path) is None
    model = load_image_model(compute_grid.export_model(grid, "next-token", tmp_path / "model"))
    size, last = grid.shop.study.budgets[0][0], len(grid.shop.study.marks) - 1
    seed = min(grid.seeds, key=lambda seed: grid.tuning_losses[compute_grid.Point("next-token", size, seed, last)])
    study = runs.model_of(
        grid.setups["next-token", size].config(),
        grid.models["next-token", size, seed],
        grid.shop.data(grid.shop.study.codec_of("next-token")),
        sampling=model.sampling,
    )
    assert (
        sample(model, "a red circle left of a blue square") == sample(study, "a red circle left of a blue square")
    ).all()
    assert model.sampling.guidance == grid.tuned.guidance["next-token"][compute_grid.Aim.PROMPT]


def test_a_share_of_the_ceiling_is_one_where_the_generator_draws_all_that_its_codec_can(frames):
    frame = frames["figure-f"].pivot_table(index=["row", "seed"], columns="column", values="value")
    assert (frame["share_of_ceiling"] * frame["ceiling"] - frame["prompt_following"]).abs().max() < 1e-12


COST_OF_PROMPTS = "inference FLOPs per picture, guided for prompts"


def test_recommendations_follow_the_numbers_and_say_when_they_are_not_sure(grid):
    frame = goals.goal_frame(grid)
    table = goals.recommendations(frame)
    costs, goal = frame[frame["column"].eq("inference_flops")].groupby("row")["value"].mean(), COST_OF_PROMPTS
    assert table.loc[goal, "use"] == costs.idxmin() and table.loc[goal, "ahead"] == "on 2 of 2 seeds"
    assert "ahead of" in goals.recommendation_notes(frame)[goal]
    assert set(goals.half_way_notes(grid)) == {f"FLOPs to half the ceiling, {m}" for m in METHODS}
    # nobody follows a prompt at smoke, and survivors are not averaged
    assert "training_flops_to_half_the_ceiling" not in set(frame["column"])


def test_seeds_that_did_not_get_there_are_counted_and_not_averaged(grid, monkeypatch):
    monkeypatch.setattr(
        goals, "half_way", lambda grid, method: {0: 4e8, 1: 4e8 if method == "next-token" else None}
    )
    frame, notes = goals.goal_frame(grid), goals.half_way_notes(grid)
    most = max(budget for _, budget in grid.shop.study.budgets)
    assert set(frame.loc[frame["column"].eq("training_flops_to_half_the_ceiling"), "row"]) == {"next-token"}
    assert (
        notes["FLOPs to half the ceiling, diffusion"] == f"4e+08 on 1 of 2 seeds, > {most:.3g} on 1 of 2 seeds"
        and "2 of 2" in notes["FLOPs to half the ceiling, next-token"]
    )


def test_a_part_that_has_not_learned_stops_the_study(shop, monkeypatch):
    run = shop.judges()
    assert all(e.passes for e in shop.learned()) and len(shop.learned()) == 5
    broken = {**run.result, "learned": [{**run.result["learned"][1], "value": 1.0}]}
    monkeypatch.setattr(RunStore, "run", lambda self, *args, **kwargs: SimpleNamespace(result=broken))
    with pytest.raises(UserError, match="feature network has not learned"):
        StudyRuns(shop.study, RunStore(), workers=0).judges()


def test_held_out_scenes_among_the_training_pictures_stop_the_study(tmp_path, monkeypatch):
    monkeypatch.setitem(runs.SPLIT_OF, REPORT, "train")
    with pytest.raises(UserError, match="are in training"):
        runs.encode_set({"scale": "smoke", "codec": "pca-4", "pictures": 300}, 0, tmp_path)


def test_the_pages_say_what_was_learned_and_who_is_ahead_on_how_many_seeds(grid, frames):
    notes = compute_grid.learned_notes(grid)
    assert {"learned, feature network", "learned, codec vq-512", "learned, diffusion", "held out"} <= set(
        notes
    ) and "NOT passed" in notes["learned, diffusion"]
    assert notes["held out"].startswith("0 judged pictures and scenes")
    ahead = compute_grid.ahead_notes(frames["figure-a"], ["frechet_distance"])["seeds, Fréchet distance"]
    wide = frames["figure-a"].query("column == 'frechet_distance'").pivot(index="seed", columns="row", values="value")
    assert f"next-token ahead of diffusion on {int((wide['next-token'] < wide['diffusion']).sum())} of 2 seeds" in ahead


def test_no_network_is_below_the_entropy_of_its_data(grid):
    [floor] = compute_grid.loss_floors(grid).values()
    losses = compute_grid.loss_frame(grid).query("column == 'next-token'")["value"]
    assert 0 < floor < losses.min() and "above it" in compute_grid.floor_notes(grid)["loss left, next-token, floor"]


def test_equal_quality_is_chosen_on_tuning_captions(shop, grid):
    found = inference.equal_quality(grid)
    assert set(found) == set(METHODS[1:]) and all(steps in (2, 4, 16) for steps in found.values())
    asked = [
        r
        for r in shop.store.asked.values()
        if r.manifest["name"] == "image/sample-and-judge"
        and r.manifest["config"]["purpose"] == TUNING
        and r.manifest["seed"] in SEEDS
    ]
    assert {r.manifest["config"]["sampling"]["steps"] for r in asked} == {2, 4, 16}


def test_pictures_of_the_sheet_are_those_that_were_judged(grid):
    from safetensors.torch import load_file
    rows, captions = compute_grid.drawn_samples(grid)
    right = compute_grid.followed(grid, rows, captions)
    assert set(right) == set(rows) - {"ground truth"} and {len(marks) for marks in right.values()} == {len(captions)}
    truth = check_all(rows["ground truth"], captions, SCENES["smoke"])
    assert all(check.all for check in truth) and compute_grid.followed(None, None, []) == {}
    reported = scenes_for(REPORT, 16, "smoke").captions
    assert (
        len(captions) == 6
        and set(captions) <= set(reported)
        and all(pictures.shape == (6, 3, 24, 24) for pictures in rows.values())
    )
    judged = [
        load_file(run.folder / "drawn.safetensors")["images"]
        for (point, which), run in grid.judged.items()
        if point.seed == SEEDS[0] and which == compute_grid.Aim.PROMPT and point.averaged
    ]
    chosen = [reported.index(caption) for caption in captions]
    for name, pictures in rows.items():
        assert name == "ground truth" or any(bool((drawn[chosen] == pictures).all()) for drawn in judged), name


def test_replay_gives_empty_frames():
    assert (
        runs.workshop("replay") is None and compute_grid.run_grid(None) is None and compute_grid.withheld(None) == {}
    )
    for frame in (
        compute_grid.metric_frame(None, "figure-a", "all", "prompt_following"),
        compute_grid.loss_frame(None),
        compute_grid.ema_frame(None),
        inference.steps_frame(None),
        inference.guidance_frame(None),
        inference.clock_frame(None),
        variants.practice_frame(None),
        variants.codec_frame(None),
        variants.reconstruction_frame(None),
        frontier_tables.fit_frame(None),
        goals.goal_frame(None),
    ):
        assert frame.empty
    assert (
        compute_grid.curves(None) is None
        and inference.guidance_curves(None) is None
        and compute_grid.drawn_samples(None) == (None, [])
    )


def test_a_scale_that_is_only_a_recipe_is_refused_in_one_line():
    with pytest.raises(UserError, match="XL"): runs.workshop("XL")


def test_gpu_is_refused_in_one_line_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr("dclm_nb.learn.device.this_device", lambda: torch.device("cpu"))
    with pytest.raises(UserError, match="needs a GPU"): runs.workshop("gpu")
    monkeypatch.setattr("dclm_nb.learn.device.this_device", lambda: torch.device("cuda"))
    assert runs.workshop("gpu", store=RunStore(tmp_path)).study.scale == "gpu"


def code_cells(notebook): return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("exhibit", NOTEBOOKS, ids=lambda e: e.id)
def test_the_notebook_is_thin_and_runs_at_replay(exhibit, tmp_path):
    notebook, scope = nbformat.read(exhibit.notebook, 4), {}
    assert 6 <= len(notebook.cells) <= 16 and not any(
        cell.outputs or cell.execution_count for cell in code_cells(notebook)
    )
    assert [cell.metadata.get("tags") for cell in code_cells(notebook)].count(["parameters"]) == 1
    tree = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]
    assert not any(isinstance(node, (ast.For, ast.If, ast.FunctionDef, ast.Import)) for node in tree)
    modules = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
    assert modules <= {"dclm_nb.studies.tradeoffs", "dclm_nb.exhibits.showcase"}
    assert (project_root() / "dclm_nb" / "studies" / "tradeoffs" / f"{exhibit.study}.py").is_file()
    for cell in code_cells(notebook):
        exec(compile(cell.source, f"{exhibit.name}.ipynb#{cell.id}", "exec"), scope)
        if "parameters" in cell.metadata.get("tags", []): scope["out_dir"] = str(tmp_path)
    page = (tmp_path / f"{exhibit.name}.md").read_text()
    assert "our numbering" in page and "nothing was released to replay it from" in page


@pytest.mark.parametrize(
    "method, codec",
    [
        ("diffusion", "conv-kl-4"),
        ("next-token", "conv-lfq-64"),
        ("masked-token", "conv-fsq-240"),
        ("next-token", "conv-vq-64"),
    ],
)
def test_a_study_with_learned_codecs_trains_draws_and_judges(apart, monkeypatch, method, codec):
    "As `gpu` does, at a size for a processor; also in bfloat16."
    if codec.split("-")[1] in ("lfq", "fsq"):
        pytest.importorskip(
            "vector_quantize_pytorch", reason="vector-quantize-pytorch is not installed (pip install 'dclm_nb[image]')"
        )
    monkeypatch.setitem(CODECS, "smoke", dataclasses.replace(CODECS["smoke"], steps=40, batch=8))
    study = dataclasses.replace(
        profile("smoke").study, codecs=(codec, codec), train_pictures=64, precision="bf16-mixed"
    )
    shop = StudyRuns(study, apart, workers=0)
    setup = TrainSpec(method, "nano", ImageTrainConfig(flops=2e8, batch_size=8, precision=study.precision))
    # forty steps make no codec
    with pytest.raises(UserError, match="has not learned"): shop.train([(setup, 0)])
    monkeypatch.setattr(Learned, "require", lambda self: self)
    [run] = shop.train([(setup, 0)])
    [judged] = shop.judge([Question(setup, run, 0, mark=-1, sampling=Sampling(2))])
    data = shop.data(codec)
    assert data.result["numbers"] == int(codec.split("-")[-1]) and load_codec(data.folder / "codec").name == codec
    assert judged.result["loss"] > 0 and 0 <= judged.result["scores"]["all"] <= 1


def test_gpu_trains_in_bfloat16_and_in_about_ten_minutes():
    from dclm_nb.studies.tradeoffs.cost import exhibit_flops, h100_hours
    study = profile("gpu").study
    assert (
        study.codecs[0] == study.codec_ladder[-1] and h100_hours(sum(exhibit_flops("figure-a", "gpu").values())) < 0.2
    )
    assert (
        study.precision == "bf16-mixed"
        and profile("laptop").study.precision == profile("smoke").study.precision == "32-true"
    )
