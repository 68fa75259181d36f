"""Hostile and damaged archives: every one is refused in one line, bounded in memory, and nothing is written."""
import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclm_nb.core.archives import Archive, ArchiveError, check_name


def tar_bytes(*entries, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo): archive.addfile(entry); continue
            info = tarfile.TarInfo(entry[0]); info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_bytes(*entries, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in entries: archive.writestr(name, data)
    return buffer.getvalue()


def refused(tmp_path, data, match="refused"):
    path = tmp_path / "bad.archive"
    path.write_bytes(data)
    for use in (
        lambda: Archive(path).members(),
        lambda: list(Archive(path).read_many()),
        lambda: Archive(path).read("fine.txt"),
    ):
        with pytest.raises(ArchiveError, match=match) as caught: use()
        assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.archive"]


NAMES = [
    "../out",
    "a/../../out",
    "..",
    "/etc/passwd",
    "//host/share",
    "C:/windows",
    "c:out",
    "a\\..\\out",
    "~/x",
    "a/\x00b",
    "a\nb",
    "./../x",
    "a/..",
    "dir/..",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(ArchiveError): check_name(name)
    if "\x00" in name: return                               # tar and zip writers cut the name there themselves
    refused(tmp_path, tar_bytes((name, b"x")))
    # the zip reader turns a backslash into the system's separator
    if name == "a\\..\\out": return
    refused(tmp_path, zip_bytes((name, b"x")))


@pytest.mark.parametrize(
    "entry",
    [
        special("l", tarfile.SYMTYPE, "/etc/passwd"),
        special("l", tarfile.SYMTYPE, "fine.txt"),
        special("l", tarfile.LNKTYPE, "../x"),
        special("d", tarfile.CHRTYPE),
        special("d", tarfile.BLKTYPE),
        special("p", tarfile.FIFOTYPE),
        special("s", tarfile.GNUTYPE_SPARSE),
    ],
    ids=lambda e: f"{e.name}-{e.type}",
)
def test_links_devices_and_pipes_are_refused(tmp_path, entry):
    refused(tmp_path, tar_bytes(entry, ("fine.txt", b"x")))


def test_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(tmp_path, zip_bytes((info, "/etc/passwd"), ("fine.txt", "x")))


def test_two_entries_of_one_name(tmp_path):
    with pytest.warns(UserWarning): data = zip_bytes(("fine.txt", "one"), ("fine.txt", "two"))
    refused(tmp_path, data, "two entries")


@pytest.mark.parametrize(
    "make",
    [lambda: tar_bytes(("zeros", bytes(50_000_000))), lambda: zip_bytes(("zeros", bytes(50_000_000)))],
    ids=["tar", "zip"],
)
def test_ratio_bombs_are_refused_without_unpacking_them(tmp_path, make):
    data = make()
    assert len(data) < 100_000
    tracemalloc.start()
    refused(tmp_path, data, "200 times")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_header_that_lies_about_its_size_buys_nothing(tmp_path):
    real = bytes(zip_bytes(("zeros", bytes(30_000_000))))
    end = real.index(b"PK\x01\x02")
    lying = bytearray(real)
    struct.pack_into("<I", lying, end + 24, 100)            # the central directory announces 100 bytes
    path = tmp_path / "lying.zip"
    path.write_bytes(lying)
    with pytest.raises(ArchiveError): Archive(path).read("zeros")


def test_overlapping_entries(tmp_path):
    data = bytearray(zip_bytes(("a", b"x" * 5000), ("b", b"y" * 5000)))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 20, 60_000)           # packed size of `a` now reaches over everything behind it
    refused(tmp_path, bytes(data), "overlapping")


def test_member_larger_than_the_limit(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes(("big", b"x" * 5000), mode="w"))
    with pytest.raises(ArchiveError, match="more than 1,000"): Archive(path, max_member=1000).read("big")
    assert Archive(path).read("big") == b"x" * 5000


def test_pax_header_that_announces_gigabytes(tmp_path):
    block = bytearray(special("pax", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    refused(tmp_path, gzip.compress(bytes(block) + bytes(1024)), "damaged|refused")


@settings(deadline=None, max_examples=120)
@given(st.data())
def test_any_cut_or_flip_gives_data_or_an_archive_error(tmp_path_factory, data):
    whole = GOOD[data.draw(st.integers(0, len(GOOD) - 1))]
    damaged = bytearray(whole[:data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=4)) if damaged else []:
        damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz.bin"
    path.write_bytes(damaged)
    for use in (lambda: list(Archive(path).read_many()), lambda: Archive(path).read("one/a.txt")):
        try: use()
        except ArchiveError: pass


TEXTS = [("one/a.txt", b"alpha " * 50), ("one/b.txt", bytes(range(256))), ("two/c.txt", b"")]
GOOD = [tar_bytes(*TEXTS), tar_bytes(*TEXTS, mode="w"), zip_bytes(*TEXTS)]

@pytest.mark.parametrize("data", GOOD, ids=["tar.gz", "tar", "zip"])
def test_good_archives_are_read(tmp_path, data):
    path = tmp_path / "good"
    path.write_bytes(data)
    archive = Archive(path)
    assert archive.members() == [name for name, _ in TEXTS] and dict(archive.read_many("one/*")) == dict(TEXTS[:2])
    assert [archive.read(name) for name, _ in TEXTS] == [data for _, data in TEXTS]
    with pytest.raises(ArchiveError, match="no member.*did you mean"): archive.read("one/z.txt")


def test_empty_and_foreign_files(tmp_path):
    for data in (b"", b"hello", b"\x1f\x8b", b"PK\x03\x04", bytes(5000)):
        (tmp_path / "x").write_bytes(data)
        try: assert Archive(tmp_path / "x").members() == []             # 5,000 zero bytes are an empty tar
        except ArchiveError: assert data != bytes(5000)
