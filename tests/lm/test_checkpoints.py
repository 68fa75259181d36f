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


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("changes", [{}, {"qk_norm": False}, {"rotary_bf16": True}, {"n_heads": 2}, {"ffn_width": 96}])
def test_open_lm_round_trip(prefix, changes):
    model = trained_looking(dataclasses.replace(CONFIG, **changes))
    back = from_open_lm({prefix + n: t for n, t in to_open_lm(model).items()}, seq_len=64)
    assert back.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.feed_forward.w3.weight",
        "layers.1.attention.in_proj.weight",
        "layers.2.ffn_norm.weight",
        "norm.weight",
    ],
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
    with pytest.raises(UserError, match="config.json has .* bytes instead of"): load_model(tmp_path)
    (tmp_path / ".config.json.sum").unlink()                        # what it says to do after a change of one's own
    with pytest.raises(UserError, match="another shape"): load_model(tmp_path)


def test_a_full_disk_leaves_the_old_weights(tmp_path, monkeypatch):
    from dclm_nb.core import files
    save_model(CONFIG, OpenLM(CONFIG).state_dict(), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    sync = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > 10_000: raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        save_model(CONFIG, OpenLM(CONFIG, seed=1).state_dict(), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


STATE = {name: tensor.clone() for name, tensor in to_open_lm(trained_looking(CONFIG)).items()}
EMBEDDING, HEAD, GAIN = "tok_embeddings.weight", "output.weight", "layers.1.ffn_norm.weight"
TIED = STATE | {HEAD: STATE[EMBEDDING]}
IDS = torch.randint(300, (2, 50), generator=torch.Generator().manual_seed(0))


def without(state: dict, *names: str) -> dict: return {n: t for n, t in state.items() if n not in names}


def logits_of(tensors: dict) -> torch.Tensor:
    with torch.no_grad(): return from_open_lm(tensors, seq_len=64)(IDS)


@pytest.mark.parametrize("form, same_as", [
    (TIED, TIED),
    (without(TIED, HEAD), TIED),
    (without(TIED, EMBEDDING), TIED),
    ({n: t.half() for n, t in STATE.items()}, STATE),
    ({n: t.bfloat16() for n, t in STATE.items()}, STATE),
    ({n: t.double() for n, t in STATE.items()}, STATE),
    ({n: t.half() for n, t in TIED.items() if n != HEAD}, TIED),
    (STATE | {HEAD: STATE[HEAD].bfloat16()}, STATE),
    (STATE | {EMBEDDING: STATE[EMBEDDING].half()}, STATE),
    (STATE | {GAIN: STATE[GAIN].double()}, STATE),
    ({n: t if t.ndim == 1 else t.bfloat16() for n, t in STATE.items()}, STATE),
    ({n: torch.nn.Parameter(t) for n, t in STATE.items()}, STATE),
    ({n: t.T.contiguous().T for n, t in STATE.items() if t.ndim == 2} | without(STATE, EMBEDDING, HEAD), STATE),
])
@pytest.mark.filterwarnings("ignore:there is no")
def test_other_forms_of_a_state_dict_are_the_same_network(tmp_path, form, same_as):
    coarsest = max(torch.finfo(t.dtype).eps for t in form.values())
    loaded = from_open_lm(form, seq_len=64)
    with torch.no_grad(): got = loaded(IDS)
    assert len({p.dtype for p in loaded.parameters()}) == 1
    torch.testing.assert_close(got.float(), logits_of(same_as), atol=max(1e-5, 40 * coarsest), rtol=0)
    save_model(loaded.config, loaded.state_dict(), tmp_path)
    with torch.no_grad(): assert torch.equal(load_model(tmp_path)(IDS), got)


def test_a_lost_embedding_is_said():
    for lost in (HEAD, EMBEDDING):
        with pytest.warns(UserWarning, match=f"no {lost}: taken as tied"): from_open_lm(without(STATE, lost))


def test_half_precision_does_not_round_the_frequencies():
    """Of the file's, sixteen bits are left; the network was not trained with those."""
    for rounded in (False, True):
        model = OpenLM(dataclasses.replace(CONFIG, rotary_bf16=rounded))
        halved = {n: t.half() for n, t in to_open_lm(model).items()}
        assert from_open_lm(halved, seq_len=64).config == model.config
    brain = {n: t.bfloat16() for n, t in to_open_lm(OpenLM(CONFIG)).items()}
    assert from_open_lm(brain, seq_len=64).config == dataclasses.replace(CONFIG, rotary_bf16=True)


FREQUENCIES = "layers.1.attention.pos_embed.inv_freq"


@pytest.mark.parametrize("tensors, cause", [
    (without(STATE, EMBEDDING, HEAD), "'tok_embeddings.weight' is missing"),
    (without(STATE, *(n for n in STATE if n.endswith("inv_freq"))), "inv_freq' is missing, which tells"),
    ({"state_dict": STATE, "epoch": 3}, "'state_dict' is a dict"),
    ({n: t.numpy() for n, t in STATE.items()}, "is a ndarray"),
    ({n: t.to("meta") for n, t in STATE.items()}, "no values"),
    (STATE | {HEAD: STATE[HEAD].to(torch.int8)}, "head.weight is int8"),
    (STATE | {HEAD: STATE[HEAD].to(torch.float8_e4m3fn)}, "head.weight is float8_e4m3fn"),
    (STATE | {HEAD: STATE[HEAD].to(torch.complex64)}, "head.weight is complex64"),
    (STATE | {HEAD: STATE[HEAD].to_sparse()}, "head.weight is sparse"),
    (STATE | {EMBEDDING: STATE[EMBEDDING].flatten()}, "no matrices"),
    (STATE | {FREQUENCIES: 2 * STATE[FREQUENCIES]}, f"{FREQUENCIES} differs"),
    (STATE | {n: t[:0] for n, t in STATE.items() if n.endswith("inv_freq")}, "no list of numbers"),
    (STATE | {f"module.{n}": t for n, t in STATE.items()}, "one name"),
    ("model.safetensors", "read_tensors"),
    (None, "a state dict is needed"),
])
def test_what_cannot_be_loaded_is_refused_with_its_cause(tensors, cause):
    with pytest.raises(UserError, match=cause) as found: from_open_lm(tensors, seq_len=64)
    assert "\n" not in str(found.value)


def test_a_loaded_network_has_tensors_of_its_own():
    given = {n: t.clone() for n, t in STATE.items()}
    model = from_open_lm(given, seq_len=64)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
    assert all(torch.equal(t, STATE[n]) for n, t in given.items())
    tied = from_open_lm(TIED, seq_len=64)
    with torch.no_grad(): tied.head.weight.zero_()
    assert tied.embedding.weight.any()


def test_tied_weights_can_be_saved(tmp_path):
    model = trained_looking(CONFIG)
    model.head.weight = model.embedding.weight
    save_model(CONFIG, model.state_dict(), tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(again.head.weight, again.embedding.weight)
    with torch.no_grad(): assert torch.equal(again(IDS), model(IDS))


def test_a_network_loaded_in_inference_mode_can_be_trained(tmp_path):
    save_model(CONFIG, OpenLM(CONFIG).state_dict(), tmp_path)
    with torch.inference_mode(): models = [OpenLM(CONFIG), load_model(tmp_path), from_open_lm(STATE, seq_len=64)]
    for model in models:
        model(IDS).sum().backward()
        assert model.head.weight.grad.any()


@pytest.mark.parametrize("written", ["[]", "7", "null", '{"width": "64", "n_layers": 3, "n_heads": 4}'])
def test_a_foreign_config_is_one_line(tmp_path, written):
    save_model(CONFIG, OpenLM(CONFIG).state_dict(), tmp_path)
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(UserError): load_model(tmp_path)
