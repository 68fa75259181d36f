"""Rows in files: any type, any cut into parts; the bytes of old files; damage is found at opening."""
import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import is_sum, sum_beside
from dclm_nb.shards.records import (
    NoRow, Records, content_identity, map_npy, map_rows, read_header, write_npy, write_rows,
)

PICTURE = np.dtype([("latents", np.float16, (4, 2)), ("caption", np.uint16, (3,))])
KINDS = [np.dtype("<u2"), np.dtype(("<u4", (5,))), np.dtype(("<f2", (2, 3))), PICTURE]
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some(kind: np.dtype, n: int, seed: int = 0) -> np.ndarray:
    "`n` rows of random bytes, none of them NaN."
    raw = np.random.default_rng(seed).integers(0, 100, n * kind.itemsize, dtype=np.uint8)
    return np.frombuffer(raw.tobytes(), dtype=kind, count=n) if n else np.empty(0, kind)


@many
@given(st.sampled_from(KINDS), st.lists(st.integers(0, 9), max_size=6), st.integers(0, 99), st.data())
def test_rows_of_any_type_and_any_cut_are_found_by_their_number(tmp_path, kind, lengths, seed, data):
    whole = some(kind, sum(lengths), seed)
    parts = np.split(whole, np.cumsum(lengths)[:-1]) if lengths else []
    raw, npy = [], []
    for i, part in enumerate(parts):
        digest = write_rows(tmp_path / f"{i}.bin", part)
        raw.append(map_rows(tmp_path / f"{i}.bin", kind, len(part), digest))
        npy.append(map_npy(write_npy(tmp_path / f"{i}.npy", part)))
    for read in (Records(raw), Records(npy)):
        assert len(read) == len(whole)
        if not len(whole): continue
        chosen = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=30))
        found = read.rows(chosen)
        assert found.dtype == whole.dtype and found.tobytes() == whole[np.array(chosen, int)].tobytes()


@pytest.mark.parametrize("number", [-1, 7, 10**12])
def test_a_number_without_a_row_is_refused(number):
    with pytest.raises(NoRow, match="from 0 to 6"): Records([np.arange(7)]).rows([0, number])


def test_no_rows_at_all():
    for empty in (Records([]), Records([np.empty((0, 3))])):
        assert len(empty) == 0
        with pytest.raises(NoRow, match="there are no rows"): empty.rows([0])
    assert Records([np.arange(3)]).rows([]).tolist() == []


@pytest.mark.parametrize(
    "other", [np.zeros(3, "<u4"), np.zeros((3, 2), "<u2"), np.zeros(3, "<i2")], ids=["wider", "longer", "signed"]
)
def test_two_types_do_not_mix(other):
    with pytest.raises(UserError, match="2 types"): Records([np.zeros(3, "<u2"), other])


@many
@given(st.integers(1, 20), st.integers(0, 10_000), st.integers(0, 7))
def test_one_flipped_bit_is_found(tmp_path, n, at, bit):
    path, rows = tmp_path / "x.bin", some(PICTURE, n)
    digest = write_rows(path, rows)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(UserError, match="SHA-256 of its manifest; fetch"): map_rows(path, PICTURE, n, digest)
    assert len(map_rows(path, PICTURE, n)) == n, "who gives no hash asks for none"


@many
@given(st.integers(1, 20), st.integers(-400, 400).filter(bool))
def test_another_size_is_found_by_both(tmp_path, n, change):
    rows = some(PICTURE, n)
    write_rows(tmp_path / "x.bin", rows), write_npy(tmp_path / "x.npy", rows)
    for path in (tmp_path / "x.bin", tmp_path / "x.npy"):
        data = path.read_bytes()
        path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(UserError, match="bytes, its manifest says"): map_rows(tmp_path / "x.bin", PICTURE, n)
    if change < 0:
        with pytest.raises(UserError, match="x.npy cannot be read"): map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_npy_is_named(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(UserError, match="x.npy cannot be read .* go"): map_npy(tmp_path / "x.npy", "go")


def test_pickles_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"): write_npy(tmp_path / "x.npy", objects)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"): map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("rows", [-1, "3", 3.0, None, True])
def test_a_manifest_that_counts_nonsense_is_named(tmp_path, rows):
    write_rows(tmp_path / "x.bin", np.zeros(3, "<u2"))
    with pytest.raises(UserError, match="rows; go"): map_rows(tmp_path / "x.bin", "<u2", rows, then="go")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"a": "1"}', '{"b": 1}', "[" * 100_000])
def test_a_header_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="x.json is not .*; make it again") as caught:
        read_header(tmp_path / "x.json", {"a": int})
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="gone.json cannot be read"): read_header(tmp_path / "gone.json", {})


def test_a_header_of_another_format_is_named(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"format": "rows/1", "a": 1}))
    assert read_header(tmp_path / "x.json", {"a": int}, "rows/1")["a"] == 1
    with pytest.raises(UserError, match="not of format rows/2 .format."): read_header(tmp_path / "x.json", {}, "rows/2")


@given(st.lists(st.text("abc", max_size=3), max_size=4), st.lists(st.text("abc", max_size=3), max_size=4))
def test_identities_differ_where_parts_or_their_order_do(a, b):
    assert (content_identity(5, a) == content_identity(5, b)) == (a == b)
    assert content_identity(5, a) != content_identity(6, a)


def test_the_bytes_on_the_disk_are_those_of_before(tmp_path):
    "Token folders and latents of earlier versions stay readable, and new ones are the same files."
    from dclm_nb.lm.data import TokenShards, write_token_folder
    folder = write_token_folder(tmp_path / "tokens", np.arange(60).reshape(12, 5), 100, eot_id=1, shards=2)
    files = [path for path in folder.iterdir() if not is_sum(path)]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}
    assert hashes == {
        "manifest.json": "c8651239244db064",
        "shard_00000.bin": "c933b00a5ea7b3b0",
        "shard_00001.bin": "84750845be8323a8",
    }
    assert TokenShards(folder).identity()[:16] == "29045018a8ced161"
    kept = write_npy(tmp_path / "latents.npy", np.zeros(3, PICTURE))
    assert hashlib.sha256(kept.read_bytes()).hexdigest()[:16] == "aa905dc6c3280619"


@pytest.mark.parametrize("damage", [{"sha256": None}, {"contexts": "6"}, {"contexts": -6}])
def test_a_token_manifest_without_hash_or_with_odd_counts_is_refused(tmp_path, damage):
    from dclm_nb.lm.data import TokenShards, write_token_folder
    folder = write_token_folder(tmp_path / "t", np.arange(60).reshape(12, 5), 100)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0] |= damage
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="bytes instead of .*; tokenise again"): TokenShards(folder)
    sum_beside(folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="tokenise it again"): TokenShards(folder)
