"""The fault suite: which test belongs to which family of faults.

A test belongs to the first family of which a pattern fits `room/file.py::test_name`; or it says so itself, with
`@pytest.mark.fault("kill")`. A new file is one line here. `make faults` runs them all and prints the table; `make test`
runs those that are quick. A test that tries many cases in one says how many: `record_property("cases", 20)`. `WANTED`
is how many cases a family should have at least.
"""
import re
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
WANTED = {"kill": 128, "disk": 30, "bomb": 20, "traversal": 14, "code": 16, "warc": 120, "html": 40, "concurrency": 10,
          "determinism": 24, "numeric": 15, "resource": 9}
FAMILIES = {
    "kill": ("killed anywhere, continued, the same bytes", """
        faults/test_kills.py::* faults/test_half_written.py::* core/test_parts.py::*
        lm/test_training_resume.py::* learn/test_resume.py::*
        *::test_*kill* *::test_*continued* *::test_*goes_on_* *::test_*resume* *::test_*stops_half_way*
        exhibits/test_runner.py::test_stopping* exhibits/test_runner.py::test_the_limit_stops*
        *::test_a_stopped_training* *::test_*replaced_halfway* exhibits/test_interrupted.py::*
        *::test_a_completion_mark_without* *::test_everything_but_the_rename*
    """),
    "disk": ("a disk that is full, broken, read-only or not ours", """
        faults/test_disks.py::*
        *::test_*full_disk* *::test_disk_* *::test_a_disk_that_fills* *::test_real_full_file_system
        *::test_*file_size_limit* core/*::test_read_only* *::test_*write_permission* *::test_*failed_write*
        *::test_*nothing_can_be_written*
        *::test_a_folder_that_cannot_be_made* *::test_*permissions_that_forbid *::test_writing_to_a_folder_that*
        *::test_a_failure_leaves_the_old_folder *::test_*cannot_be_kept*
    """),
    "bomb": ("small files that unpack to large ones, and headers that lie", """
        faults/test_bombs.py::*
        *::test_*bomb* *::test_*lies_about* *::test_a_header_that_claims* *::test_*announces_gigabytes
        *::test_overlapping_entries
        *::test_member_larger_than* *::test_the_limit_of_a_part* *::test_a_vast_frame* *::test_frames_that_grow*
        *::test_too_long_in* *::test_undoing_has_a_limit* *::test_download_larger*
    """),
    "traversal": ("archives that lead out of their folder", """
        core/test_archives.py::test_names_that* core/test_archives.py::test_link*
        core/test_archives.py::test_two_entries*
        *::test_links_devices_and_pipes* *::test_links_in_a_circle *::test_names_are_only_compared
        *::test_nothing_is_written_and_odd_names*
        *::test_a_picture_that_is_a_file_of_the_data_set* *::test_a_pipe_is_never_opened
    """),
    "code": ("pickles, models and settings that would run something", """
        faults/test_settings.py::*
        curation/test_fasttext_files.py::*
        *::test_*pickles_are* *::test_a_pickle_* *::test_pickled_or_missing* *::test_*code_in_it*
        *::test_labels_inside_a_text* *::test_latex_is_harmless
        *::test_papermill_with_parameters* *::test_*hostile* *::test_package_comes_through*
        *::test_other_decoders_are_not_tried
    """),
    "secret": ("tokens and queries of addresses that no file may hold", """
        core/test_notes.py::* core/test_addresses.py::* curation/test_secret_addresses.py::* *::test_planted_token*
    """),
    "warc": ("damaged and odd web archives", """
        curation/test_warc.py::* curation/test_warc_kinds.py::*
    """),
    "archive": ("other damaged files: cut, flipped, lying, empty", """
        core/test_archives.py::* shards/test_safe_tar.py::*
        shards/test_records.py::* shards/test_names.py::* video/test_decoding.py::*
        *::test_*damage* *::test_*truncated* *::test_*flipped* *::test_*_cut_* *::test_*vanished* *::test_*is_no_tar*
        *::test_*breaks_off* *::test_*bad_download*
        *::test_every_file_is_read_or_counted* *::test_a_bad_sample_is_counted* *::test_a_record_* *::test_a_header_*
    """),
    "html": ("malformed pages, charsets and texts", """
        curation/test_extract.py::* curation/test_charsets.py::* curation/test_bounded_pages.py::*
        *::test_*surrogate* *::test_texts_that_no_file_can_hold* *::test_a_bad_address* *::test_odd_text_and_numbers*
        curation/test_heuristics.py::test_any_start curation/test_heuristics.py::test_random_pages*
    """),
    "concurrency": ("two at once: one key, one folder, a stale lock, a skewed clock", """
        faults/test_two_at_once.py::* faults/test_clocks.py::*
        core/test_ranks.py::*
        *::test_*two_processes* *::test_*three_processes* core/test_scratch.py::test_many_at_once*
        core/test_sources.py::test_processes_that_ask_at_once* core/test_files.py::test_lock_* *::test_the_second_waits*
        *::test_threads_and* *::test_lines_of_several* *::test_a_single_process_of*
        *::test_a_training_through_the_store*
    """),
    "determinism": ("the same in every process, order, number of workers, locale", """
        faults/test_surroundings.py::*
        *::test_*same_bytes* *::test_*in_every_process* *::test_*two_workers* *::test_*another_process*
        *::test_*the_same_seed*
        *::test_*order_depends_on* *::test_*deterministic* *::test_training_twice* *::test_ranks_and_workers*
        *::test_*hash_seed* *::test_seeds_do_not_depend* *::test_saving_twice* *::test_drawing_*depends_on*
        *::test_the_seed_decides* *::test_any_chopping* *::test_*global_random_state* *::test_the_same_numbers_make*
        *::test_two_steps_or_two_ranks* *::test_every_shard_* *::test_slurm_tasks_run*
        *::test_a_set_does_not_depend* lm/test_order_of_calls.py::*
    """),
    "numeric": ("what is no number: losses, scores, sets of one", """
        *::test_a_loss_that_is_no_number* judging/*::test_*is_no_number* papers/*::test_*is_no_number* *::test_*diverge*
        *::test_a_broken_feature* *::test_a_broken_instrument* *::test_a_score_that_is_none* *::test_nothing_to_*
        *::test_equal_scores* *::test_scores_of_a_classifier_that* *::test_weights_that_are_no_numbers*
        *::test_*collapse* *::test_huge_logits* judging/*::test_bad_input* judging/*::test_what_has_no_rating*
        *::test_a_spread_needs* *::test_extreme_votes* *::test_nothing_shown* *::test_a_network_of_no_numbers*
        *::test_a_censored* *::test_empty_sets* *::test_one_item_is_enough* *::test_readings_that_cannot*
    """),
    "resource": ("memory, time and open files that do not grow with the input", """
        *::test_*no_more_memory *::test_*memory_stays* *::test_*bounded_memory *::test_memory_of* *::test_the_memory_of*
        *::test_out_of_memory* *::test_no_memory_is* *::test_*no_memory_of_their_own core/test_survivors.py::*
        *::test_*linear_time* *::test_*grows_with_their* *::test_false_beginnings*
        *::test_no_more_patience
        *::test_what_a_block_holds*
        *::test_*swept* *::test_*litter*
    """),
    "given": ("odd values, files and terminals of users", """
        */test_*_given.py::* lm/test_given.py::* faults/test_project.py::* core/test_switches.py::*
        curation/test_tokenizer_state.py::*
        exhibits/test_cli.py::test_a_mistake* *::test_*one_line* *::test_errors_* *::test_*_refused*
    """),
}


def family_of(item) -> str:
    """The family of a pytest item; blank for a test of something else."""
    if marker := item.get_closest_marker("fault"): return marker.args[0]
    return _family(item.nodeid.split("[")[0].removeprefix("tests/"))


def _family(name: str) -> str:
    return next((family for family, (_, patterns) in FAMILIES.items()
                 if any(fnmatchcase(name, pattern) for pattern in patterns.split())), "")


def has_faults(file: Path) -> bool:
    """Whether a test of this file tries a fault, as far as its text tells."""
    text, place = file.read_text(encoding="utf-8"), file.relative_to(HERE).as_posix()
    names = [*re.findall(r"def (test_\w+)", text), ""]          # the tests of a walk stand in its helper
    return "mark.fault" in text or any(_family(f"{place}::{name}") for name in names)


def table(reports: list) -> list[str]:
    """Lines of the table: family, cases that ran, those that passed, and how many are wanted."""
    counts = {family: [0, 0, 0] for family in FAMILIES}
    for family, outcome, cases in reports:
        counts.setdefault(family, [0, 0, 0])
        counts[family][("passed", "failed", "skipped").index(outcome)] += cases
    lines = [f"{'family':12} {'cases':>6} {'passed':>6} {'wanted':>6}  {'':22}what is tried"]
    for family, (passed, failed, skipped) in counts.items():
        wanted, what = WANTED.get(family, 0), FAMILIES.get(family, ("",))[0]
        said = _said(passed + failed, failed, skipped, wanted)
        lines.append(f"{family:12} {passed + failed:6} {passed:6} {wanted or '':>6}  {said:22}{what}")
    totals = [sum(column) for column in zip(*counts.values())]
    return [*lines, f"{'all':12} {totals[0] + totals[1]:6} {totals[0]:6} {sum(WANTED.values()):6}"]


def _said(cases: int, failed: int, skipped: int, wanted: int) -> str:
    return ", ".join([f"{failed} FAILED"] * bool(failed) + [f"{wanted - cases} TOO FEW"] * (cases < wanted)
                     + [f"{skipped} not here"] * bool(skipped))
