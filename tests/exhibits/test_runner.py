"""The runner: every way a notebook can end, and no process left behind."""
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from rich.console import Console
from tiers import nightly

from dclm_nb.core.errors import UserError
from dclm_nb.papers.paper import get_scale, scales_of
from dclm_nb.exhibits import runner
from dclm_nb.exhibits.offers import without_module
from dclm_nb.papers.catalogue import catalogue, everything, get_exhibit
from dclm_nb.papers.exhibit import Exhibit

PARAMETERS = 'scale: str = "smoke"  # replay, smoke\nseeds: list = [0]\nforce: bool = False\nout_dir: str = ""'
TABLE = replace(get_exhibit("table-20"), scales=("replay", "smoke"))


def notebook(folder, *cells, parameters=PARAMETERS):
    made = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, cells),
    ]
    path = Path(folder) / "table_20.ipynb"
    path.write_text(
        nbformat.writes(
            nbformat.v4.new_notebook(
                cells=made,
                metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
            )
        )
    )
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a made-up notebook of a few cells as Table 20; returns how it ended."""
    def go(*cells, parameters=PARAMETERS, scale="smoke", **options):
        path = notebook(tmp_path, *cells, parameters=parameters)
        monkeypatch.setattr(Exhibit, "notebook", property(lambda self: path))
        monkeypatch.setattr(runner, "show_known", lambda *args: None)
        go.console = Console(file=io.StringIO(), width=100, force_terminal=False)
        return runner.reproduce(TABLE, scale, out_dir=tmp_path / "out", console=go.console, **options)
    return go


def left_behind(tmp_path) -> list[int]:
    """Processes whose pid a notebook wrote down and that still live."""
    time.sleep(0.3)
    return [
        int(p.read_text())
        for p in tmp_path.glob("pid*")
        if psutil.pid_exists(int(p.read_text())) and psutil.Process(int(p.read_text())).status() != psutil.STATUS_ZOMBIE
    ]


def test_a_good_run_leaves_the_executed_notebook(run, tmp_path):
    result = run(
        "assert seeds == [0, 1] and scale == 'smoke' and force; print('ran in', out_dir)", seeds="2", force=True
    )
    assert result.status == "ok" and result.exit_code == 0 and "ran in" in result.notebook.read_text()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["table_20.ipynb"]


def test_an_exception_keeps_a_readable_notebook_and_the_last_good_one(run, tmp_path):
    assert run("print('fine')").status == "ok"
    result = run("print('before')", "1 / 0", "print('after')")
    assert (
        (result.status, result.exit_code) == ("error", 1)
        and "ZeroDivisionError" in result.message
        and "cell" in result.message
    )
    cells = nbformat.read(result.notebook, 4).cells
    assert any("before" in str(c.get("outputs")) for c in cells) and result.notebook.name == "table_20.failed.ipynb"
    assert "fine" in (tmp_path / "out" / "table_20.ipynb").read_text()
    assert "ZeroDivisionError" in run.console.file.getvalue() and "Traceback" not in run.console.file.getvalue()


def test_a_user_error_is_its_own_line(run):
    result = run("from dclm_nb.core.errors import UserError\nraise UserError('the pool is empty: give a WARC')")
    assert result.message == "the pool is empty: give a WARC" and result.exit_code != 0


def test_the_limit_stops_the_whole_tree(run, tmp_path):
    child = (
        f"import subprocess, sys, os; open(r'{tmp_path}/pid1', 'w').write(str(os.getpid())); p = "
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); open(r'{tmp_path}/pid2', "
        "'w').write(str(p.pid)); p.wait()"
    )
    result = run(child, limit=8)
    assert (result.status, result.exit_code) == ("killed", 124) and "same command continues" in result.message
    assert (tmp_path / "pid2").exists() and not left_behind(tmp_path)


def test_a_killed_kernel_is_told_from_an_error(run):
    result = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert result.status in ("killed", "oom") and result.exit_code in (124, 137)


def test_out_of_memory_is_named(run): assert run("raise MemoryError()").status == "oom"


def test_what_can_be_seen_before_is_refused_before(run, tmp_path, monkeypatch):
    for options, line in [
        (dict(seeds="many"), "seeds are a number"),
        (
            dict(scale="smoke", parameters="scale: str = 'x'  # replay\nout_dir = ''", seeds="2"),
            "has no parameter seeds",
        ),
        (dict(parameters="scale = 'smoke'"), "has no parameter out_dir"),
        (dict(scale="7B-1x"), "is not offered at 7B-1x"),
    ]:
        with pytest.raises(UserError, match=line): run("print(1)", **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        runner.reproduce(TABLE, "smoke", out_dir=tmp_path / "file" / "out", console=Console(file=io.StringIO()))
    assert "\n" not in str(error.value)


def test_a_scale_that_is_not_offered_is_refused_with_those_that_are(run):
    for scale in ("laptop", "gpu"):
        with pytest.raises(UserError, match=f"not offered at {scale}; it is at: replay, smoke$"):
            run("print(scale)", scale=scale)
    assert run("print(scale)", scale=None).scale == "smoke"
    assert run("print(scale)", scale="replay").scale == "replay"


def test_progress_of_the_kernel_is_shown(run):
    run(
        "import time\nfrom dclm_nb.core.progress import Progress\nwith Progress('training', total=3) as p:\n    for _ "
        "in range(3): time.sleep(0.7); p.update(1, note='loss 3.2')"
    )
    shown = run.console.file.getvalue()
    assert re.search("training  [0-3] of 3", shown) and "? left" not in shown, shown


DRIVER = """
import sys
from pathlib import Path
from dclm_nb.papers.catalogue import Exhibit
Exhibit.notebook = property(lambda self: Path(sys.argv[1]))
from dclm_nb.cli import main
main(["reproduce", "table-4", "--scale", "smoke", "--out", sys.argv[2]])
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, *nightly(signal.SIGINT, signal.SIGKILL)])
def test_stopping_the_command_stops_everything(tmp_path, how):
    path = notebook(
        tmp_path, f"import os, time; open(r'{tmp_path}/pid1', 'w').write(str(os.getpid())); time.sleep(300)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts background jobs, us among them, deaf to it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for _ in range(600):
        if (tmp_path / "pid1").exists() or process.poll() is not None: break
        time.sleep(0.1)
    time.sleep(0.5)
    assert process.poll() is None and (tmp_path / "pid1").exists(), process.communicate()[1]
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert (
            process.returncode == 130
            and errors.strip().splitlines()[-1].startswith("dclm-nb: interrupted")
            and "Traceback" not in errors
        )
    for _ in range(50):
        if not left_behind(tmp_path): return
        time.sleep(0.2)
    raise AssertionError("the kernel lives on")


def test_replay_needs_neither_torch_nor_a_kernel():
    code = (
        "import sys; from dclm_nb.exhibits.results import known_already; from dclm_nb.papers.catalogue import "
        "get_exhibit; known_already(get_exhibit('table-4')); print([m for m in ('torch', 'lightning', 'matplotlib', "
        "'papermill', 'scipy', 'datatrove') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_parameters_of_a_notebook_are_read_without_a_parser_of_addresses():
    """It would take two seconds at each start; whoever wants it afterwards has it."""
    code = (
        "import sys; from dclm_nb.core.paths import project_root; from dclm_nb.exhibits.offers import read_parameters; "
        "read_parameters(project_root() / 'reproduce/dclm/table_04.ipynb'); print('rfc3987_syntax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_hidden_module_is_there_again_afterwards():
    with without_module("pyclbr"), pytest.raises(ImportError): import pyclbr
    import pyclbr  # noqa: F811
    with without_module("pyclbr"): assert sys.modules["pyclbr"] is pyclbr


def test_several_runs_go_on_after_a_failure(tmp_path, monkeypatch):
    path = notebook(tmp_path, "1 / 0")
    monkeypatch.setattr(
        Exhibit, "notebook", property(lambda self: path if self.id in ("table-20", "table-21") else tmp_path / "none")
    )
    monkeypatch.setattr(Exhibit, "built", property(lambda self: self.notebook.is_file()))
    monkeypatch.setattr(runner, "show_known", lambda *args: None)
    monkeypatch.setattr(runner, "out_folder", lambda exhibit, scale: tmp_path / exhibit.name)
    console = Console(file=io.StringIO(), width=100)
    results = runner.reproduce_all([get_exhibit(f"table-{n}") for n in (20, 21, 22)], "smoke", console=console)
    assert [r.status for r in results] == ["error", "error"] and "1 exhibit is not built yet" in console.file.getvalue()


def test_where_nothing_is_built_nothing_is_said_to_have_run(monkeypatch):
    monkeypatch.setattr(Exhibit, "built", False)
    with pytest.raises(UserError, match="no exhibit of svd is built yet"):
        runner.reproduce_all(catalogue("svd"), "smoke")
    with pytest.raises(UserError, match="unknown scale of svd '1B-1x'"): runner.reproduce_all(catalogue("svd"), "1B-1x")


def test_the_manifest_learns_the_wall_time(tmp_path):
    (tmp_path / "table_20.manifest.json").write_text(json.dumps({"scale": "smoke"}))
    runner._record(TABLE, tmp_path, 12.34)
    assert json.loads((tmp_path / "table_20.manifest.json").read_text()) == {"scale": "smoke", "wall_seconds": 12.3}


def test_settling_the_scale_is_for_who_asks_for_none():
    assert runner.settle_scale(TABLE).name == "smoke"
    assert [runner.settle_scale(TABLE, get_scale(s)).name for s in ("replay", "smoke")] == ["replay", "smoke"]


@pytest.mark.parametrize("exhibit", everything(), ids=lambda e: f"{e.paper} {e.id}")
def test_every_scale_is_offered_or_refused_with_the_list_of_this_exhibit(exhibit):
    for scale in scales_of(exhibit.paper).values():
        if scale.name in exhibit.scales: assert runner.settle_scale(exhibit, scale) == scale
        else:
            with pytest.raises(UserError, match=f"it is at: {', '.join(exhibit.scales)}$"):
                runner.settle_scale(exhibit, scale)
    assert runner.settle_scale(exhibit).name in exhibit.scales and runner.settle_scale(exhibit).needs == "cpu"


def test_all_leaves_out_what_could_train_but_not_at_this_scale(monkeypatch):
    asked = []

    def ran(exhibit, scale, **options):
        asked.append((exhibit.id, scale))
        return runner.Reproduction(exhibit, scale or "replay", "ok", 1.0, Path())

    monkeypatch.setattr(runner, "reproduce", ran)
    console = Console(file=io.StringIO(), width=100)
    replayed = next(e for e in catalogue("dclm") if e.built and e.scales == ("replay",))
    exhibits = [get_exhibit("table-4"), replayed, get_exhibit("figure-a", "tradeoffs")]
    runner.reproduce_all(exhibits, "gpu", console=console)
    assert asked == [(replayed.id, None), ("figure-a", "gpu")]
    assert "not offered at gpu, and left out: table-4" in console.file.getvalue()
    assert os.environ.get("DCLM_NB_PROGRESS") is None


@pytest.mark.parametrize("scale, claims_nothing", [("smoke", True), ("laptop", False), ("replay", False)])
def test_the_last_line_of_a_smoke_run_says_that_it_may_claim_nothing(tmp_path, scale, claims_nothing):
    (tmp_path / "table_20.md").write_text("a page")
    console = Console(file=io.StringIO(), width=100)
    runner._show_result(runner.Reproduction(TABLE, scale, "ok", 1.0, tmp_path), console)
    last = console.file.getvalue().strip().splitlines()[-1]
    assert (last == "this was a run at smoke, and it may claim nothing: its numbers mean nothing") == claims_nothing


@pytest.mark.parametrize("scale, claims_nothing", [("smoke", True), (None, False)])
def test_so_does_the_last_line_of_many(monkeypatch, scale, claims_nothing):
    monkeypatch.setattr(runner, "reproduce", lambda exhibit, at, **options: runner.Reproduction(
        exhibit, at or "laptop", "ok", 1.0, Path()))
    console = Console(file=io.StringIO(), width=100)
    runner.reproduce_all([get_exhibit("table-4"), get_exhibit("figure-a", "tradeoffs")], scale, console=console)
    last = console.file.getvalue().strip().splitlines()[-1]
    assert (last == "2 of them were runs at smoke, and may claim nothing: their numbers mean nothing") == claims_nothing


@pytest.mark.parametrize("exhibit", [("table-4", "dclm"), ("table-12", "dclm"), ("figure-b", "tradeoffs"),
                                     ("figure-3", "svd")])
def test_an_unknown_scale_is_answered_with_those_of_this_exhibit(exhibit):
    exhibit = get_exhibit(*exhibit)
    with pytest.raises(UserError) as said: runner.reproduce(exhibit, "tiny")
    assert str(said.value).endswith(f"choose from: {', '.join(exhibit.scales)}") and "\n" not in str(said.value)
