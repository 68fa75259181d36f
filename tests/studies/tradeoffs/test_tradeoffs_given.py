"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

import dclm_nb.studies.tradeoffs
from dclm_nb.studies.tradeoffs.configurations import codec_numbers, counted_frame, drawings, network_of, size_row
from dclm_nb.studies.tradeoffs.cost import codec_flops, exhibit_flops, h100_hours
from dclm_nb.studies.tradeoffs.profiles import profile

CALLS = {
    profile: dict(scale="laptop"),
    codec_numbers: dict(codec="pca-16"),
    size_row: dict(size="nano"),
    counted_frame: dict(scale="laptop"),
    codec_flops: dict(name="conv-kl-8", scale="laptop"),
    exhibit_flops: dict(exhibit="figure-a", scale="laptop", seeds=3),
    network_of: dict(method="diffusion", size="nano"),
    drawings: dict(method="diffusion"),
    h100_hours: dict(flops=1e15, utilisation=0.038),
}


INNER = """
# runs, frames and figures of this study, called by its notebooks
compute_grid: Aim Point GridRuns run_grid codec_scores ceiling gate floor_check decided_by_codec withheld best_of
compute_grid: little_compute metric_frame loss_frame composition_frame parts_table guidance_note first_lane place_notes
compute_grid: ema_frame curves drawn_samples followed limits codec_notes learned_notes gate_note ahead_notes
compute_grid: notes_of compute_note other_judges measure_floor loss_floors floor_notes export_model
configurations: meta_network parameter_count settings_frame counted_forward counted_training counted_drawing flop_notes
cost: study_flops cost_here cost_there
emoji: components_of placed components_learned own_found encode_emoji measured draw_emoji RealRuns run_real real_frame
emoji: real_notes real_samples
figures: compute_curves loss_panels sweep_panels weight_arrows sample_sheet
fresh_seeds: FreshRuns run_fresh fresh_frame parts_of_seeds fresh_notes
frontier_tables: fitted_points fit_frame crossing_table crossing_notes SeedFit seed_fits seed_table slopes_beside
goals: goal_frame half_way half_way_notes recommendations recommendation_notes
inference: steps_frame equal_quality steps_curves steps_notes guidance_curves guidance_frame guidance_notes
inference: time_samplers clock_frame clock_notes
profiles: ImageStudy RealStudy Profile
runs: beside_the_assumed scenes_for overlap encode_set TrainSpec train_generator model_of draw_and_judge tuning_loss
runs: StudyRuns Question workshop
smoke: smoke_latents smoke_floor
tuning: Tuned further finalists mean_by with_guidance tune sweep_table shown_sweep sweep_notes
variants: variants practice_frame codec_frame reconstruction_frame part_notes
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.studies.tradeoffs, INNER
