"The site made lean: every pixel, every word of code, every time of a film as it was; and the code behind a page."
import io
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from dclm_nb.core.paths import project_root
from dclm_nb.papers.catalogue import everything, get_exhibit
from dclm_nb.site.code_behind import Definition, code_behind, definitions, imported_by, methods_behind
from dclm_nb.site.exhibit_pages import exhibit_page, kept_together
from dclm_nb.site.lean import LeanFormatter, as_webp, lean_drawing, make_lean
from dclm_nb.site.links import walk

ROOT = project_root()


def pixels(mode: str, kind: str = "smooth") -> Image.Image:
    "A picture of a mode: a slope, which any way to write it makes small, or noise."
    draw = np.random.default_rng(0)
    grey = np.tile(np.arange(128), (96, 1)) if kind == "smooth" else draw.integers(0, 256, (96, 128))
    colours = np.stack([grey, grey[::-1], 255 - grey, np.full_like(grey, 255)], -1).astype(np.uint8)
    colours[:20, :20, 3] = 0
    return Image.fromarray(colours, "RGBA").convert(mode)


def written(picture: Image.Image, kind: str = "PNG", **how) -> bytes:
    (file := io.BytesIO()) and picture.save(file, kind, **how)
    return file.getvalue()


def seen(data: bytes) -> np.ndarray:
    "What a reader sees: colours where something is drawn."
    shown = np.array(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)
    return shown * (shown[..., 3:] > 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_a_picture_looks_the_same(mode, kind):
    png = written(pixels(mode, kind))
    assert (seen(as_webp(png)) == seen(png)).all() and len(as_webp(png)) <= len(png)


def test_a_picture_that_webp_cannot_keep_stays():
    "One of 16 bits."
    png = written(Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)))
    assert as_webp(png) is png


@pytest.mark.parametrize("times, loop", [([100, 100, 100], 0), ([40, 500, 80], 0), ([100, 200, 300], 2)])
def test_a_film_keeps_its_frames_and_their_times(times, loop):
    frames = [Image.fromarray(np.roll(np.array(pixels("RGB")), 9 * i, 1)) for i in range(3)]
    gif = written(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=times, loop=loop)
    film = Image.open(io.BytesIO(as_webp(gif)))
    assert film.format == "WEBP" and film.n_frames == 3
    before = Image.open(io.BytesIO(gif))
    for now, then, time in zip(ImageSequence.Iterator(film), ImageSequence.Iterator(before), times):
        assert (np.array(now.convert("RGB")) == np.array(then.convert("RGB"))).all() and now.info["duration"] == time


def test_pictures_inside_of_drawings_look_the_same():
    import base64
    inside = base64.b64encode(written(pixels("RGB"))).decode()
    lean = lean_drawing(f'<svg><image href="data:image/png;base64,\n{inside}"/><text>base64,</text></svg>')
    assert lean.endswith('"/><text>base64,</text></svg>')
    data = re.search(r"data:image/webp;base64,([^\"]+)", lean)[1]
    assert (seen(base64.b64decode(data)) == seen(written(pixels("RGB")))).all()


CODE = 'class A(B):\n    "What it is."\n    def f(self, x=1.5): return x  # a remark\n\nprint(f"{A}", not None)\n'


def test_code_says_the_same_and_keeps_its_colours():
    plain = lambda page: re.sub(r"</?span[^>]*>", "", page)
    whole, lean = (highlight(CODE, PythonLexer(), formatter()) for formatter in (HtmlFormatter, LeanFormatter))
    kinds = lambda page: set(re.findall(r'class="(\w+)"', page))
    assert plain(whole) == plain(lean) and kinds(whole) - kinds(lean) == {"n", "p", "w"}


def test_a_site_made_lean_has_all_its_links_and_downloads(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "files").mkdir()
    png = written(pixels("RGB"))
    for name in ("_images/a.png", "_images/b.png", "files/a.png"): (tmp_path / name).write_bytes(png)
    (tmp_path / "_images/b.webp").write_bytes(other := as_webp(written(pixels("L"))))
    (tmp_path / "_images/c.svg").write_text('<svg width="60pt" height="30pt"></svg>')
    (tmp_path / "index.html").write_text(
        '<p>_images/a.png</p><a href="files/a.png" download>as PNG</a><a href="_images/a.png">large</a>'
        '<img alt="a" src="_images/a.png" /><img alt="b" src="_images/b.png" /><img alt="c" src="_images/c.svg" />'
    )
    make_lean(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert not walk(tmp_path).broken and (tmp_path / "files/a.png").read_bytes() == png
    assert (tmp_path / "_images/b.webp").read_bytes() == other
    assert '<img alt="a" src="_images/a.webp" width="128" height="96" loading="lazy"' in page
    assert 'src="_images/c.svg" width="80" height="40"' in page and "<p>_images/a.png</p>" in page


@pytest.mark.parametrize("row, kept", {
    "| 2.9 ± 0.1 |": "| 2.9~±~0.1 |",
    "| Core ↑<br>printed |": "| Core~↑<br>printed |",
    "| 576 × 1024 |": "| 576~×~1024 |",
    "| [2.9 ± 0.1](#a) |": "| [2.9~±~0.1](#a) |",
    "| a b |": "| a b |",
    "2.9 ± 0.1": "2.9 ± 0.1",
}.items())
def test_numbers_of_a_table_do_not_break(row, kept): assert kept_together(row) == kept.replace("~", "\u00a0")


KNOWN = {
    ("studies.toy", "study"): Definition("nbs/a.html#cell-a", {("studies.toy", "_part"), ("core.files", "whole")}),
    ("studies.toy", "_part"): Definition("nbs/a.html#cell-b", {("lm.score", "score"), ("studies.toy", "study")}),
    ("lm.score", "score"): Definition("nbs/b.html#cell-c", {("lm.score", "_inner")}),
    ("lm.score", "_inner"): Definition("nbs/b.html#cell-d", {("image.draw", "draw")}),
    ("image.draw", "draw"): Definition("nbs/c.html#cell-e", set()),
    ("core.files", "whole"): Definition("nbs/d.html#cell-f", {("lm.other", "other")}),
    ("lm.other", "other"): Definition("nbs/e.html#cell-g", set()),
}


def test_the_search_goes_through_studies_and_stops_at_the_first_method():
    assert methods_behind({("studies.toy", "study")}, KNOWN) == {("lm.score", "score")}
    assert methods_behind({("lm.score", "_inner")}, KNOWN) == {("image.draw", "draw")}
    assert methods_behind({("core.files", "whole"), ("lost", "lost")}, KNOWN) == set()


@pytest.mark.parametrize("code", [
    "from dclm_nb.lm.aggregate import core_score\ncore_score({})",
    "from dclm_nb.lm import aggregate\naggregate.core_score({})",
    "from dclm_nb.lm import aggregate as a\nif True: a.core_score({})",
    "def f(): \n    from dclm_nb.lm.aggregate import core_score as c\n    return c",
])
def test_every_way_to_import_is_read(tmp_path, code):
    import json
    cells = [{"cell_type": "code", "source": "%matplotlib inline\n!ls"}, {"cell_type": "code", "source": code}]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert ("lm.aggregate", "core_score") in imported_by(tmp_path / "a.ipynb")


@pytest.mark.parametrize("exhibit", [e for e in everything("dclm") if "replayed" in e.answers], ids=lambda e: e.id)
def test_a_page_that_shows_core_leads_to_the_cell_that_computes_it(exhibit):
    page = exhibit_page(exhibit)
    if not re.search(r"\| Core[^|]*<br>replayed", page): return
    assert "nbs/lm/09_aggregate.html#cell-core-score" in page


def test_every_page_with_a_study_of_its_own_names_the_code_behind_it():
    """What a notebook uses of the library beside the showcase is on its page. Pages from the catalogue use nothing."""
    known = definitions(ROOT)
    for exhibit in everything("all"):
        notebook = ROOT / "reproduce" / exhibit.paper / f"{exhibit.name}.ipynb"
        used = {name for module, name in imported_by(notebook) & known.keys() if module.split(".")[0] == "studies"}
        section = code_behind(exhibit)
        assert not {name for name in used if f">{name}</code>" not in section}, exhibit.name
        assert bool(section) or not used


def test_the_code_behind_a_page_is_there():
    section = code_behind(get_exhibit("table-12"))
    places = set(re.findall(r'href="\.\./\.\./(nbs/[^"#]+)\.html#cell-([^"]+)"', section))
    assert places
    for page, cell in places: assert f'"id": "{cell}"' in (ROOT / f"{page}.ipynb").read_text(encoding="utf-8")
