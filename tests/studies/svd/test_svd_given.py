"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

pytest.importorskip("av")

import dclm_nb.studies.svd
from dclm_nb.studies.svd.guidance_listing import identities
from dclm_nb.studies.svd.profiles import film_seed, profile

CALLS = {
    identities: dict(frames=4),
    film_seed: dict(seed=0),
    profile: dict(scale="laptop"),
}


INNER = """
# runs, frames and figures of this study, called by its notebooks
annotation: Task annotation_page votes_of checks_passed key_text answers_table page_frame world_tasks
baseline_tables: area_of still_measures_table thresholds_table text_measures_table one_word_table rater_table
baseline_tables: lost_pictures_table
controls: quality_by fault_table words_table way_along
curation_figures: frames_of strip_of strips_figure clips_and_motion missed_crossfade turned_down detector_figure
curation_figures: static_figure differing_captions caption_figure text_figure score_figure
curation_funnel: make_films folder_of detected find_all_cuts count_cuts recall_of precision_of train_scorers
curation_funnel: curate_world planned_clips chapters true_joins with_truth CurationRuns run_curation films_plan
curation_funnel: curation_at
curation_tables: measured_rules filtered small_part sets_of table_one_frame films_left_table total_check
curation_tables: figure_two_frame clips_per_film auc_of stills_table figure_twelve_frame false_alarms_table
curation_tables: merging_table filters_frame ceiling_table text_limits_table flaws_table moves_table kinds_table
curation_tables: kept_table scorers_table similarity_table captions_table figure_fourteen_frame figure_thirteen_frame
curation_tables: figure_fifteen_frame
filter_strength: compared all_compared strength_frame strength_gate strength_gate_table strength_withheld
filter_strength: strength_curves curve_figure captions_table unnoticed distance_table strength_notes
given_measures: fidelity saturation saturation_error middle_psnr faded enlarged signature_of film_motion rightward
given_measures: ground_shift MoveReader
given_runs: moves_world draw_moves world_of plain_world join_moves given_network take_over latent_moves train_given
given_runs: load_given add_mixer_lora train_camera draw_given draw_continued GivenStudy GivenRuns read_films
guidance_listing: identities_frame
noise_levels: draw_sized held one_frame_each spoiled fit_picture_judge picture_prompts draw_sized_pictures said_of
noise_levels: draw_and_judge_sized LevelStudy LevelRuns level_curves top_of best_of level_frame level_gate
noise_levels: mean_picture_said size_calibration levels_withheld level_gate_table size_judge_table levels_table
noise_levels: answers_table level_figure level_pictures level_workshop level_notes smoke_levels
plain_measures: frame_difference text_looks contrast_and_sharpness changed_captions alike measure_plainly PlainRuns
plain_measures: plain_runs
pretraining: judged_films judge_calibration judge_table Bar gate unseen_prompts floor_of gate_table bars_shown used
pretraining: withheld learned_parts learned_shown filter_table shares preference_frame models_table model_votes elo_of
pretraining: finetuned_films finetune_frame finetune_table mean_said film_strips training_notes quality_note
profiles: CurationStudy TrainingStudy Profile
sample_figures: given_workshop make continued text_strips all_marks continued_strips picture_gate gate_of shut
sample_figures: gate_shown guidance_frame guidance_strips guidance_table move_reader camera_films camera_reads
sample_figures: camera_frame camera_table camera_strips speed_table between_films between_frame between_strips
sample_figures: bucket_frame bucket_figure temporal_frame ways_table temporal_strips sample_notes smoke_samples
smoke: smoke_films
strips: Strip marks_of strip_figure moving
temporal_prompt: prompt_pairs draw_prompted draw_two_prompts two_prompts changes first_move_right
training_runs: set_world train_scorers draw_clips strokes write_captions Choice kept Chosen chosen codec_of new_network
training_runs: load_network mark_name kept_marks train_pictures train_films fit_judges quality_judge prompts_of
training_runs: draw_films draw_and_judge judged judge_baselines Variant strengths by_captioner TrainingRuns workshop
view_figures: view_workshop make trivial answers view_frame view_gate pair_table loss_table progress_figure view_strips
view_figures: word_strips word_table free_frame shape_table view_notes smoke_views
view_runs: turning views_loss ViewRuns draw_views_of_words things views_of_words
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.studies.svd, INNER
