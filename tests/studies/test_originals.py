"""The carried tables are what the released files say, byte for byte."""
import hashlib
import shutil
import urllib.parse
from pathlib import Path

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.studies.dclm.released_files import (
    csv_text, distil, get_originals, originals_in, pinned_originals, read_manifest, recipe_in_name, released_folder,
    run_name, verify_released,
)


@pytest.fixture(scope="module")
def originals(shared):
    folder = shared / "papers/dclm/exp_data"
    if not folder.is_dir(): pytest.skip("no released evaluations beside the checkout")
    return folder


@pytest.fixture(scope="module")
def manifest(): return read_manifest(released_folder() / "originals.sha256")


def test_the_carried_tables_are_unchanged_and_small():
    sizes = verify_released()
    assert (
        set(sizes) == {"runs.csv", "scores.csv", "rows.csv", "repeats.csv", "originals.sha256"}
        and sum(sizes.values()) < 400_000
    )


def test_distilling_again_gives_the_same_bytes(originals, manifest):
    for name, frame in distil(originals_in(originals, manifest)).items():
        assert csv_text(frame).encode() == (released_folder() / f"{name}.csv").read_bytes(), name


def test_the_manifest_covers_every_released_run_and_model(originals, manifest):
    there = {
        f"exp_data/{path.relative_to(originals)}"
        for kind in ("evals", "models")
        for path in (originals / kind).glob("*.json")
    }
    assert there == {name for name in manifest if name.startswith("exp_data/")}


def test_a_changed_original_is_refused(originals, manifest, tmp_path):
    name = min(name for name in manifest if "/models/" in name)
    copy = tmp_path / name
    copy.parent.mkdir(parents=True)
    shutil.copyfile(originals / name.removeprefix("exp_data/"), copy)
    assert originals_in(tmp_path, {name: manifest[name]}) == {name: copy}
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(UserError, match="SHA-256 differs"): originals_in(tmp_path, {name: manifest[name]})
    with pytest.raises(UserError, match="has no"): originals_in(tmp_path / "nowhere", manifest)


def test_pins_name_the_commit(manifest):
    pins = pinned_originals(manifest)
    assert len(pins) == 291
    for name, pin in pins.items():
        assert (
            pin.url.startswith(
                "https://raw.githubusercontent.com/mlfoundations/dclm/361714bdd60bb9b7f4b2d8354cebbf0dec0c329e/"
            )
            and pin.sha256 == manifest[name]
        )
        assert urllib.parse.unquote(pin.url).endswith(f"/{name}") and " " not in pin.url


def test_originals_are_fetched_verified_and_distilled(originals, manifest, tmp_path, monkeypatch):
    """The network's way: every file comes from its own address into the cache, however long its name, and gives the
    same tables."""
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path))
    monkeypatch.delenv("DCLM_NB_RELEASED_ORIGINALS", raising=False)
    asked = []

    def answer(url, to, max_bytes):
        asked.append(name := urllib.parse.unquote(url.partition("0dec0c329e/")[2]))
        return Path(shutil.copyfile(originals / name.removeprefix("exp_data/"), to))

    monkeypatch.setattr("dclm_nb.core.sources._http_download", answer)
    files = get_originals()
    assert sorted(asked) == sorted(manifest) and all(len(path.name) < 100 for path in files.values())
    assert csv_text(distil(files)["scores"]).encode() == (released_folder() / "scores.csv").read_bytes()
    get_originals()
    assert len(asked) == len(manifest)          # the second time nothing is fetched


def test_without_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path))
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    monkeypatch.delenv("DCLM_NB_RELEASED_ORIGINALS", raising=False)
    with pytest.raises(UserError, match="DCLM_NB_RELEASED_ORIGINALS"): get_originals()


def test_two_runs_of_one_name_are_refused(originals, manifest):
    files = dict(originals_in(originals, manifest))
    files["exp_data/evals/llama3_8b_heavy.json"] = files["exp_data/evals/evaluation_llama3_8b_heavy.json"]
    with pytest.raises(UserError, match="llama3_8b"): distil(files)


def test_a_changed_carried_table_is_refused(tmp_path):
    shutil.copytree(released_folder(), tmp_path / "released")
    scores = tmp_path / "released/scores.csv"
    scores.write_text(scores.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(UserError, match="scores.csv differs"): verify_released(tmp_path / "released")
    scores.unlink()
    with pytest.raises(UserError, match="missing"): verify_released(tmp_path / "released")


def test_sums_are_those_of_sha256sum():
    for name, sha256 in read_manifest(released_folder() / "SHA256SUMS").items():
        assert hashlib.sha256((released_folder() / name).read_bytes()).hexdigest() == sha256


def test_names():
    name = "exp_data/evals/evaluation_fasttext_f0.07-open_lm_7b-warm=0-lr=0p001170118158-wd=0p05-cd=3e-05-bs=2048-mult=1p456-seed=62-tokens=200619635507_heavy.json"  # noqa: E501
    assert recipe_in_name(run_name(name)) == dict(
        warmup="0",
        lr="0.001170118158",
        wd="0.05",
        final_lr="3e-05",
        batch_size="2048",
        seed="62",
        tokens="200619635507",
    )
    assert (
        run_name("exp_data/evals/gemma2b_heavy.json") == "gemma2b"
        and run_name("exp_data/evals/evaluation_x_heavy_copy.json") == "x_heavy_copy"
    )
