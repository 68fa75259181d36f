"""Weights in and out: Hugging Face reads our exports with its stock classes, and nothing here opens a pickle."""
import dataclasses
import json
import os
import pickle

import pytest
import torch

from dclm_nb.core.errors import UserError
from dclm_nb.lm.checkpoints import export_hugging_face, from_open_lm, load_model, read_tensors, save_model, to_open_lm
from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.model import OpenLM

CONFIG = OpenLMConfig(64, 3, 4, vocab_size=300, seq_len=64)


def trained_looking(config: OpenLMConfig) -> OpenLM:
    """Weights with gains that differ and a mean that matters, as after training; at the start both would hide
    mistakes."""
    model, generator = OpenLM(config).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1: p.mul_(torch.rand(p.shape, generator=generator) + 0.5)
            else: p.add_(0.05)
    return model


@pytest.mark.parametrize("qk_norm, architecture", [(True, "OlmoeForCausalLM"), (False, "LlamaForCausalLM")])
@pytest.mark.parametrize("base", [10_000.0, 500.0])
def test_stock_hugging_face_classes_give_the_same_logits(tmp_path, monkeypatch, qk_norm, architecture, base):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed (pip install 'dclm_nb[dev]')"
    )
    model = trained_looking(dataclasses.replace(CONFIG, qk_norm=qk_norm, rotary_base=base))
    export_hugging_face(model, tmp_path, eot_id=0)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == architecture
    assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(300, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): torch.testing.assert_close(theirs.eval()(ids).logits, model(ids), atol=5e-5, rtol=0)


def test_rounded_frequencies_have_no_hugging_face_home(tmp_path):
    with pytest.raises(UserError, match="bfloat16-rounded"):
        export_hugging_face(OpenLM(dataclasses.replace(CONFIG, rotary_bf16=True)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("changes", [{}, {"qk_norm": False}, {"rotary_bf16": True}, {"n_heads": 2}, {"ffn_width": 96}])
def test_open_lm_round_trip(prefix, changes):
    model = trained_looking(dataclasses.replace(CONFIG, **changes))
    back = from_open_lm({prefix + n: t for n, t in to_open_lm(model).items()}, seq_len=64)
    assert back.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))


@pytest.mark.parametrize(
    "name", ["tok_embeddings.weight", "layers.1.attention.in_proj.weight", "layers.2.ffn_norm.weight", "norm.weight"]
)
def test_a_missing_tensor_is_named(name):
    tensors = to_open_lm(OpenLM(CONFIG))
    del tensors[name]
    with pytest.raises(UserError, match="missing"): from_open_lm(tensors)


def test_model_folder_round_trip(tmp_path):
    model = trained_looking(CONFIG)
    weights = save_model(model.config, model.state_dict(), tmp_path / "model")
    for path in (tmp_path / "model", weights):
        again = load_model(path)
        assert again.config == CONFIG and not again.training
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "weights.bin", "last.ckpt"])
@pytest.mark.parametrize("writer", ["torch", "pickle", "old torch"])
def test_pickles_are_refused_unread(tmp_path, name, writer):
    class Evil:
        def __reduce__(self): return (os.system, (f"touch {tmp_path}/ran",))
    with open(tmp_path / name, "wb") as file:
        if writer == "pickle": pickle.dump(Evil(), file)
        else: torch.save(Evil(), file, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(UserError): read_tensors(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_damaged_folders(tmp_path):
    model = OpenLM(CONFIG)
    weights = save_model(CONFIG, model.state_dict(), tmp_path)
    whole = weights.read_bytes()
    for damage in (whole[:100], whole[:-1], b"", b"\xff" * 64):
        weights.write_bytes(damage)
        with pytest.raises(UserError): load_model(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"width": 32})
    )
    with pytest.raises(UserError, match="another shape"): load_model(tmp_path)


def test_a_full_disk_leaves_the_old_weights(tmp_path, monkeypatch):
    import dclm_nb.lm.checkpoints as checkpoints
    model = OpenLM(CONFIG)
    save_model(CONFIG, model.state_dict(), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(tensors, path, metadata=None):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError): save_model(CONFIG, OpenLM(CONFIG, seed=1).state_dict(), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
