"""A training that goes on, after a disk has damaged what it goes on from: refused in one line, never another loss."""
import shutil

import pytest
import torch
from damages import DAMAGES, harm
from test_core import CONFIG, WHOSE, line, points

from dclm_nb.core.errors import UserError
from dclm_nb.core.files import sum_beside
from dclm_nb.learn.keep import WholeCheckpoints
from dclm_nb.learn.fit import fit
from dclm_nb.learn.steps import SeededSteps

PLACES = 9                                                          # of a bit, evenly through the checkpoint


def run(folder): return fit(line(), SeededSteps(points, 20, 8), CONFIG, folder, WHOSE)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    "A run that has a checkpoint and could go on."
    folder = tmp_path_factory.mktemp("run") / "run"
    folder.mkdir()
    run(folder)
    return folder


@pytest.fixture
def copy(stopped, tmp_path): return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an earlier version"])
@pytest.mark.parametrize("place", range(PLACES))
def test_no_bit_of_a_checkpoint_may_flip(copy, place, noted):
    last = copy / "last.ckpt"
    data = bytearray(last.read_bytes())
    data[(2 * place + 1) * len(data) // (2 * PLACES)] ^= 1 << place % 8
    last.write_bytes(data)
    if not noted: sum_beside(last).unlink()
    if noted:
        with pytest.raises(UserError, match="run/last.ckpt has other content.*remove it, and the run starts again"):
            run(copy)
        return
    # a zip file has sums of its own, but not of every byte: either they say so, or the values are the same
    try: assert run(copy).losses() == run(copy).losses()
    except UserError as error: assert "last.ckpt" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("how", [h for h in DAMAGES if h != "deleted"])
@pytest.mark.parametrize("file", ["last.ckpt", "losses.csv", "run.json"])
def test_what_a_run_goes_on_from_is_refused_by_its_name(copy, file, how):
    harm(copy / file, how)
    with pytest.raises(UserError, match=rf"{file}.*(remove|start)"): run(copy)


def test_a_digit_of_the_loss_table_is_no_other_digit(copy):
    text = (copy / "losses.csv").read_text().splitlines(keepends=True)
    at = text[3].rindex(",") + 1                                     # the first digit of the last value
    text[3] = f"{text[3][:at]}{(int(text[3][at]) + 1) % 10}{text[3][at + 1:]}"
    (copy / "losses.csv").write_text("".join(text))
    with pytest.raises(UserError, match="losses.csv has other rows than when the checkpoint was written"): run(copy)


def test_a_run_of_an_earlier_version_goes_on(copy, stopped):
    "Without sums, and with a checkpoint that knows nothing of the rows."
    for path in copy.glob(".*.sum"): path.unlink()
    kept = torch.load(copy / "last.ckpt", weights_only=True)
    for state in kept["callbacks"].values(): state.pop("rows_sha256", None)
    torch.save(kept, copy / "last.ckpt")
    assert run(copy).losses() == run(stopped).losses()


def test_removing_what_is_named_is_enough(copy, stopped):
    harm(copy / "last.ckpt", "cut")
    (copy / "last.ckpt").unlink()                                   # as the line says; its sum may stay
    assert run(copy).losses() == run(stopped).losses()
    assert WholeCheckpoints().load_checkpoint(copy / "last.ckpt")["global_step"] == 20
