"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from odd import Walk

import dclm_nb.site
from dclm_nb.site.build import build_site

INNER = """
# pages of a checkout, from its own notebooks, figures and manifests; `dclm-nb site` is walked with the commands
build: front_page pages write_sources Built
exhibit_pages: manifest_of films_play sections_of chip outcome_kind answers_of answers_shown exhibit_page raw
exhibit_pages: kept_together
code_behind: Definition imported_by code_behind methods_behind
lean: LeanFormatter as_webp lean_drawing make_lean
links: Walk walk
made: duration listed made_in_words
matrix: outcomes_of said exhibit_row claim_row matrix counts
names: defined_names linked_names
notebook_pages: processed_cells fenced first_picture only_imports Pictures notebook_page title_and_lead
number_links: values_by_cell linked_table value_anchors runs_behind
places: page_of turned_links Relinker
rooms: Entry Room library_rooms result_rooms start_rooms all_rooms sidebar neighbours room_index
theme: setup
"""


@pytest.fixture(scope="module")
def table() -> dict: return {build_site: dict(out="out", root=None, jobs=1)}


class TestWalk(Walk):
    """A site is built where sphinx and pandoc are; here nothing of it is."""
    room, inner, absent = dclm_nb.site, INNER, ("build_site",)

    @pytest.fixture(autouse=True)
    def nothing_is_built(self, monkeypatch):
        from dclm_nb.core.errors import UserError
        from dclm_nb.site import build

        def nothing(*_): raise UserError("nothing is built here")
        monkeypatch.setattr(build, "_ready", nothing)
