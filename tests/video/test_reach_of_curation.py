"""What a curation of films does in the process next door is part of its code: another decoder is another run."""
import ast
import re
from pathlib import Path

import pytest

import dclm_nb
from dclm_nb.core import fingerprint
from dclm_nb.core.fingerprint import reach_of
from dclm_nb.video.pipeline import build_pipeline

# what looks at a stranger's bytes, in the child
NEXT_DOOR = {
    "film_blocks": "study_film look_at", "contact_sheet": "strip_of", "decoding": "read_frames packet_table",
    "cuts": "CutFinder", "clips": "write_clips",
}


def code() -> dict[str, str]:
    "All that the run `video/curate` is made by; its fingerprint is a hash of this."
    return reach_of(build_pipeline.__module__, build_pipeline.__name__)


@pytest.mark.parametrize("where", [(module, name) for module, names in NEXT_DOOR.items() for name in names.split()])
def test_another_decoder_is_another_curation(tmp_path, monkeypatch, where):
    module, name = where
    before, file_of = code(), fingerprint.file_of
    text = file_of(f"dclm_nb.video.{module}").read_text()
    edited, lines = tmp_path / f"{module}.py", text.splitlines(keepends=True)
    part = next(part for part in ast.parse(text).body if getattr(part, "name", "") == name)
    lines.insert(part.body[0].lineno - 1, "    edited = True\n")
    edited.write_text("".join(lines))
    monkeypatch.setattr(fingerprint, "file_of",
                        lambda at: edited if at == f"dclm_nb.video.{module}" else file_of(at))
    assert code() != before


def test_no_function_is_handed_on_as_a_text():
    "A fingerprint follows names, and no texts that stand for functions."
    sources = sorted(Path(dclm_nb.__file__).parent.rglob("*.py"))
    spelled = [(path.name, text) for path in sources
               for text in re.findall(r"""["']dclm_nb[.\w]*:[{\w]+""", path.read_text())]
    assert not spelled
