"""Errors, paths, seeds and the scale dial."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dclm_nb.core import paths
from dclm_nb.core.errors import UserError, unknown
from dclm_nb.papers.scale import SCALES, get_scale
from dclm_nb.core.seeds import seed_for


def test_user_error_is_one_line():
    assert str(UserError("a\n  b\tc")) == "a b c"
    assert "did you mean 'laptop'" in str(unknown("scale", "labtop", SCALES)) and "\n" not in str(
        unknown("x", "a\nb", [])
    )


def test_home_is_moved_by_its_variable_and_made(tmp_path, monkeypatch):
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path / "deep" / "home"))
    assert (
        paths.runs_dir() == tmp_path / "deep" / "home" / "runs"
        and paths.runs_dir().is_dir()
        and paths.data_dir().is_dir()
    )
    monkeypatch.delenv("DCLM_NB_HOME")
    assert paths.home() == paths.project_root() / ".dclm_nb"


def test_without_a_checkout_the_cache_is_home_and_root_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("DCLM_NB_HOME", raising=False)
    monkeypatch.setattr(paths, "_is_checkout", lambda folder: False)
    assert paths.home() == Path.home() / ".cache" / "dclm_nb"
    with pytest.raises(UserError, match="clone"): paths.project_root()


def test_seeds_do_not_depend_on_the_process():
    code = "from dclm_nb.core.seeds import seed_for; print(seed_for('shuffle', 'shard', 3))"
    got = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": s},
        ).stdout.strip()
        for s in ("0", "99")
    }
    assert got == {str(seed_for("shuffle", "shard", 3))} == {"3680694919627510563"}


def test_seeds_of_different_names_differ_and_of_equal_numbers_agree():
    import numpy as np
    assert seed_for("a", np.int64(3)) == seed_for("a", 3) != seed_for("a", "3")
    assert len({seed_for("row", i) for i in range(10_000)}) == 10_000
    for bad in (0.5, None, True, b"x"):
        with pytest.raises(TypeError): seed_for(bad)


def test_every_scale_has_a_sentence_and_only_real_ones_may_claim():
    assert list(SCALES)[:4] == ["replay", "smoke", "laptop", "gpu"]
    assert [s.name for s in SCALES.values() if not s.may_claim] == ["replay", "smoke"] and [
        s.name for s in SCALES.values() if not s.trains
    ] == ["replay"]
    assert all(len(s.sentence) > 15 for s in SCALES.values()) and get_scale(get_scale("gpu")) is SCALES["gpu"]
    for name, paper in (("huge", None), ("svd", "dclm"), ("", None)):
        with pytest.raises(UserError, match="choose from.*smoke"): get_scale(name, paper)


def test_core_imports_without_torch_nbdev_or_fastcore_and_quickly():
    modules = [f"dclm_nb.core.{p.stem}" for p in (Path(paths.__file__).parent).glob("*.py") if p.stem != "__init__"]
    code = (
        f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; import json; "
        "print(json.dumps([m for m in ('torch', 'nbdev', 'fastcore', 'pandas', 'matplotlib', 'huggingface_hub') if m "
        "in sys.modules]))"
    )
    assert (
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        == []
    )
