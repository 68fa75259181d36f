"""A finished training knows its own files: those of another run, and changed ones without a sum, are refused."""
import shutil
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, harm
from test_given import CONFIG, RECIPE

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import PARTS, sum_beside
from dclm_nb.lm.config import TrainConfig, config_to_dict
from dclm_nb.lm.data import write_token_folder
from dclm_nb.lm.training import train

NAMES = ["model.safetensors", "config.json", "result.json", "losses.csv", "run.json"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    "Two finished trainings, `one` and `two`, which differ in their learning rate."
    folder = tmp_path_factory.mktemp("runs")
    write_token_folder(folder / "tokens", np.arange(90).reshape(10, 9) % 12, 12)
    train(CONFIG, RECIPE, folder / "tokens", folder / "one", 0)
    train(CONFIG, TrainConfig(**{**config_to_dict(RECIPE), "lr": 5e-2}), folder / "tokens", folder / "two", 0)
    return folder


def again(runs: Path, folder: Path) -> dict: return train(CONFIG, RECIPE, runs / "tokens", folder, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_run_is_refused(runs, tmp_path, name):
    for sums in ("its own", "none"):
        folder = shutil.copytree(runs / "one", tmp_path / sums)
        if (folder / name).read_bytes() == (runs / "two" / name).read_bytes(): continue     # the same network
        for beside in (lambda path: path, sum_beside): shutil.copy(beside(runs / "two" / name), beside(folder / name))
        if sums == "none": sum_beside(folder / name).unlink()
        with pytest.raises(UserError, match=name if name != "run.json" else "lr"): again(runs, folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", DAMAGES)
def test_damage_without_a_sum_is_refused(runs, tmp_path, name, how):
    if name == "run.json" and how == "deleted": pytest.skip("it is written again, as it was")
    folder = shutil.copytree(runs / "one", tmp_path / "run")
    sum_beside(folder / name).unlink()
    harm(folder / name, how)
    if name == "result.json" and how == "deleted": return           # not finished: the training goes on
    with pytest.raises(UserError): again(runs, folder)


def test_a_folder_of_an_earlier_version_is_read_with_a_line(runs, tmp_path, capsys):
    folder = shutil.copytree(runs / "one", tmp_path / "run")
    told = again(runs, folder)
    assert "cannot be checked" not in capsys.readouterr().err
    (folder / PARTS).unlink()
    assert again(runs, folder) == told and "cannot be checked" in capsys.readouterr().err
