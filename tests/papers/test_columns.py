"""What a reader sees instead of a column's name: a label, a unit, and which way is better, in one map per paper."""
import csv
import functools
import re
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.paths import project_root
from dclm_nb.exhibits.render import compare, latex_escape, to_latex, to_markdown, to_text
from dclm_nb.exhibits.results import recipe_frame, replayed_frame, stored_frame
from dclm_nb.papers.catalogue import everything
from dclm_nb.papers.columns import Column, column_label, column_title, known_columns, read_columns, row_label
from dclm_nb.papers.frames import tidy
from dclm_nb.papers.paper import papers


def used(paper: str, part: str) -> set[str]:
    """Every name of a column (or row) that stands in what a paper prints, in a replay, a recipe or a blessed result."""
    folders = project_root() / "figures" / paper, project_root() / "reproduce" / paper / "printed"
    found = set()
    for file in (file for folder in folders for file in folder.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            found |= {line[part] for line in csv.DictReader(lines) if {"row", "column", "value"} <= set(line)}
    for exhibit in everything(paper):
        for frame in frames_of(exhibit): found |= set(frame[part])
    return found


@pytest.mark.parametrize("paper", list(papers()))
def test_every_column_of_every_exhibit_and_of_every_blessed_result_has_a_label(paper):
    names = used(paper, "column")
    assert len(names) > 40 and not sorted(names - set(known_columns(paper)))


@pytest.mark.parametrize("paper", list(papers()))
def test_every_column_that_a_study_names_has_a_label(paper):
    sources = (project_root() / "dclm_nb" / "studies" / paper).glob("*.py")
    named = {name for file in sources for name in re.findall(r'column="(\w+)"', file.read_text(encoding="utf-8"))}
    assert not named - set(known_columns(paper)) - {"column"}


@pytest.mark.parametrize("paper", list(papers()))
def test_no_label_is_an_identifier_and_every_direction_agrees_with_the_name(paper):
    for name, column in known_columns(paper).items():
        assert not re.search(r"_|\b(pct|avg|num|vs|psnr|lcs|frac)\b|^\s|\s$", column.title), (name, column.title)
        if re.search(r"(frechet_distance|latency|loss|bits.per.byte|lpips|fvd|_down|prompt_error)", name):
            assert column.better == "less" or re.match("(whole_|later_|any_)?slope|intercept|z_", name), name
        if re.search(r"(_up$|psnr|throughput|^core$|^mmlu$|extended|prompt_following|elo)", name):
            assert column.better == "more", name


@pytest.mark.parametrize("paper", list(papers()))
def test_two_columns_of_one_exhibit_never_read_the_same(paper):
    for exhibit in everything(paper):
        titles = [column_title(name, paper) for name in dict(compared(exhibit).columns)]
        assert len(titles) == len(set(titles)), (exhibit.id, titles)


@functools.cache
def frames_of(exhibit) -> list:
    """The recipe, the replay and the blessed values of an exhibit, where it has them."""
    blessed = stored_frame(project_root() / "figures" / exhibit.paper, exhibit)
    return [frame for frame in (recipe_frame(exhibit), replayed_frame(exhibit), blessed) if frame is not None]


@functools.cache
def compared(exhibit): return compare(exhibit, frames_of(exhibit))


@pytest.mark.parametrize("paper", list(papers()))
def test_every_row_that_is_a_measure_has_a_label(paper):
    identifiers = {row for row in used(paper, "row") if re.fullmatch(r"[a-z]+(_[a-z]+)+( \d+)?", row)}
    assert not {row for row in identifiers if "_" in row_label(row, paper)}


def test_terminal_markdown_and_latex_show_labels_and_the_values_keep_the_names():
    from dclm_nb.exhibits.render import to_csv
    from dclm_nb.papers.catalogue import get_exhibit
    exhibit = get_exhibit("figure-e", "tradeoffs")
    values = [dict(row="diffusion", column=c, value=1.0, seed=0) for c in ("latency_s", "frechet_distance")]
    frame = tidy(values, paper="tradeoffs", exhibit="figure-e", scale="laptop", source="rerun")
    shown = compare(exhibit, [frame], "laptop")
    for text in (to_markdown(shown), to_text(shown)):
        assert "latency (s) ↓" in text and "Fréchet distance ↓" in text and "latency_s" not in text
    assert r"latency (s) $\downarrow$" in to_latex(shown) and "↓" not in to_latex(shown)
    assert "latency_s" in to_csv(shown) and "↓" not in to_csv(shown)


@pytest.mark.parametrize("paper", list(papers()))
def test_latex_can_typeset_every_label_and_every_table(paper):
    typeset = re.compile(r"[\x20-\x7e\n\u00c0-\u017f–‘’“”…·§°]*")          # what LaTeX sets as it stands, in UTF-8
    for column in known_columns(paper).values(): assert typeset.fullmatch(latex_escape(column.title)), column
    for exhibit in everything(paper):
        table = "\n".join(line for line in to_latex(compared(exhibit)).splitlines() if line[:1] != "%")
        assert typeset.fullmatch(table), (exhibit.id, set(re.sub(typeset, "", table)))


def test_a_figure_and_a_sentence_show_labels_too():
    from dclm_nb.drawing import plots
    values = [dict(row=row, column="latency_s", value=v, seed=0) for row, v in (("a", 1.0), ("b", 2.0))]
    frame = tidy(values, paper="tradeoffs", exhibit="figure-e", scale="laptop", source="rerun")
    assert plots.strips(frame).axes[0].get_title(loc="left").replace("\n", " ") == "latency (s) ↓"
    assert column_label("latency_s", "tradeoffs") == "latency"              # in a sentence: no unit and no arrow


def test_a_name_may_mean_another_thing_in_another_paper():
    assert column_title("order", "dclm") != column_title("order", "svd")
    assert column_title("nobody_knows_pct", "dclm") == column_title("nobody_knows_pct") == "nobody knows (%)"


@pytest.mark.parametrize("entry, said", [
    ("columns: {a: {better: less}}", "label"), ("columns: {a: {label: A, better: lower}}", "less"),
    ("columns: {a: {label: A, unti: s}}", "unti"), ("columns: {a: text}", "label"), ("columns: [a]", "columns"),
    ("rows: 3", "rows"), ("colums: {}", "colums"), ("columns: {a: {label: 3}}", "label")])
def test_a_mistake_in_a_map_is_one_line(entry, said, tmp_path: Path):
    (tmp_path / "columns.yaml").write_text(entry, encoding="utf-8")
    with pytest.raises(UserError, match=said) as refused: read_columns(tmp_path / "columns.yaml")
    assert "\n" not in str(refused.value)


def test_a_paper_without_a_map_has_readable_names(tmp_path: Path):
    assert read_columns(tmp_path / "none.yaml") == {"columns": {}, "rows": {}}
    assert Column("latency", "s", "less").title == "latency (s) ↓" and Column("AUC").title == "AUC"
