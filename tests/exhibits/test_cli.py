"""The command line: quick to answer, one line per mistake, non-zero when something went wrong."""
import os
import subprocess
import sys

import pytest

from dclm_nb.curation.warc import Page, write_warc
from dclm_nb.papers.catalogue import catalogue, extras


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from dclm_nb.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "100", **environment},
    )


@pytest.mark.parametrize(
    "line",
    [
        "reproduce table-99",
        "reproduce table-4 --scale huge",
        "reproduce table-4 --paper dlcm",
        "reproduce table-4 --seeds many",
        "reproduce all --paper all --scale huge",
        "reproduce table-4 --scale smoke --out /dev/null/out",
        "status --paper dlcm",
        "claims --paper x",
        "budget table-99",
        "budget table-4 --scale svd",
        "why nothing",
        "nonsense",
        "reproduce table-4 --limit 0",
        "reproduce all --limit -1",
        "reproduce table-4 --limit nan",
        "curate --warc a.warc.gz --workers 0",
        "curate --warc ftp://x/y",
        "curate --warc a.warc.gz --keep 0",
        "reproduce table-4 --sede 1",
        "reproduce figure-9 --paper svd",
        "bless --paper x",
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, tmp_path):
    done = command(*line.split(), DCLM_NB_HOME=str(tmp_path))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and lines and lines[-1].startswith("dclm-nb: ") and "Traceback" not in done.stderr, (
        done.returncode,
        done.stderr,
    )
    assert len(lines) == 1, lines


@pytest.mark.parametrize(
    "line, said",
    [
        ("reproduce all --paper svd --scale foo", "choose from: replay, smoke, laptop, gpu, svd"),
        ("curate --warc ftp://x/y", "https://, http://, s3://commoncrawl/ or crawl-data/"),
        ("curate --warc a.warc.gz --keep 1.5", "--keep is a share above 0 and at most 1"),
        ("curate --warc a.warc.gz --keep nan", "--keep is a share above 0 and at most 1"),
        ("why zzz", "there are no stored runs"),
    ],
)
def test_the_line_says_what_there_is(line, said, tmp_path):
    assert said in command(*line.split(), DCLM_NB_HOME=str(tmp_path)).stderr


@pytest.mark.parametrize("group", [[], ["data"]])
def test_without_a_command_the_help_is_all(group):
    done = command(*group)
    assert "Usage" in done.stdout and not done.stderr


def test_help_imports_nothing_heavy():
    code = ("import dclm_nb.cli, sys; print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib', 'papermill', "
            "'datatrove', 'yaml', 'scipy') if m in sys.modules])")
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_status_shows_all_exhibits_whole():
    shown = command("status").stdout
    assert (
        all(e.id in shown for e in catalogue("all"))
        and "of 89 exhibits" in shown
        and max(map(len, shown.splitlines())) <= 100
    )
    assert all(e.id in shown for e in extras("all")) and f"of {len(extras('all'))} extras of ours" in " ".join(
        shown.split()
    )


def test_claims_shows_every_claim():
    shown = command("claims", "--paper", "svd").stdout
    assert all(f"claim-{n}" in shown for n in range(1, 20))


def test_budget_knows_the_paper_size():
    shown = " ".join(command("budget", "table-4", "--scale", "1B-1x").stdout.split())
    assert "8 runs of 1.44B parameters on 28.8B tokens" in shown and "1,920 H100-hours" in shown
    assert "A time is measured, on the machine named below it; FLOPs" in shown


def test_curate_prints_the_funnel_also_where_no_page_is_left(tmp_path):
    warc = write_warc(
        tmp_path / "empty.warc.gz", [Page("https://a.example/", b"<p>Too short.</p>", content_type="text/html")]
    )
    done = command("curate", "--warc", str(warc), "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("dclm-nb: no page is left")
    assert (
        "records read" in done.stdout
        and "warcinfo record" in done.stdout
        and "everything lies in" in done.stdout
        and "en > 0.65" in done.stdout and "  removed      every page that went" in done.stdout
        and list(tmp_path.glob("out/*/report.json"))
    )


@pytest.mark.parametrize("module", ["dclm_nb", "dclm_nb.cli"])
def test_the_command_is_also_a_module(module, tmp_path):
    import subprocess
    import sys
    done = [subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, cwd=tmp_path)
            for words in (["--help"], ["claim"])]
    assert done[0].returncode == 0 and "reproduce" in done[0].stdout
    assert done[1].returncode == 2 and "claim" in done[1].stderr and "Traceback" not in done[1].stderr


def leaves(command=None, words=()) -> dict:
    "{words: command} of everything that can be called; a group that does something by itself is one of them."
    import typer
    from dclm_nb.cli import app
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", {})
    own = {words: command} if words and (not below or command.invoke_without_command) else {}
    return own | {k: v for name, c in below.items() for k, v in leaves(c, (*words, name)).items()}


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_the_help_of_a_command_ends_with_an_example_that_it_understands(words):
    command = leaves()[words]
    example = (command.epilog or "").removeprefix("Example: ").split()
    assert example[:1 + len(words)] == ["dclm-nb", *words], command.epilog
    command.make_context(words[-1], example[1 + len(words):])        # a usage error where an option does not exist


def test_the_help_has_every_command_in_a_group_with_an_example():
    from dclm_nb.cli import GROUPS, app
    commands = [*app.registered_commands, *app.registered_groups]
    assert {c.rich_help_panel for c in commands} == set(GROUPS.values()) and len(GROUPS) == 5
    known = {" ".join(words) for words in leaves()}
    for panel in GROUPS.values():
        example = panel.split("dclm-nb ")[1]
        assert any(example.startswith(name) for name in known), panel
    shown = command("--help").stdout
    assert all(panel in shown for panel in GROUPS.values()) and max(map(len, shown.splitlines())) <= 100
