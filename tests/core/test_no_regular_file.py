"""What is read whole must be a file: a named pipe would never end, a device would never stop, a huge file would fill
the memory."""
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import read_json, text_of
from dclm_nb.core.settings import read_settings
from dclm_nb.image.codecs import load_codec
from dclm_nb.lm.checkpoints import _load_config
from dclm_nb.lm.readers import read_jsonl
from dclm_nb.video.films import _read_said
from dclm_nb.video.models import load_video_model
from dclm_nb.video.pipeline import VideoCuration
from dclm_nb.video.similarity import SETTINGS, load_scorer
from dclm_nb.video.vae import PixelCodec


def in_folder(load, name):
    def loaded(path):
        folder = Path("folder")
        folder.mkdir()
        (folder / name).symlink_to(Path(path).absolute())
        return load(folder)
    return loaded


READERS = {
    "text": text_of, "json": read_json, "settings": lambda path: read_settings(path, VideoCuration),
    "records": read_jsonl, "pixels": PixelCodec.load,
    "codec": in_folder(load_codec, "codec.json"), "scorer": in_folder(load_scorer, SETTINGS),
    "film model": in_folder(load_video_model, "model.json"), "language model": in_folder(_load_config, "config.json"),
}


def said(name, path, pipe):
    try: pipe.send(f"read {READERS[name](path)}")
    except UserError as error: pipe.send(str(error))
    except Exception as error: pipe.send(f"{type(error).__name__}\n{error}")


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given"
    if kind == "pipe": os.mkfifo(path)
    elif kind == "folder": path.mkdir()
    else: path.symlink_to(kind)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=said, args=(name, path, theirs))
    child.start()
    line = ours.recv() if ours.poll(10) else "it hangs\n"
    child.kill()
    child.join()
    assert "\n" not in line and not line.startswith("read "), line


def test_a_huge_file_is_no_settings(tmp_path):
    path = tmp_path / "huge.yaml"
    path.write_text("# " + "x" * 10**6)
    with pytest.raises(UserError, match="huge.yaml.*larger than 1,000,000 bytes"): read_settings(path, VideoCuration)
    assert len(text_of(path)) == 10**6 + 2
    path.write_text("{}")
    assert read_settings(path, VideoCuration) == VideoCuration()
    said_beside = tmp_path / "film.json"
    said_beside.write_text(json.dumps({"said": [[0.5, "x" * 2 * 10**7]]}))
    with pytest.raises(UserError, match="larger than"): _read_said(said_beside)
