"""Tar files from strangers: any damage, any names; nothing is opened that should not be, and nothing is lost."""
import io
import string
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dclm_nb.shards.safe_tar import TAR_CAUSES, Layout, shard_samples, write_tar
from dclm_nb.shards.tally import Refused, Tally

LAYOUT = Layout({"a": "left", "b": "right", "c": "right"}, {"left": 2000, "right": 500}, (("left",), ("right",)))
KEYS = st.text(string.ascii_letters + "é -_/", min_size=1, max_size=20).filter(lambda key: key.strip("/") == key)
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, layout=LAYOUT):
    tally = Tally(TAR_CAUSES)
    return list(shard_samples(path, layout, tally)), tally.report()


@many
@given(st.lists(st.tuples(KEYS, st.binary(max_size=2000), st.binary(max_size=500)), unique_by=lambda s: s[0]))
def test_what_is_written_is_read(tmp_path, samples):
    members = [(f"{key}.{end}", data) for key, left, right in samples for end, data in (("a", left), ("c", right))]
    path = write_tar(tmp_path / "x.tar", members)
    expected = [(f"x.tar/{key}", {"left": left, "right": right}) for key, left, right in samples]
    assert read(path) == (expected, {})
    assert path.read_bytes() == write_tar(tmp_path / "y.tar", members).read_bytes()


@many
@given(st.integers(0, 8), st.integers(0, 20 * 512))
def test_a_cut_shard_gives_the_samples_that_arrived_whole(tmp_path, n, cut):
    whole = write_tar(tmp_path / "whole.tar", [(f"{i}.{end}", bytes(100)) for i in range(n) for end in "ab"])
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:cut])
    samples, report = read(tmp_path / "cut.tar")
    assert min(cut // 2048, n) <= len(samples) <= n and all(LAYOUT.is_whole(parts) for _, parts in samples)
    assert report == ({} if cut >= 2048 * n + 512 else {"shard damaged": 1})


@many
@given(st.lists(st.tuples(st.integers(0, 8 * 512 - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_is_a_count_and_never_an_error(tmp_path, changes):
    path = write_tar(tmp_path / "x.tar", [(f"{i}.{end}", bytes(100)) for i in range(2) for end in "ab"])
    data = bytearray(path.read_bytes())
    for at, value in changes: data[at] = value
    path.write_bytes(data)
    samples, report = read(path)
    assert len(samples) <= 4 and set(report) <= {"shard damaged"}
    for _, parts in samples:
        for part in parts.values(): assert isinstance(part, (bytes, Refused))


@many
@given(st.binary(max_size=3000))
def test_bytes_that_are_no_tar_are_one_damaged_shard(tmp_path, data):
    (tmp_path / "x.tar").write_bytes(data)
    samples, report = read(tmp_path / "x.tar")
    assert samples == [] and report in ({"shard damaged": 1}, {})
    assert report == {"shard damaged": 1} or data[:1024] == bytes(1024), "only an end mark is an empty shard"


ODD = [
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE
]


@pytest.mark.parametrize("kind", ODD)
def test_links_devices_and_pipes_are_never_opened(tmp_path, kind):
    odd = tarfile.TarInfo("x.a")
    odd.type, odd.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "x.tar", "w") as shard:
        shard.addfile(odd)
        shard.addfile(tarfile.TarInfo("x.b"))
    samples, report = read(tmp_path / "x.tar")
    if kind == tarfile.GNUTYPE_SPARSE and report == {"shard damaged": 1}: return        # as some Pythons see it
    [(_, parts)] = samples
    assert str(parts["left"]) == "not a plain file" and parts["right"] == b""


@pytest.mark.parametrize("size, fits", [(499, True), (500, True), (501, False)])
def test_the_limit_of_a_part_is_the_last_size_that_fits(tmp_path, size, fits):
    [(_, parts)], _ = read(write_tar(tmp_path / "x.tar", [("x.a", b""), ("x.b", bytes(size))]))
    assert (parts["right"] == bytes(size)) if fits else str(parts["right"]) == "member too large"


def test_twice_the_same_part_is_refused_by_the_name_that_the_layout_gives_it(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("x.a", b"1"), ("x.b", b"2"), ("x.c", b"3")])
    named = Layout(LAYOUT.endings, LAYOUT.limits, LAYOUT.needed, twice="two rights")
    for layout, cause in ((LAYOUT, "part twice"), (named, "two rights")):
        [(_, parts)], _ = read(path, layout)
        assert parts["left"] == b"1" and str(parts["right"]) == cause


def test_names_are_only_compared(tmp_path):
    folder = tmp_path / "only"
    folder.mkdir()
    keys = ["../../up", "root/abs", "a/b", "C:\\x", "x" * 300]
    path = write_tar(folder / "x.tar", [(f"{key}.{end}", b"") for key in keys for end in ("A", "b")])
    samples, report = read(path)
    assert [where for where, _ in samples] == [f"x.tar/{key}" for key in keys] and report == {}
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [2**17, 2**36, 2**62])
def test_a_header_that_claims_too_much_is_not_believed(tmp_path, kind, size):
    entry = tarfile.TarInfo("x.a")
    entry.type, entry.size = kind, size
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    samples, report = read(tmp_path / "x.tar")
    assert report == {"shard damaged": 1} and all(isinstance(p, Refused) for _, s in samples for p in s.values())


def test_writing_to_a_folder_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(Exception, match="cannot write"): write_tar(tmp_path / "gone" / "x.tar", [("x.a", b"")])
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_of_a_shard_are_those_of_the_standard_library(tmp_path):
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as shard:
        entry = tarfile.TarInfo("x.a")
        entry.size = 3
        shard.addfile(entry, io.BytesIO(b"abc"))
    assert write_tar(tmp_path / "x.tar", [("x.a", b"abc")]).read_bytes() == kept.getvalue()


def archive(folder, *names, mark=True):
    "A tar of empty files, with the zeros of its end mark up to 10,240 bytes or without."
    data = write_tar(folder / "part.tar", [(name, b"") for name in names]).read_bytes()
    return data if mark else data[:512 * len(names)]


@pytest.mark.parametrize("zeros", [0, 512, 1024, 9 * 512, 10_240, 2**20])
def test_tars_one_behind_the_other_are_read_to_the_end(tmp_path, zeros):
    "`cat a.tar b.tar`, with whatever number of zeros between them; padding is nothing."
    parts = [archive(tmp_path, f"{i}.a", f"{i}.b", mark=False) + bytes(1024 + zeros) for i in range(3)]
    (tmp_path / "x.tar").write_bytes(b"".join(parts))
    samples, report = read(tmp_path / "x.tar")
    assert [where for where, _ in samples] == ["x.tar/0", "x.tar/1", "x.tar/2"] and report == {}


def test_one_block_of_zeros_among_the_members_ends_nothing(tmp_path):
    members = archive(tmp_path, "0.a", "0.b", mark=False) + bytes(512) + archive(tmp_path, "1.a")
    (tmp_path / "x.tar").write_bytes(members)
    samples, report = read(tmp_path / "x.tar")
    assert [where for where, _ in samples] == ["x.tar/0", "x.tar/1"] and report == {}


def test_samples_of_one_name_in_two_tars_are_two(tmp_path):
    (tmp_path / "x.tar").write_bytes(archive(tmp_path, "0.a", "0.b") * 2 + archive(tmp_path, "0.b"))
    samples, report = read(tmp_path / "x.tar")
    assert [sorted(parts) for _, parts in samples] == [["left", "right"], ["left", "right"], ["right"]] and report == {}


@pytest.mark.parametrize("junk", [b"junk" * 300, b"j", b"\0" * 511 + b"j", b"<html>" * 100, bytes(700) + b"\xff"])
@pytest.mark.parametrize("zeros", [0, 512, 20_000])
def test_junk_behind_the_end_is_counted(tmp_path, junk, zeros):
    (tmp_path / "x.tar").write_bytes(archive(tmp_path, "0.a", "0.b") + bytes(zeros) + junk)
    samples, report = read(tmp_path / "x.tar")
    assert [where for where, _ in samples] == ["x.tar/0"] and report == {"shard damaged": 1}


@pytest.mark.parametrize("kind", ["first header", "second header", "cut header", "cut content", "claims too much"])
def test_a_damaged_tar_behind_the_end_is_counted_and_what_came_before_is_used(tmp_path, kind):
    second = bytearray(write_tar(tmp_path / "b.tar", [("1.a", b"x" * 600), ("2.a", b"y")]).read_bytes())
    if kind == "first header": second[0] ^= 1
    if kind == "second header": second[3 * 512] ^= 1
    if kind == "cut header": del second[300:]
    if kind == "cut content": del second[700:]
    if kind == "claims too much":
        entry = tarfile.TarInfo("1.a")
        entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**40
        second = entry.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(archive(tmp_path, "0.a", "0.b") + bytes(second))
    samples, report = read(tmp_path / "x.tar")
    assert "x.tar/0" in [where for where, _ in samples] and report == {"shard damaged": 1}
