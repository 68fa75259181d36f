"Names in shards: what is not read is counted, and an extra dot loses no picture."
import io
import json
import random

import pytest
from PIL import Image

from dclm_nb.image.webdata import PictureReader, shard_images
from dclm_nb.shards.safe_tar import write_tar

kept = io.BytesIO()
Image.new("RGB", (32, 32), "red").save(kept, "JPEG")
JPEG, CAPTION = kept.getvalue(), b"a red square"


def report(folder, members):
    stream = shard_images(write_tar(folder / "s.tar", members), PictureReader(16), 0, 1, buffer=1)
    return [caption for _, caption in stream], stream.tally.report()


@pytest.mark.parametrize("stems", [["photo.v1", "photo.v2"], ["a.b.c", "a.b.d"], ["2024.01.02", "2024.01.03"],
                                   ["x/y.z", "x.y/z"], [".hidden", "._mac"], ["ÄÖ.ü", "ß.ß"]])
def test_dots_in_names(tmp_path, stems):
    members = [(f"{stem}.{end}", data) for stem in stems for end, data in (("jpg", JPEG), ("txt", CAPTION))]
    captions, counts = report(tmp_path, members)
    assert sum(counts.values()) == len(stems) == len(captions), counts


def test_a_dotted_name_behind_its_own_stem_is_refused_and_counted(tmp_path):
    members = [("photo.jpg", JPEG), ("photo.txt", CAPTION), ("photo.v1.jpg", JPEG), ("photo.v1.txt", CAPTION)]
    assert report(tmp_path, members) == ([CAPTION.decode()], {"read": 1, "extra file": 2})


def test_a_second_picture_of_a_sample_stays_an_extra(tmp_path):
    "WebDataset's own use of a dot: photo.jpg, photo.mask.png, photo.txt are one sample."
    members = [("photo.jpg", JPEG), ("photo.mask.png", b"other"), ("photo.txt", CAPTION), ("photo.cls", b"1")]
    assert report(tmp_path, members) == ([CAPTION.decode()], {"read": 1, "extra file": 1})


@pytest.mark.parametrize("names", [["a.gif", "b.bmp"], ["README", "LICENSE"], ["a.jpg.part", "b.jpg~"], ["a", "b.npy"]])
def test_what_is_not_known_by_its_name_is_counted(tmp_path, names):
    captions, counts = report(tmp_path, [*((name, b"?") for name in names), ("p.jpg", JPEG), ("p.txt", CAPTION)])
    assert captions == [CAPTION.decode()] and counts == {"read": 1, "no part known by its name": 2}


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_is_somewhere_in_the_count(tmp_path, seed):
    rng = random.Random(seed)
    endings = ["jpg", "txt", "json", "gif", "v1.jpg", "", "JPG", "cls"]
    keys, members = [f"k{i}" for i in range(10)], []
    for key in keys:
        members += [(f"{key}.{end}".rstrip("."), CAPTION) for end in rng.sample(endings, rng.randint(1, 3))]
    _, counts = report(tmp_path, members)
    assert sum(counts.values()) >= len(keys)


@pytest.mark.parametrize("text", [b"", b" \n", b"\xff\xfe", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("order", [("txt", "json"), ("json", "txt")])
def test_a_txt_that_says_nothing_beside_a_json_that_does(tmp_path, text, order):
    data = {"txt": text, "json": json.dumps({"caption": "from json"}).encode()}
    members = [("p.jpg", JPEG), *((f"p.{end}", data[end]) for end in order)]
    assert report(tmp_path, members) == (["from json"], {"read": 1})
    [cause] = report(tmp_path, [("p.jpg", JPEG), ("p.txt", text), ("p.json", b"{}")])[1]
    assert cause in ("caption empty", "caption not UTF-8")


@pytest.mark.parametrize("text", [
    b"c" * (2**20 + 1), "\u200b".encode(), "\ufeff\u00ad \u2063\n".encode(), b"\xe9", b"",
])
@pytest.mark.parametrize("order", [("txt", "json"), ("json", "txt")])
def test_no_txt_hides_the_caption_of_the_json(tmp_path, text, order):
    "Too large, of things that nobody sees, in another encoding."
    data = {"txt": text, "json": json.dumps({"caption": "from json"}).encode()}
    assert report(tmp_path, [("p.jpg", JPEG), *((f"p.{end}", data[end]) for end in order)]) == (
        ["from json"], {"read": 1})
    assert report(tmp_path, [("p.jpg", JPEG), ("p.txt", text)])[1].keys() <= {
        "member too large", "caption empty", "caption not UTF-8"}


@pytest.mark.parametrize("other", [b" " * (2**20 + 1), b"{", b"[]", b'{"caption": ["", "\\u200b", null]}'])
def test_no_json_hides_the_caption_of_the_txt(tmp_path, other):
    assert report(tmp_path, [("p.jpg", JPEG), ("p.json", other), ("p.txt", CAPTION)]) == (
        [CAPTION.decode()], {"read": 1})


@pytest.mark.parametrize("many, cause", [
    (["", "c"], None), ([" ", "\u200b", "c", "d"], None), ([None, 3, "c"], None), (["c", ""], None),
    ([], "caption missing"), ([None], "caption missing"), (["", " "], "caption empty"), ([["c"]], "caption missing"),
])
def test_of_several_captions_the_first_that_says_something_is_read(tmp_path, many, cause):
    captions, counts = report(tmp_path, [("p.jpg", JPEG), ("p.json", json.dumps({"caption": many}).encode())])
    assert (captions, counts) == ((["c"], {"read": 1}) if cause is None else ([], {cause: 1}))


@pytest.mark.parametrize("clear", [None, 0, 0x0012, 0x1234, 0x12FF, 0xFFFF])
def test_grey_of_16_bits_with_a_transparent_value(tmp_path, clear):
    "The value is transparent in all its 16 bits; its neighbour, equal in the upper 8, is not."
    import numpy as np
    from dclm_nb.image.pictures import picture_tensor
    values = np.full((32, 32), 0x1234, np.uint16)
    values[:16] = 0x12FF
    kept = io.BytesIO()
    Image.fromarray(values).save(kept, "PNG", **({} if clear is None else {"transparency": clear}))
    image = Image.open(io.BytesIO(kept.getvalue()))
    assert image.mode.startswith("I;16") and image.info.get("transparency") == clear
    pixels = picture_tensor(image)
    assert (pixels[:, :16] == (255 if clear == 0x12FF else 0x12)).all()
    assert (pixels[:, 16:] == (255 if clear == 0x1234 else 0x12)).all()
