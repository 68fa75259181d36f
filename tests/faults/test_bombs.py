"""Small files that would become large ones, or claim to be: archives in archives, sparse tars, headers of arrays, of
weights and of tables. Each is refused in bounded time and memory."""
import gzip
import io
import json
import struct
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dclm_nb.core.archives import Archive
from dclm_nb.core.errors import UserError
from dclm_nb.curation.warc import ReadReport, read_warc
from dclm_nb.image.checkpoints import load_image_model
from dclm_nb.image.features import load_judge
from dclm_nb.image.webdata import PictureReader, shard_images
from dclm_nb.lm.checkpoints import read_tensors
from dclm_nb.shards.records import map_npy
from dclm_nb.shards.tally import Refused

MOST_BYTES, MOST_SECONDS = 300 * 2**20, 30


@pytest.fixture(autouse=True)
def bounded():
    """No bomb takes more memory of Python's or more time than this."""
    tracemalloc.start()
    began = time.process_time()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES and time.process_time() - began < MOST_SECONDS


def zipped(members: dict[str, bytes]) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items(): archive.writestr(name, data)
    return kept.getvalue()


def read_all(path: Path) -> None:
    """All members of an archive, as the sources of this library read them."""
    for _ in Archive(path).read_many(): pass


def nested(levels: int) -> bytes:
    """A zip of zips of zips of zeros: 42.zip in small. What lies inside is not unpacked by itself."""
    data = bytes(2**22)
    for level in range(levels): data = zipped({f"{level}-{i}.zip": data for i in range(4)})
    return data


def sparse_tar() -> bytes:
    """A GNU sparse file that says it has a terabyte."""
    header = tarfile.TarInfo("a")
    header.size, header.type = 512, tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT)[:512])
    block[483:495] = b"777777777777"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(512 * 3)


@pytest.mark.parametrize("name, data", [
    ("zeros.zip", lambda: zipped({"a": bytes(2**28)})),
    ("many.zip", lambda: zipped({f"{i}": bytes(2**20) for i in range(400)})),
    ("nested.zip", lambda: nested(3)),
    ("zeros.tar.gz", lambda: gzip.compress(tar_of({"a": bytes(2**26)}))),
    ("twice.tar.gz", lambda: gzip.compress(gzip.compress(tar_of({"a": bytes(2**24)})))),
    ("sparse.tar", sparse_tar),
    ("entries.zip", lambda: zipped({f"{i}": b"" for i in range(20_000)})),
])
def test_archives_are_read_within_limits_or_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data())
    tracemalloc.reset_peak()
    try: read_all(tmp_path / name)
    except UserError as error: assert "\n" not in str(error)


def tar_of(members: dict[str, bytes]) -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return kept.getvalue()


@pytest.mark.parametrize("header", [
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    b"__import__('os').system('touch ran')",
    b"[" * 9000,
])
def test_an_array_whose_header_lies(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    text = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64))
    with pytest.raises(UserError, match="cannot be read"): map_npy(Path("a.npy"))
    assert not Path("ran").exists()


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(64)


def tensor(dtype: str, shape: list[int], end: int) -> bytes:
    """Weights that say this of their one tensor."""
    return safetensors(json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode())


BOTH = {name: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} for name in "ab"}
WEIGHTS = {
    "a header of an exabyte": safetensors(b"{}", 2**60),
    "a header longer than the file": safetensors(b"{}", 10_000),
    "no JSON": safetensors(b"[" * 5000),
    "a terabyte of numbers": tensor("F32", [2**38], 2**40),
    "a negative shape": tensor("F32", [-1], 4),
    "a shape that overflows": tensor("F32", [2**33] * 3, 4),
    "overlapping numbers": safetensors(json.dumps(BOTH).encode()),
    "another type": tensor("PICKLE", [16], 64),
    "empty": b"",
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("reader", [load_judge, read_tensors])
def test_weights_whose_header_lies(tmp_path, name, reader):
    path = tmp_path / "model.safetensors"
    path.write_bytes(WEIGHTS[name])
    with pytest.raises(UserError) as refused: reader(path)
    assert "\n" not in str(refused.value)


def test_a_model_folder_of_such_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS["a terabyte of numbers"])
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError): load_image_model(tmp_path)


def png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has no pixels."""
    import zlib
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(10**6))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 1), (1, 2**31 - 1), (100_000, 499), (7072, 7072)])
def test_pictures_that_say_they_are_vast(size):
    with pytest.raises(Refused): PictureReader(24)(png(*size))


@pytest.mark.parametrize("size", [0, 2**40, 2**62])
def test_a_tar_member_that_says_it_is_vast(tmp_path, size):
    header = tarfile.TarInfo("a.png")
    header.size = size
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + png(24, 24) + bytes(2048))
    stream = shard_images(tmp_path / "a.tar", PictureReader(24))
    assert list(stream) == [] and stream.tally.report()


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_page_packed_again_and_again(layers):
    """A gigabyte in a record, behind one gzip or several."""
    body = bytes(2**27)
    for _ in range(layers): body = gzip.compress(body, 9)
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + b"Content-Encoding: gzip\r\n" * layers + b"\r\n" + body
    record = (b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Type: application/http\r\n"
              b"Content-Length: %d\r\n\r\n" % len(block)) + block + b"\r\n\r\n"
    report = ReadReport()
    pages = list(read_warc(gzip.compress(record), report, limit=2**25))
    assert sum(len(page.html) for page in pages) <= 2**25 and report.records_in == 1


def test_no_number_of_a_terabyte_is_believed():
    """A file of rows whose manifest counts more than the file has."""
    from dclm_nb.shards.records import map_rows
    path = Path("/dev/null")
    with pytest.raises(UserError): map_rows(path, np.dtype("int64"), 2**40)
