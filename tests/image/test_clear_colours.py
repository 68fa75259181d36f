"Pictures with a colour that stands for transparent, of every depth; what is right is said by the PNG standard."
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dclm_nb.image.pictures import picture_tensor
from dclm_nb.image.webdata import PictureReader
from dclm_nb.shards.tally import Refused

GREY, RGB, PALETTE = 0, 2, 3


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(values, depth):
    "One row of samples, most significant bits first."
    bits = "".join(f"{value:0{depth}b}" for value in values)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def png(depth, kind, left, right, *chunks, side=32):
    "A square, its left half of one colour and its right half of another."
    row = b"\0" + packed([*left] * (side // 2) + [*right] * (side // 2), depth)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, chunk(b"IDAT", zlib.compress(row * side)),
                     chunk(b"IEND", b"")])


def clear(*values): return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def halves(data):
    "The two colours, as `PictureReader` and as `picture_tensor` read them."
    read, plain = PictureReader(32)(data), picture_tensor(Image.open(io.BytesIO(data)))
    assert (read == plain).all()
    assert (read[:, :, :16] == read[:, :1, :1]).all() and (read[:, :, 16:] == read[:, :1, -1:]).all()
    return read[:, 0, 0].tolist(), read[:, 0, -1].tolist()


@pytest.mark.parametrize("depth, gone, stays", [
    (depth, gone, stays) for depth in (1, 2, 4, 8, 16) for gone, stays in
    {(0, 2**depth - 1), (2**depth - 1, 0), (1, 0), (2**depth // 2, 2**depth // 2 - 1), (2**depth - 2, 2**depth - 1)}
])
def test_grey(depth, gone, stays):
    grey = [stays * 255 // (2**depth - 1) if depth <= 8 else stays >> 8] * 3
    assert halves(png(depth, GREY, [gone], [stays], clear(gone))) == ([255] * 3, grey)
    if 1 < depth < 16:                                  # bits above the depth are not looked at
        assert halves(png(depth, GREY, [gone], [stays], clear(gone + 2**depth))) == ([255] * 3, grey)


@pytest.mark.parametrize("depth, gone, stays", [
    (8, (0, 0, 0), (1, 0, 0)), (8, (255, 0, 9), (255, 0, 8)), (8, (18, 52, 86), (18, 86, 52)),
    (16, (0, 0, 0), (1, 0, 0)), (16, (0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC)),
    (16, (0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD)), (16, (18, 52, 86), (0x1200, 0x3400, 0x5600)),
    (16, (0xFFFF, 0, 0), (0xFFFE, 0, 0)), (16, (0x3412, 0, 0), (0x1234, 0, 0)),
])
def test_colour(depth, gone, stays):
    seen = [value if depth == 8 else value >> 8 for value in stays]
    assert halves(png(depth, RGB, gone, stays, clear(*gone))) == ([255] * 3, seen)
    assert halves(png(depth, RGB, gone, stays))[1] == seen


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas, left, right", [
    (b"\0", [255] * 3, [0, 0, 255]), (b"\x80\xff", [255, 127, 127], [0, 0, 255]), (b"\xff\0", [255, 0, 0], [255] * 3),
])
def test_palettes(depth, alphas, left, right):
    table = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    assert halves(png(depth, PALETTE, [0], [1], table, chunk(b"tRNS", alphas))) == (left, right)


@pytest.mark.parametrize("depth, kind, gone, stays", [
    (4, GREY, [1], [2]), (16, GREY, [1], [2]), (8, RGB, [1] * 3, [2] * 3), (16, RGB, [1] * 3, [0x0200] * 3),
])
def test_a_picture_that_lies_on_its_side_is_turned(depth, kind, gone, stays):
    exif = Image.Exif()
    exif[0x112] = 6
    turned = PictureReader(32)(png(depth, kind, gone, stays, clear(*gone), chunk(b"eXIf", exif.tobytes()[6:])))
    assert (turned[:, :16] == 255).all() and (turned[:, 16:] < 255).all()


@pytest.mark.parametrize("depth, kind", [(2, GREY), (16, GREY), (16, RGB)])
def test_a_cut_picture_is_refused_as_such(depth, kind):
    noise = np.random.default_rng(0).integers(0, 4, 8).tolist()
    whole = png(depth, kind, noise[:3 if kind else 1], noise[3:6 if kind else 4], clear(*noise[:3 if kind else 1]))
    with pytest.raises(Refused, match="picture"): PictureReader(32)(whole[:whole.index(b"IDAT") + 9])
