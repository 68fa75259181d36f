"A reader's run beside the blessed one: equal, within what seeds do, or outside; and nothing said where nothing can be."
import json

import pytest

from dclm_nb.exhibits.agreement import agreement_lines, agreement_of, beside_blessed, room_between
from dclm_nb.papers.catalogue import get_exhibit
from dclm_nb.papers.frames import tidy

TABLE, TIMES = get_exhibit("table-4"), get_exhibit("figure-e", "tradeoffs")
SEEDS = [2.79, 2.81, 2.83]


def rows(values, row="fastText", column="bits_per_byte", exhibit=TABLE, scale="laptop", source="rerun"):
    return tidy(
        [dict(row=row, column=column, seed=s, value=v) for s, v in enumerate(values)],
        paper=exhibit.paper,
        exhibit=exhibit.id,
        scale=scale,
        source=source,
    )


def saved(root, folder, frame, exhibit=TABLE, **manifest):
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / f"{exhibit.name}.values.csv", index=False)
    (folder / f"{exhibit.name}.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_page_of_many_values_asks_more_of_each():
    one = beside_blessed(TABLE, rows([3.0]), rows(SEEDS), "laptop")
    frames = [[*(rows(v, row=f"row {i}") for i in range(10))] for v in ([3.0], SEEDS)]
    import pandas as pd
    many = beside_blessed(TABLE, *map(pd.concat, frames), "laptop")
    assert len(many) == 10 and many[0].room > one[0].room


@pytest.mark.parametrize("scale, source", [("smoke", "rerun"), ("laptop", "replayed")])
def test_other_scales_and_sources_are_not_compared(scale, source):
    assert beside_blessed(TABLE, rows(SEEDS, scale=scale, source=source), rows(SEEDS), "laptop") == []


def test_what_a_clock_measured_belongs_to_the_machine():
    frame = rows([0.01, 0.02, 0.03], row="diffusion", column="latency_s", exhibit=TIMES)
    assert (
        beside_blessed(TIMES, frame, frame, "laptop") == []
        and len(beside_blessed(TABLE, rows(SEEDS), rows(SEEDS), "laptop")) == 1
    )


def test_seeds_that_agree_leave_no_room_and_a_single_blessed_seed_has_no_ruler():
    assert room_between([1.0, 1.0, 1.0], [1.0, 1.1], 0.95) == 0 == room_between([1.0], [1.0, 2.0], 0.95)
    [same] = beside_blessed(TABLE, rows([1.0 + 1e-9] * 3), rows([1.0] * 3), "laptop")
    [other] = beside_blessed(TABLE, rows([1.01] * 3), rows([1.0] * 3), "laptop")
    assert same.agrees and not other.agrees


def test_an_outsider_is_said_loudly_with_what_differs():
    found = beside_blessed(TABLE, rows([3.5, 3.5, 3.5]), rows(SEEDS), "laptop")
    here, there = (
        {"git": {"commit": c}, "host": {"cpu": cpu, "cores": 2}, "versions": {"torch": t}}
        for c, cpu, t in (("a1", "Xeon", "2.13"), ("b2", "EPYC", "2.14"))
    )
    first, loud, why = agreement_lines(found, here, there)
    assert first.startswith("0 of 1 values agree") and loud.startswith(
        "OUTSIDE: fastText, bits per byte: 3.5 here, 2.81 there"
    )
    assert all(
        part in why
        for part in (
            "commit: a1 here, b2 there",
            "host cpu: Xeon here, EPYC there",
            "versions torch: 2.13 here, 2.14 there",
        )
    )


def test_a_stored_run_is_compared_with_the_blessed_one_of_its_scale(tmp_path):
    out, home = tmp_path / "reproduce" / "_out" / "dclm" / "table_04" / "laptop", tmp_path / "figures" / "dclm"
    saved(tmp_path, out, rows(SEEDS), scale="laptop", created="2")
    assert agreement_of(TABLE, out, "laptop", tmp_path) == []
    saved(tmp_path, home, rows(SEEDS), scale="laptop", created="1")
    assert agreement_of(TABLE, out, "laptop", tmp_path) == [
        "1 of 1 values agree with the blessed run, 1 of them to the last digit"
    ]
    assert agreement_of(TABLE, out, "smoke", tmp_path) == []
