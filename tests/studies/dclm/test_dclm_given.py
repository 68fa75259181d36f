"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

import dclm_nb.studies.dclm
from dclm_nb.studies.dclm import replay as r
from dclm_nb.studies.dclm.calibration import Condition
from dclm_nb.studies.dclm.configurations import scales_frame
from dclm_nb.studies.dclm.cost import paper_run
from dclm_nb.studies.dclm.minhash_curves import curves_frame, exhibit_frame, found_at
from dclm_nb.studies.dclm.profiles import profile
from dclm_nb.studies.dclm.released_files import dataset_in_name, recipe_in_name, run_name
from dclm_nb.studies.dclm.ruler import replayed_gaps
from dclm_nb.studies.dclm.run_noise import other_runs, repeat_frame, repeat_values, run_scale, what_differs

RUN = next(run for run in r.released_rows("table-4")["run"] if run)
GROUP = repeat_values()["group"].iloc[0]
CALLS = {
    Condition: dict(defect="none", share=0.0, again=False),
    profile: dict(scale="laptop"),
    exhibit_frame: dict(exhibit="figure-7"),
    curves_frame: dict(points=5),
    found_at: dict(probability=0.5, bands=9, rows=13),
    scales_frame: dict(exhibit="table-1"),
    paper_run: dict(scale="1B-1x"),
    r.released_scores: dict(run=RUN),
    r.released_rows: dict(exhibit="table-4"),
    r.released_size: dict(run=RUN),
    r.training_flops: dict(row="C4 / 7B / 138B", run=RUN),
    r.score_cell: dict(run=RUN, column="core", version="v1"),
    r.replay_frame: dict(exhibit="table-4", version="v1"),
    r.replayed_or_printed: dict(exhibit="table-4"),
    r.replay_versions: dict(exhibit="table-4"),
    r.is_centred: dict(column="core"),
    r.baselines_of: dict(column="core"),
    r.is_difference: dict(row="a", column="core"),
    r.row_recipes: dict(exhibit="table-4"),
    r.row_notes: dict(exhibit="table-4"),
    r.within_groups: dict(version="v1"),
    run_name: dict(file="evaluation_a_heavy.json"),
    recipe_in_name: dict(run=RUN),
    dataset_in_name: dict(run=RUN),
    what_differs: dict(group=GROUP),
    repeat_values: dict(column="core", counted=True),
    run_scale: dict(run=RUN),
    repeat_frame: dict(column="core"),
    other_runs: dict(run=RUN),
    replayed_gaps: dict(exhibits=["table-4"]),
}


INNER = """
# runs, frames and figures of this study, called by its notebooks
calibration: plant clean_documents planted_documents calibration_run calibrate todays_keys differences_of
calibration: ProbeCalibration calibration_of usable_instruments must_pass write_calibration read_calibration
calibration: calibration_table
cost: PaperRun recipe_frame runs_frame cost_here cost_there
filter_judges: train_classifiers recall_by_kind train_reference read_with_reference pool_scores choose
filter_tables: rerun_at require_calibrated frame_of funnel_table chosen_table pool_table judges_table scores_table
filter_tables: recall_table swap_table parts_table by_source_table resolution source_frame settings_beside_the_paper
filter_tables: overlap_table
keep_figures: fraction_curves judge_panels
keep_fraction: sweep_run SweepRuns run_sweep sweep_at gains curve best_elsewhere within outside chance_parts
keep_fraction: chance_table epochs_table budget_table sweep_frame gain_frame table_five_frame fraction_curve_frame
keep_fraction: judge_curve_frame network_points
paper: replayed
profiles: FilterStudy Profile
quality_filters: train_recipe Judges FilterRuns pool_settings model_settings probe_settings run_judges run_study
released_files: read_manifest originals_in Original pinned_originals distil csv_text verify_released
replay: compare_printed
ruler: gap_table ruler_figure
run_noise: ruler_for
smoke: smoke_pool
text_pool: make_pool read_held_out Documents places_of_share read_pool
text_runs: token_stream_of train_on read_probes probe_model Articles trigram_readings encoded_texts read_texts
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.studies.dclm, INNER
