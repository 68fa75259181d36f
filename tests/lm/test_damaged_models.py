"""A finished language model whose files were damaged, and tokens that were: one line, never another loss or model."""
import shutil

import numpy as np
import pytest
from damages import DAMAGES, harm

from dclm_nb.core.errors import UserError
from dclm_nb.lm.checkpoints import load_model
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.data import TokenShards, write_token_folder
from dclm_nb.lm.training import train

CONFIG = OpenLMConfig(16, 2, 2, vocab_size=64, seq_len=16, ffn_width=32)
RECIPE = TrainConfig(tokens=6 * 8 * 16, batch_size=8, lr=1e-2, warmup_steps=2, weight_decay=0.1, accelerator="cpu",
                     log_every=2, checkpoint_every=3, tensorboard=False)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 64, (60, 17))
    return write_token_folder(tmp_path_factory.mktemp("data") / "tokens", ids, vocab_size=64, shards=2)


@pytest.fixture(scope="module")
def finished(tokens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, train(CONFIG, RECIPE, tokens, folder)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["result.json", "model.safetensors", "config.json", "losses.csv", "run.json"])
def test_a_finished_run_is_what_was_written_or_says_what_to_do(tokens, finished, tmp_path, file, how):
    folder, result = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    assert train(CONFIG, RECIPE, tokens, folder) == result
    harm(folder / file, how)
    if (file, how) == ("run.json", "deleted"):                      # whoever comes next says whose it is
        assert train(CONFIG, RECIPE, tokens, folder) == result
    elif (file, how) != ("result.json", "deleted"):                 # without a result it has not ended
        with pytest.raises(UserError, match=f"run/{file} .*remove"): train(CONFIG, RECIPE, tokens, folder)


def test_removing_what_is_named_is_enough(tokens, finished, tmp_path):
    folder, result = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    harm(folder / "model.safetensors", "one bit")
    (folder / "result.json").unlink()
    assert train(CONFIG, RECIPE, tokens, folder)["loss"] == result["loss"]
    assert (folder / "model.safetensors").read_bytes() == (finished[0] / "model.safetensors").read_bytes()


def test_a_run_of_an_earlier_version_is_taken(tokens, finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    for path in folder.glob(".*.sum"): path.unlink()
    assert train(CONFIG, RECIPE, tokens, folder) == finished[1] and load_model(folder)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_no_model_is_read_that_was_not_written(finished, tmp_path, file, how):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    harm(folder / file, how)
    with pytest.raises(UserError): load_model(folder)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["manifest.json", "shard_00001.bin"])
def test_no_tokens_are_read_that_were_not_written(tokens, tmp_path, file, how):
    folder = shutil.copytree(tokens, tmp_path / "tokens")
    harm(folder / file, how)
    with pytest.raises(UserError): TokenShards(folder)


OTHERS = {
    "model.width": (OpenLMConfig(32, 2, 2, vocab_size=64, seq_len=16, ffn_width=32), RECIPE, 0),
    "train.lr": (CONFIG, TrainConfig(**{**vars(RECIPE), "lr": 2e-2}), 0),
    "seed": (CONFIG, RECIPE, 1),
}


@pytest.mark.parametrize("what", [*OTHERS, "tokens"])
def test_another_input_is_refused_by_its_name(tokens, finished, tmp_path, what):
    config, recipe, seed = OTHERS.get(what, (CONFIG, RECIPE, 0))
    if what == "tokens":
        ids = np.random.default_rng(2).integers(0, 64, (60, 17))
        tokens = write_token_folder(tmp_path / "tokens", ids, vocab_size=64, shards=2)
    with pytest.raises(UserError, match=rf"the folder run holds another run \(different .*{what}"):
        train(config, recipe, tokens, finished[0], seed)
