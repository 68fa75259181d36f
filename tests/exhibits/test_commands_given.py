"""Whatever is typed behind a command, and wherever it is typed: a result, or one line."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from odd import lay_out
from tiers import nightly

from dclm_nb.cli import app, main
from dclm_nb.core.errors import UserError
from dclm_nb.curation.warc import Page, write_warc
from dclm_nb.exhibits.outcome import Reproduction

FEW = ["", "-1", "nan", "99999999999", "foo", "🙂", "a\udcffb", "**", "a-file", "a\nb"]
TYPED = ["", " ", "-1", "1.5", "nan", "-inf", "1e400", "99999999999", "1,2", "foo", "🙂", "a\udcffb", "**", "[",
         "../../x", "a-file", "a-folder", "a-file/under", "x" * 5000, "a\nb", "!!python/object:os.system x",
         "{0..99999999999}", "/dev/null", "/"]
RIGHT = {  # a line of each command that is right, or refused at once: one parameter at a time is then replaced
    "reproduce": dict(exhibit="figure-3", paper="dclm", scale="replay", seeds="1,2", force=None, out="out", strict=None,
                      limit="1", here=None),
    "status": dict(paper="svd", markdown=None),
    "claims": dict(paper="tradeoffs", reasons=None),
    "budget": dict(exhibit="figure-3", paper="dclm", scale="replay"),
    "report": {},
    "pages": dict(paper="tradeoffs"),
    "site": dict(out="out"),
    "bless": dict(paper="tradeoffs", allow=None, words=None),
    "why": dict(key="0"),
    "train-image": dict(shards="shards", out="out", method="next-token", size="nano", codec="vq-8", devices="1",
                        resolution="24", pictures="256", seed="0"),
    "data fetch": dict(optional=None),
    "runs": dict(last="3"),
    "runs check": {},
    "runs bump": dict(name="no/such", because="why"),
    "runs same": dict(names="no/such", because="why"),
    "runs verify": dict(key="0"),
    "curate": dict(warc="a.warc", out="out", executor="local", workers="1", extraction="resiliparse", lists="embedded",
                   classifier="none", keep="0.5", faithful=None),
    "curate video": dict(films="a-folder", config="", out="out", executor="local", workers="1"),
    "train video": dict(data="a-folder", stage="image", start="", out="out", config="", size="laptop", seed="0"),
    "sample video": dict(model="a-folder", caption="a dog", image=None, out="out", seed="0", steps="1", guidance="2",
                         fps_id="1", motion_bucket_id="1", elevation="0"),
}
QUICK = ["reproduce", "status", "claims", "budget", "site", "bless", "why", "train-image", "runs", "runs bump",
         "runs same", "runs verify", "curate", "curate video", "train video", "sample video"]


def commands(group=None, path=()):
    """(name, click command) of every command."""
    group = group or typer.main.get_command(app)
    for name, command in getattr(group, "commands", {}).items(): yield from commands(command, (*path, name))
    if not getattr(group, "commands", None) or group.invoke_without_command: yield " ".join(path), group


def test_every_command_and_parameter_is_in_the_table():
    """So that a new one without a guard is seen."""
    assert {name: {p.name for p in command.params} for name, command in commands()} == {
        name: set(line) for name, line in RIGHT.items()
    }


def line_of(name: str, given: dict) -> list[str]:
    """The words of a command line."""
    command, words = dict(commands())[name], name.split()
    for parameter in command.params:
        value = given[parameter.name]
        if value is None: continue
        words += [value] if parameter.param_type_name == "argument" else [f"{parameter.opts[0]}={value}"]
    return words


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which nothing long begins: what comes behind the doors is left out."""
    from dclm_nb.curation import pipeline
    from dclm_nb.exhibits import bless, reword, runner
    from dclm_nb.image import launch
    from dclm_nb.image.webdata import PictureReader
    from dclm_nb.shards.sources import find_shards
    from dclm_nb.site import build
    from dclm_nb.video import pipeline as film_pipeline
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    write_warc("a.warc", [Page("http://a.org/", b"<p>text</p>")])
    done = lambda exhibit, scale, parameters, out, *_: Reproduction(exhibit, scale.name, "ok", 0.0, out)
    for name in ("execute", "execute_here"): monkeypatch.setattr(runner, name, done)
    for curation in (pipeline, film_pipeline): monkeypatch.setattr(curation, "run_pipeline", lambda *_, **options: None)
    for module in (bless, reword): monkeypatch.setattr(module, "project_root", lambda: tmp_path)

    def nothing(*_): raise UserError("nothing is built here")

    monkeypatch.setattr(build, "_ready", nothing)

    def prepare(method, shards, out, codec, resolution):
        PictureReader(resolution)
        find_shards(shards)
        raise UserError("nothing is trained here")

    monkeypatch.setattr(launch, "prepare", prepare)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name, words", [
    *(pytest.param(name, FEW, marks=pytest.mark.daily, id=f"{name}-few") for name in QUICK),
    # what they do to a name they do to another, and each time they read all declarations
    *(pytest.param(name, FEW if name in ("runs bump", "runs same") else TYPED, marks=pytest.mark.nightly,
                   id=f"{name}-all") for name in QUICK),
])
def test_any_word_of_any_parameter_is_a_result_or_one_line(name, words, place, capfd, record_property):
    wrong = []
    for parameter, right in RIGHT[name].items():
        for word in words if right is not None else []:
            lay_out()
            try: main(line_of(name, RIGHT[name] | {parameter: word}))
            except SystemExit as ended: said, code = capfd.readouterr().err.strip().splitlines(), ended.code
            except Exception as error: said, code = [f"{type(error).__name__}: {error}"[:200]], "a traceback"
            # progress may stand before
            one_line = [line for line in said if line.startswith("dclm-nb: ")] == said[-1:]
            if code not in (0, 1, 2) or code == 2 and not one_line:
                wrong.append((parameter, word[:40], code, said[:3]))
    record_property("cases", len(words) * sum(right is not None for right in RIGHT[name].values()))
    assert not wrong, "\n".join(map(ascii, wrong))


def dclm_nb(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "dclm_nb", *words], capture_output=True, timeout=120,
                          env={**os.environ, **environment})


@pytest.mark.parametrize("columns", ["", "abc", *nightly("0", "-5", "1e3", "٣", "99999999999999999999", "20")])
def test_columns_of_any_kind(columns):
    done = dclm_nb("status", "--paper", "tradeoffs", COLUMNS=columns)
    assert done.returncode == 0 and not done.stderr and b"figure-j" in done.stdout


LINES = [["status", "--paper", "svd"], ["claims", "--paper", "dclm"], ["reproduce", "🙂"],
         ["reproduce", "figure-3", "--here", "--scale", "replay"]]


@pytest.mark.parametrize("words, encoding", [*((line, "ascii") for line in LINES), *(
    pytest.param(line, encoding, marks=pytest.mark.nightly)
    for line, encoding in [*zip(LINES, ("latin-1", "cp1252", "utf-8", "cp1252"))])])
def test_a_terminal_of_any_alphabet(encoding, words, tmp_path):
    out = ["--out", str(tmp_path)] if "--here" in words else []
    done = dclm_nb(*words, *out, PYTHONIOENCODING=encoding)
    assert done.returncode == (2 if "🙂" in words else 0) and b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode(encoding)


def test_marks_have_a_likeness_in_every_alphabet():
    plain = dclm_nb("status", "--paper", "tradeoffs", PYTHONIOENCODING="ascii").stdout.decode()
    assert "\ns figure-j" in plain and "* laptop" in plain and "\\" not in plain


def test_whoever_stops_reading_hears_no_complaint():
    line = f"{sys.executable} -m dclm_nb claims --paper all | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=120)
    assert not done.stderr


def test_an_emoji_in_the_folder(tmp_path):
    done = dclm_nb("reproduce", "figure-3", "--scale", "replay", "--out", str(tmp_path / "a 🙂 b"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a 🙂 b" / "figure_03.md").is_file()


def test_no_memory_is_one_line(monkeypatch, capsys):
    from dclm_nb.exhibits import status
    monkeypatch.setattr(status, "standing", lambda exhibit: bytearray(2**62))
    with pytest.raises(SystemExit) as ended: main(["status"])
    assert ended.value.code == 2 and "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("seeds, said", [
    ("99999999999", "too many"), ("1,99999999999999999999", "from 0 to"), ("-1,2", "from 0 to"), ("1,1", "named twice"),
    ("", "seeds are"), ("½", "seeds are"), ("0", "at least one"),
])
def test_seeds_that_cannot_be(seeds, said, place, capfd):
    with pytest.raises(SystemExit) as ended: main(["reproduce", "figure-3", f"--seeds={seeds}"])
    assert ended.value.code == 2 and said in capfd.readouterr().err


@pytest.mark.parametrize("parameters, said", [
    (["-p", "seeds", "1,2"], "seeds must be a list"), *(pytest.param(*case, marks=pytest.mark.nightly) for case in (
        (["-p", "seeds", "3"], "seeds must be a list"), (["-p", "force", "no"], "force must be True or False"),
        (["-y", "seeds: [1, 1]"], "a seed is named twice"), (["-y", "seeds: [a]"], "seeds[0]"),
        (["-p", "scale", "foo"], "unknown scale"),
    )),
])
def test_papermill_with_parameters_of_another_kind(parameters, said, tmp_path):
    notebook = Path(__file__).parents[2] / "reproduce" / "dclm" / "figure_03.ipynb"
    out = ["-p", "out_dir", str(tmp_path / "out")]
    line = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "a.ipynb"), "--no-progress-bar", "-k",
            "python3", *out, *parameters]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode and f"UserError: {said}" in done.stderr and not (tmp_path / "out").exists()
