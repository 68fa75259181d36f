"""What the system says about a disk is understood in whichever words it comes, and said in one line by every door."""
import errno
import os
import subprocess
import sys

import pytest

from dclm_nb.cli import _run
from dclm_nb.core.doors import door
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import disk_error, is_disk_error, whole_file

NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO]


class LibraryError(Exception): pass                     # neither OSError nor RuntimeError, as that of safetensors


def words_of(number):
    said = os.strerror(number)
    yield OSError(number, said)
    yield RuntimeError(f"unable to resize file </torch_1_2_0> to the right size: {said} ({number})")        # torch
    yield LibraryError(f"Error while serializing: I/O error: {said} (os error {number})")                   # Rust
    yield LibraryError(f"could not write: [Errno {number}] {said}")                                         # Python
    wrapped = ValueError("the picture could not be written")
    wrapped.__cause__ = OSError(number, said)
    yield wrapped


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_a_disk_error_in_any_words_is_one_line(number, tmp_path):
    line = str(disk_error(OSError(number, ""), "x"))
    for error in words_of(number):
        assert is_disk_error(error) and str(disk_error(error, "x")) == line
        with pytest.raises(UserError, match="cannot write") as said:
            with whole_file(tmp_path / "file"): raise error

        if isinstance(error, OSError): continue         # Python's own words for it
        @door
        def broken(): raise error
        with pytest.raises(UserError) as said: broken()
        assert "\n" not in str(said.value) and line.partition(": ")[2] in str(said.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE], ids=errno.errorcode.get)
def test_what_may_not_be_written_has_its_cause_in_any_words(number):
    line = str(disk_error(OSError(number, ""), "x"))
    for error in words_of(number): assert str(disk_error(error, "x")) == line and not is_disk_error(error)


@pytest.mark.parametrize("text", ["File too large to be a picture", "27 files", "Input/output error rates", "too many"])
def test_words_alone_are_no_disk(text):
    assert not is_disk_error(ValueError(text))

    @door
    def broken(): raise ValueError(text)
    with pytest.raises(ValueError): broken()


FULL = """
import resource, signal, sys
from dclm_nb.core.errors import UserError
from dclm_nb.curation.bloom import BloomDeduplicator
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
texts = [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(5)]
kept = BloomDeduplicator(100_000)
kept.deduplicate(texts[:1])
kept.save("kept.bloom")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
kept.deduplicate(texts)
try: kept.save("kept.bloom")
except UserError as error: print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(BloomDeduplicator.load("kept.bloom").inserted)
"""


def test_a_filter_that_cannot_be_saved_leaves_the_one_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True)
    said, inserted = done.stdout.splitlines()
    assert said == "cannot write kept.bloom: the file would be larger than this system allows (see `ulimit -f`)"
    assert inserted == "8" and sorted(p.name for p in tmp_path.iterdir()) == [".kept.bloom.sum", "kept.bloom"]


def test_a_saved_filter_is_the_file_of_safetensors(tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save

    from dclm_nb.curation.bloom import BloomDeduplicator
    kept = BloomDeduplicator(1000)
    kept.deduplicate([" ".join(f"w{j}" for j in range(20))])
    kept.save(path := tmp_path / "kept.bloom")
    with safe_open(path, "np") as file: about = file.metadata()
    assert path.read_bytes() == save({"words": kept.filter.layers[0].words}, about)


def test_the_command_line_says_it_too(monkeypatch):
    def broken(arguments): raise LibraryError(f"{os.strerror(errno.EFBIG)} (os error {errno.EFBIG})")
    monkeypatch.setattr("dclm_nb.cli._called", broken)
    code, line = _run([])
    assert code == 2 and "larger than this system allows" in line
