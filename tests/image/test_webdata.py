"""Shards and hub rows with everything that can go wrong: counted by its cause, and nothing stops."""
import collections
import io
import json
import tarfile

import pytest
import torch
from PIL import Image, PngImagePlugin
from torch.utils.data import DataLoader

from dclm_nb.core.errors import UserError
from dclm_nb.image import webdata
from dclm_nb.image.scenes import scene_set, SceneSpec
from dclm_nb.image.webdata import (
    PICTURE_SHARDS, CaptionedStream, HubSource, PictureReader, hub_images, read_caption, shard_images, write_shard,
)
from dclm_nb.shards.sources import ShardSource
from dclm_nb.shards.tally import Refused

READER = PictureReader(24)


def file_of(image, format="PNG", **options):
    image.save(kept := io.BytesIO(), format, **options)
    return kept.getvalue()


PNG = file_of(Image.new("RGB", (40, 30), "red"))


def shard(path, *members):
    "A tar of (name, bytes) or ready TarInfo entries."
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo): archive.addfile(member); continue
            entry = tarfile.TarInfo(member[0])
            entry.size = len(member[1])
            archive.addfile(entry, io.BytesIO(member[1]))
    return path


def special(name, type, linkname=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = type, linkname
    return entry


def run(path, **options):
    stream = shard_images(path, READER, **options)
    return list(stream), stream.tally.report()


@pytest.fixture
def shards(tmp_path):
    "Six shards of different length, 24 scenes in all, whose captions say which they are."
    images, first = scene_set(24), 0
    for i, length in enumerate((1, 7, 4, 2, 5, 5)):
        part = type(images)(
            images.images[first : first + length], tuple(f"picture {j}" for j in range(first, first + length))
        )
        write_shard(tmp_path / f"part-{i:02d}.tar", part, first)
        first += length
    return str(tmp_path / "part-{00..05}.tar")


EVERYTHING = {f"picture {j}" for j in range(24)}


@pytest.mark.parametrize("world, workers", [(1, 0), (1, 2), (3, 0), (2, 2)])
def test_ranks_and_workers_read_everything_once(shards, world, workers):
    seen, read = collections.Counter(), 0
    for rank in range(world):
        stream = shard_images(shards, READER, rank=rank, world_size=world, buffer=5)
        for images, captions in DataLoader(stream, batch_size=4, num_workers=workers):
            assert images.dtype == torch.uint8 and images.shape[1:] == (3, 24, 24)
            seen.update(captions)
        read += stream.tally.report()["read"]
    assert seen == collections.Counter(EVERYTHING) and read == 24


def test_counts_of_worker_processes_reach_the_stream(shards, tmp_path):
    broken = shard(tmp_path / "broken.tar", ("a.png", PNG), ("b.png", b"x"), ("b.txt", b"x"))
    stream = shard_images([shards, broken], READER)
    assert sum(len(captions) for _, captions in DataLoader(stream, batch_size=5, num_workers=2)) == 24
    assert stream.tally.report() == {"read": 24, "caption missing": 1, "picture unreadable": 1}


def test_order_depends_on_seed_and_epoch_and_on_nothing_else(shards):
    def order(seed=0, epoch=0):
        stream = shard_images(shards, READER, seed=seed, buffer=6)
        stream.set_epoch(epoch)
        return [caption for _, caption in stream]
    torch.manual_seed(1)
    first = order()
    torch.manual_seed(2)
    assert order() == first and sorted(order(1)) == sorted(order(0, 1)) == sorted(first)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_an_endless_stream_goes_on_with_the_next_epoch(shards):
    stream = shard_images(shards, READER, endless=True, buffer=4)
    captions = [caption for _, (_, caption) in zip(range(60), stream)]
    assert set(captions[:24]) == set(captions[24:48]) == EVERYTHING and captions[:24] != captions[24:48]
    again = shard_images(shards, READER, buffer=4)
    again.set_epoch(1)
    assert [caption for _, caption in again] == captions[24:48], "a resumed run begins at an epoch"


def test_without_a_buffer_a_shard_comes_in_its_own_order(tmp_path):
    scenes = scene_set(9, SceneSpec(size=24, cells=3, smallest=5, largest=6))
    pairs, _ = run(write_shard(tmp_path / "a.tar", scenes), buffer=0)
    assert [caption for _, caption in pairs] == list(scenes.captions) and torch.equal(
        torch.stack([image for image, _ in pairs]), scenes.images
    )
    assert (tmp_path / "a.tar").read_bytes() == write_shard(tmp_path / "b.tar", scenes).read_bytes()


BAD = {
    "picture missing": [("k.txt", b"x")],
    "caption missing": [("k.png", PNG)],
    "picture or caption twice": [("k.png", PNG), ("k.jpg", PNG), ("k.txt", b"x")],
    "not a plain file": [special("k.png", tarfile.SYMTYPE, "/etc/passwd"), ("k.txt", b"x")],
    "member too large": [("k.png", PNG), ("k.txt", bytes(2**20 + 1))],
    "picture unreadable": [("k.png", b"<html>"), ("k.txt", b"x")],
    "picture truncated": [("k.png", PNG[:-30]), ("k.txt", b"x")],
    "too many pixels": [("k.png", file_of(Image.new("1", (9000, 9000)))), ("k.txt", b"x")],
    "absurd size": [("k.png", file_of(Image.new("L", (900, 20)))), ("k.txt", b"x")],
    "caption not UTF-8": [("k.png", PNG), ("k.txt", b"caf\xe9")],
    "caption not JSON": [("k.png", PNG), ("k.json", b'{"caption": ')],
    "caption empty": [("k.png", PNG), ("k.txt", b" \n\t")],
}


@pytest.mark.parametrize("cause", BAD)
def test_a_bad_sample_is_counted_once_by_its_cause_and_its_neighbours_are_read(tmp_path, cause):
    pairs, report = run(
        shard(
            tmp_path / "a.tar", ("a.png", PNG), ("a.txt", b"before"), *BAD[cause], ("z.png", PNG), ("z.txt", b"after")
        ),
        buffer=0,
    )
    assert [caption for _, caption in pairs] == ["before", "after"] and report == {"read": 2, cause: 1}


_OTHERWISE = {"shard damaged", "stream broken", "extra file", "no part known by its name"}   # the last two: test_names


def test_every_cause_of_a_shard_was_tried(): assert set(BAD) | _OTHERWISE == set(webdata.CAUSES)


@pytest.mark.parametrize(
    "type",
    [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_devices_and_pipes_are_never_opened(tmp_path, type):
    pairs, report = run(shard(tmp_path / "a.tar", ("b.png", PNG), special("a.png", type, "b.png"), ("a.txt", b"x")))
    assert (
        pairs == []
        and set(report) <= {"not a plain file", "caption missing", "shard damaged"}
        and report.get("not a plain file", report.get("shard damaged")) == 1
    )


def test_nothing_is_written_and_odd_names_are_only_keys(tmp_path):
    members = [
        member
        for key in ("../../up", "/root/abs", "a/b.c/d", "C:\\x", "é")
        for member in ((f"{key}.PNG", PNG), (f"{key}.txt", key.encode()))
    ]
    path = shard(
        tmp_path / "a.tar",
        *members,
        ("a/b.c/d.seg.png", PNG),
        ("__MACOSX/._a.png", b"x"),
        ("README.md", b"x"),
        special("folder.png/", tarfile.DIRTYPE),
    )
    pairs, report = run(path, buffer=0)
    assert [caption for _, caption in pairs] == ["../../up", "/root/abs", "a/b.c/d", "C:\\x", "é"] and report == {
        "read": 5, "caption missing": 2, "no part known by its name": 1
    }
    assert list(tmp_path.iterdir()) == [path]


def test_a_shard_cut_anywhere_gives_what_came_before_and_is_counted(tmp_path):
    whole = write_shard(tmp_path / "whole.tar", scene_set(3)).read_bytes()
    end = 3 * 2048                                          # header and one block for each of two members
    for cut in range(0, end + 512, 256):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        pairs, report = run(tmp_path / "cut.tar", buffer=0)
        assert cut >= end + 512 or report.pop("shard damaged") == 1
        assert report == ({"read": len(pairs)} if pairs else {}) and cut // 2048 <= len(pairs) <= (cut + 512) // 2048, (
            cut
        )


@pytest.mark.parametrize("at", [0, 100, 124, 148, 156, 257, 2048, 2048 + 130])
def test_damaged_headers_end_a_shard_and_not_the_run(tmp_path, at):
    data = bytearray(write_shard(tmp_path / "bad.tar", scene_set(3)).read_bytes())
    data[at:at + 8] = b"\xff\x80zq\xff\xff\xff\xff"
    (tmp_path / "bad.tar").write_bytes(data)
    write_shard(tmp_path / "good.tar", scene_set(2, seed=5))
    pairs, report = run([tmp_path / "bad.tar", tmp_path / "good.tar"])
    assert report["read"] >= 2 and report["read"] < 5 and sum(report.values()) > report["read"]


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path):
    for type in (tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        entry = special("a.png", type)
        entry.size = 2**36
        path = tmp_path / "huge.tar"
        path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        assert run(path) == ([], {"shard damaged": 1}) or run(path)[1] == {"shard damaged": 1, "member too large": 1}


@pytest.mark.parametrize("data", [b"", b"not a tar at all" * 100, bytes(100), b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar_is_counted(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    assert run(tmp_path / "a.tar") == ([], {"shard damaged": 1})


def test_a_shard_that_vanished_is_counted(shards, tmp_path):
    stream = shard_images(shards, READER)
    (tmp_path / "part-01.tar").unlink()
    assert len(list(stream)) == 17 and stream.tally.report() == {"read": 17, "shard damaged": 1}


def test_pictures_are_turned_cropped_and_laid_on_white():
    image = Image.new("RGB", (60, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = image.getexif()
    exif[0x0112] = 6                                        # the camera was held on its side
    upright = PictureReader(10, min_side=1)(file_of(image, "JPEG", exif=exif, quality=95))
    assert upright.shape == (3, 10, 10) and upright[2].float().mean() > 200 and upright[0].float().mean() < 60
    assert (PictureReader(8)(file_of(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "WEBP", lossless=True)) == 255).all()


@pytest.mark.parametrize(
    "mode, format",
    [("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("I;16", "PNG"), ("RGBA", "WEBP")],
)
def test_every_mode_becomes_three_channels_of_the_size_asked_for(mode, format):
    assert PictureReader(16)(file_of(Image.new(mode, (33, 47)), format)).shape == (3, 16, 16)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_decoders_are_not_tried(format):
    with pytest.raises(Refused, match="picture unreadable"): READER(file_of(Image.new("RGB", (32, 32)), format))


def test_a_bomb_in_the_text_of_a_png_and_one_beyond_pillows_own_limit_are_refused():
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "0" * (2**21), zip=True)
    with pytest.raises(Refused, match="picture unreadable"): READER(file_of(Image.new("RGB", (32, 32)), pnginfo=text))
    with pytest.raises(Refused, match="too many pixels"): READER(file_of(Image.new("1", (15000, 15000))))


@pytest.mark.filterwarnings("error")
def test_random_damage_ends_in_a_picture_or_a_cause():
    rng = torch.Generator().manual_seed(0)
    for format in ("PNG", "JPEG", "WEBP"):
        whole = file_of(Image.effect_noise((48, 48), 40).convert("RGB"), format)
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(4):
                data[int(torch.randint(len(data), (), generator=rng))] = int(torch.randint(256, (), generator=rng))
            try: assert READER(bytes(data)).shape == (3, 24, 24)
            except Refused as e: assert e.cause in webdata.CAUSES


@pytest.mark.parametrize(
    "data, kind, outcome",
    [
        (b'{"caption": ["first", "second"]}', "json", "first"),
        ('{"caption": "caf\u00e9"}'.encode(), "json", "café"),
        (b"{}", "json", "caption missing"),
        (b"[1]", "json", "caption missing"),
        (b'{"caption": 3}', "json", "caption missing"),
        (b'{"caption": []}', "json", "caption missing"),
        (b'{"caption": "\\ud800"}', "json", "caption not UTF-8"),
        (b"\xff\xfe{}", "json", "caption not UTF-8"),
        (b"[" * 100_000, "json", "caption not JSON"),
        (b"", "txt", "caption empty"),
    ],
)
def test_captions(data, kind, outcome):
    try: assert read_caption(data, kind) == outcome
    except Refused as e: assert e.cause == outcome


def test_another_field_of_the_json_and_txt_before_json(tmp_path):
    path = shard(
        tmp_path / "a.tar",
        ("a.png", PNG),
        ("a.json", json.dumps({"alt": "from json"}).encode()),
        ("b.png", PNG),
        ("b.json", b"{}"),
        ("b.txt", b"from txt"),
    )
    assert [caption for _, caption in run(path, field="alt", buffer=0)[0]] == ["from json", "from txt"]


def test_a_world_larger_than_the_shards_and_a_rank_outside_it_are_refused(shards):
    with pytest.raises(UserError, match="6 shards cannot feed 7 ranks"):
        shard_images(shards, READER, rank=0, world_size=7)
    with pytest.raises(UserError, match="rank 2 is not in a world of 2"):
        shard_images(shards, READER, rank=2, world_size=2)
    with pytest.raises(UserError, match="cannot feed"): ShardSource((), PICTURE_SHARDS)


def test_an_endless_stream_of_nothing_ends_with_the_causes(tmp_path):
    with pytest.raises(UserError, match="picture unreadable: 1"):
        next(iter(shard_images(shard(tmp_path / "a.tar", *BAD["picture unreadable"]), READER, endless=True)))


@pytest.fixture
def hub(monkeypatch):
    "Rows as `datasets` streams them, in four files; `load_dataset` gives them for any name."
    datasets = pytest.importorskip("datasets")
    monkeypatch.delenv("DCLM_NB_OFFLINE", raising=False)
    cells = [{"bytes": PNG, "path": None}] * 8 + [
        {"bytes": PNG[:-30], "path": None},
        None,
        {"bytes": None, "path": "/etc/hostname"},
        {"bytes": None, "path": "https://example.org/a.png"},
    ]
    features = datasets.Features({
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "id": datasets.Value("int64"),
    })
    rows = datasets.Dataset.from_dict(
        {
            "image": cells,
            "text": [f"row {i}" for i in range(7)] + [None] + [f"row {i}" for i in range(8, 12)],
            "id": range(12),
        },
        features=features,
    )
    asked = []
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda repo, **options: asked.append((repo, options)) or rows.to_iterable_dataset(num_shards=4),
    )
    return asked


COMMIT = "a" * 40


@pytest.mark.parametrize("world, workers", [(1, 0), (1, 2), (2, 0), (3, 0)])
def test_hub_rows_are_split_decoded_and_counted(hub, world, workers):
    seen, counts = [], collections.Counter()
    for rank in range(world):
        stream = hub_images("lab/pictures", COMMIT, READER, rank=rank, world_size=world, buffer=3)
        for images, captions in DataLoader(stream, batch_size=2, num_workers=workers):
            assert images.shape[1:] == (3, 24, 24)
            seen.extend(captions)
        counts.update(stream.tally.report())
    assert sorted(seen) == [f"row {i}" for i in range(7)] and counts == {
        "read": 7,
        "caption missing": 1,
        "picture truncated": 1,
        "picture missing": 3,
    }
    assert hub[0] == ("lab/pictures", {"split": "train", "revision": COMMIT, "streaming": True})


def test_hub_order_depends_on_seed_and_epoch(hub):
    def order(seed, epoch):
        stream = hub_images("lab/pictures", COMMIT, READER, seed=seed)
        stream.set_epoch(epoch)
        return tuple(caption for _, caption in stream)
    assert order(0, 0) == order(0, 0) and len({order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_a_picture_that_is_a_file_of_the_data_set_is_read_and_no_other(tmp_path):
    (tmp_path / "own").mkdir()
    for name in ("own/a.png", "b.png"): (tmp_path / name).write_bytes(PNG)
    class Rows(list):
        def shuffle(self, **_): return self
        def set_epoch(self, epoch): pass

    rows = Rows(
        {"image": {"bytes": None, "path": f"{tmp_path}/{name}"}, "text": name}
        for name in ("own/gone.png", "own/a.png", "b.png")
    )
    stream = CaptionedStream(HubSource(rows, own=f"{tmp_path}/own/"), READER)
    assert [caption for _, caption in stream] == ["own/a.png"] and stream.tally.report() == {
        "read": 1,
        "picture missing": 2,
    }


def test_a_stream_that_breaks_off_is_counted_and_what_came_is_kept():
    class Rows:
        def shuffle(self, **_): return self
        def set_epoch(self, epoch): pass
        def __iter__(self):
            yield {"image": {"bytes": PNG}, "text": "one"}
            raise ConnectionError("gone")
    stream = CaptionedStream(HubSource(Rows()), READER)
    assert len(list(stream)) == 1 and stream.tally.report() == {"read": 1, "stream broken": 1}


@pytest.mark.parametrize(
    "options, said",
    [
        ({"image_column": "img"}, "did you mean 'image'"),
        ({"caption_column": "caption"}, "unknown column"),
        ({"rank": 3, "world_size": 2}, "rank 3"),
    ],
)
def test_hub_columns_and_ranks_are_checked_at_once(hub, options, said):
    with pytest.raises(UserError, match=said): hub_images("lab/pictures", COMMIT, READER, **options)


def test_hub_without_commit_extra_or_network_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="full commit"): hub_images("lab/pictures", "main", READER)
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    with pytest.raises(UserError, match="DCLM_NB_OFFLINE"): hub_images("lab/pictures", COMMIT, READER)
    with monkeypatch.context() as patch:
        patch.setattr(webdata.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"pip install 'dclm_nb\[gpu\]'"): hub_images("lab/pictures", COMMIT, READER)
    monkeypatch.delenv("DCLM_NB_OFFLINE")
    datasets = pytest.importorskip("datasets")
    def refuse(*_, **__): raise ConnectionError("no route\nto host")
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match="could not be opened .no route.") as caught:
        hub_images("lab/pictures", COMMIT, READER)
    assert "\n" not in str(caught.value)
