"""A paper and its scales: found by looking, cheap to ask, and honest where its wing has no answer."""
import json
import subprocess
import sys

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.papers.catalogue import catalogue, get_exhibit
from dclm_nb.papers.paper import Cost, Paper, Replay, get_paper, get_scale, later, papers, scales_of
from dclm_nb.papers.scale import DIAL, Scale


def test_every_scale_has_a_sentence_and_only_real_ones_may_claim():
    scales = scales_of()
    assert list(scales)[:4] == list(DIAL) == ["replay", "smoke", "laptop", "gpu"]
    assert [s.name for s in scales.values() if not s.may_claim] == ["replay", "smoke"]
    assert [s.name for s in scales.values() if not s.trains] == ["replay"]
    assert all(len(s.sentence) > 15 for s in scales.values()) and get_scale(get_scale("gpu")) is scales["gpu"]
    for name, paper in (("huge", "all"), ("svd", "dclm"), ("", "all")):
        with pytest.raises(UserError, match="choose from.*smoke"): get_scale(name, paper)


def test_the_first_paper_is_meant_where_none_is_named_and_a_new_one_does_not_take_its_place():
    assert [p.place for p in papers().values()] == sorted(p.place for p in papers().values())
    assert Paper("new", "A paper", "9999.00001", "its own").place > max(p.place for p in papers().values())
    assert get_paper() is get_paper("") is next(iter(papers().values()))
    assert get_exhibit("table-4").paper == get_paper().name
    with pytest.raises(UserError, match="did you mean"): get_paper("dlcm")


def test_asking_what_papers_there_are_loads_no_network_and_no_frames():
    code = """
import sys, json
from dclm_nb.papers.paper import papers
papers()
print(json.dumps([m for m in ("torch", "pandas", "matplotlib", "scipy") if m in sys.modules]))"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == []


def test_a_wing_without_answers_says_so():
    bare = Paper("bare", "A paper", "9999.00001", "its own")
    exhibit, scale = catalogue()[0], DIAL["laptop"]
    assert (bare.replay.frame(exhibit), bare.replay.note("core"), bare.replay.noise) == (None, "", None)
    assert bare.cost.here(exhibit, scale) == bare.cost.there(exhibit, scale) == [] and bare.smoke() == {}
    assert bare.replay == Replay() and bare.cost == Cost() and not bare.replay.is_difference("a", "b")


def test_no_paper_changes_what_a_position_of_the_dial_means():
    with pytest.raises(UserError, match="position of the dial"):
        Paper("loud", "A paper", "9999.00001", "its own", scales=(Scale("laptop", "mine", may_claim=False),))


def test_every_hook_that_a_wing_names_exists():
    for paper in papers().values():
        for exhibit in catalogue(paper.name)[:3]:
            paper.replay.frame(exhibit), paper.cost.recipe(exhibit), paper.cost.trainings(exhibit)
            paper.cost.here(exhibit, DIAL["laptop"]), paper.cost.there(exhibit, DIAL["laptop"])
        paper.replay.note("core"), paper.replay.is_difference("a", "b"), paper.smoke()
        if paper.replay.noise: paper.replay.noise.ruler([""], "core"), paper.replay.noise.others("")


def test_later_imports_when_it_is_called():
    far = later("dclm_nb.no_such_module.function")
    with pytest.raises(ModuleNotFoundError): far()
    assert later("math.hypot")(3, 4) == 5
