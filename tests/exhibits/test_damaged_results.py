"""A saved result is read again by `status`, `claims`, `report` and the next run: never another one than was saved."""
import json
import math

import pytest
from damages import DAMAGES, harm

import dclm_nb.exhibits.results as results
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import atomic_write, sha256_of
from dclm_nb.core.paths import project_root
from dclm_nb.core.provenance import not_committed
from dclm_nb.exhibits.agreement import agreement_with_blessed
from dclm_nb.exhibits.published import _row
from dclm_nb.exhibits.results import manifests, read_manifest, stored_frame
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.frames import read_tidy, tidy, tidy_csv
from dclm_nb.site.made import made_in_words

EXHIBIT = get_exhibit("table-4", "dclm")
ROWS = [dict(row=f"{i}", column="core", value=0.125 * i + 1, seed=i, run="3fa9", scale="laptop") for i in range(9)]


@pytest.fixture
def result(tmp_path):
    "A saved result: its values, and the manifest that vouches for them."
    folder = tmp_path / "reproduce" / "_out" / "dclm" / EXHIBIT.name / "laptop"
    folder.mkdir(parents=True)
    frame = tidy(ROWS, paper="dclm", exhibit="table-4", source="rerun")
    values = atomic_write(folder / f"{EXHIBIT.name}.values.csv", tidy_csv(frame))
    told = {"scale": "laptop", "files": {values.name: sha256_of(values)}, "created": "2026", "verdicts": []}
    atomic_write(folder / f"{EXHIBIT.name}.manifest.json", json.dumps(told, indent=1), noted=True)
    return folder


@pytest.mark.parametrize("how", [h for h in DAMAGES if h != "deleted"])
def test_values_that_are_not_those_of_the_manifest_are_refused(result, how):
    assert len(stored_frame(result, EXHIBIT)) == 9
    harm(path := result / f"{EXHIBIT.name}.values.csv", how)
    with pytest.raises(UserError, match="values.csv has other content.*run make reproduce-table-4 PAPER=dclm again"):
        stored_frame(result, EXHIBIT)
    (result / f"{EXHIBIT.name}.manifest.json").unlink()             # nobody vouches: what is no table is refused
    if how not in ("one bit", "cut"):
        with pytest.raises(UserError): stored_frame(result, EXHIBIT)
    assert path.is_file()


@pytest.mark.parametrize("how", [h for h in DAMAGES if h != "deleted"])
def test_a_damaged_manifest_is_named_and_left_out(result, how, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "_said", set())
    assert len(manifests(EXHIBIT, tmp_path)) == 1
    harm(result / f"{EXHIBIT.name}.manifest.json", how)
    assert manifests(EXHIBIT, tmp_path) == [] == manifests(EXHIBIT, tmp_path)
    assert capsys.readouterr().err.count("left out: laptop/table_04.manifest.json") == 1
    with pytest.raises(UserError, match="make the result again, or remove it"):
        read_manifest(result / f"{EXHIBIT.name}.manifest.json")


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"scale": 3}', '{"scale": "smoke", "files": []}', "\0" * 9, ""])
def test_a_foreign_manifest_is_one_line_also_where_nothing_was_noted(tmp_path, text):
    (path := tmp_path / "x.manifest.json").write_text(text)
    with pytest.raises(UserError, match="x.manifest.json is n"): read_manifest(path)


ODD = [0, -1, True, 1.5, math.nan, "", "x\0", "\ud800", [], [None], ["\ud800"], {}, {"a": None}, {"a": {}}, 2**70, None]
BLESSED = sorted((project_root() / "figures").glob("*/[tfe]*_*.manifest.json"))


@pytest.mark.parametrize("field", [*json.loads(BLESSED[0].read_text()), "another"])
def test_a_field_is_what_it_should_be_or_is_named(tmp_path, field):
    right, path = json.loads(BLESSED[0].read_text()), tmp_path / "x.manifest.json"
    for odd in ODD:
        path.write_text(json.dumps(right | {field: odd}))
        try: told = read_manifest(path)
        except UserError as error: assert field in str(error) and "\n" not in str(error)
        else:
            json.dumps(told, ensure_ascii=False).encode()
            assert _row(EXHIBIT, told) and made_in_words(told) and isinstance(not_committed(told["git"]), str)


def test_every_blessed_manifest_is_one():
    for file in BLESSED: assert read_manifest(file)["files"]


@pytest.mark.parametrize("text", ["", "\0\0\0\n", "a,b\n1,2\n", "row,value\nx,many\n", "paper,exhibit\n\"x\n", "{}"])
def test_a_foreign_table_is_one_line(tmp_path, text):
    (path := tmp_path / "values.csv").write_text(text)
    with pytest.raises(UserError): read_tidy(path)


def test_a_new_result_does_not_fall_with_a_damaged_blessed_one(result, tmp_path):
    blessed = tmp_path / "figures" / "dclm"
    blessed.mkdir(parents=True)
    for path in result.iterdir(): (blessed / path.name).write_bytes(path.read_bytes())
    frame = stored_frame(result, EXHIBIT)
    harm(blessed / f"{EXHIBIT.name}.values.csv", "one bit")
    said, = agreement_with_blessed(EXHIBIT, frame, {"scale": "laptop"}, tmp_path)
    assert said.startswith("nothing to compare with: dclm/table_04.values.csv has other content")
