"""OpenLM against what open_lm itself computed: weights, logits, losses, gradients, optimiser traces, schedules and
counts."""
import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dclm_nb.learn.objective import Objective
from dclm_nb.lm.checkpoints import OPEN_LM_NAMES, from_open_lm, read_tensors, rename_tensors, to_open_lm
from dclm_nb.lm.config import (
    PAPER_RECIPES, PAPER_SCALES, OpenLMConfig, TrainConfig, lm_config, parameter_count, total_steps,
)
from dclm_nb.lm.loss import language_model_loss, plain_loss
from dclm_nb.lm.model import GainNorm, OpenLM, initial_std, rotary_frequencies, rotary_tables
from dclm_nb.lm.schedule import learning_rate, recipe_rate

TOLERANCE = 1e-5
# Of bfloat16 logits. Ours are the reference's to the last bit, so this is for seeing a difference: one that rounds
# elsewhere, as float32 does, is off by forty times as much.
TOLERANCE_BF16 = 1e-3


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "conformance" / "open_lm"
    if not folder.is_dir(): pytest.skip("no open_lm reference values beside the checkout")
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["a_qknorm_swiglu_torch_d64", "c_no_qknorm_swiglu_torch_d64"])
def case(request, reference):
    folder = reference / request.param
    if not folder.is_dir(): pytest.skip(f"no {request.param} in the reference data")
    return (
        folder,
        json.loads((folder / "expected.json").read_text()),
        np.load(folder / "expected.npz", allow_pickle=False),
    )


def network(folder) -> OpenLM:
    return from_open_lm(read_tensors(folder / "weights.safetensors"), seq_len=64).train()


def batch(folder) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.from_numpy(np.load(folder / "batch.npy", allow_pickle=False))
    return ids[:, :-1], ids[:, 1:]


def largest_difference(a: torch.Tensor, b: np.ndarray) -> float:
    return (a.detach() - torch.from_numpy(b)).abs().max().item()


def loss_of(model, inputs, targets, chunk=50):
    return language_model_loss(model.hidden(inputs), model.head.weight, targets, z_loss=1e-4, chunk=chunk)


def test_the_configuration_is_read_off_the_weights(case):
    folder, _, _ = case
    written = json.loads((folder / "config.json").read_text())
    config = network(folder).config
    assert (config.width, config.n_layers, config.n_heads, config.ffn_width, config.vocab_size) == tuple(
        written[k] for k in ("hidden_dim", "n_layers", "n_heads", "ffn_hidden", "vocab_size")
    )
    assert config.qk_norm == written["qk_norm"] and not config.rotary_bf16 and config.head_dim == written["head_dim"]


def test_every_tensor_survives_the_round_trip(case):
    folder, _, _ = case
    original = load_file(folder / "weights.safetensors")
    back = to_open_lm(from_open_lm(original, seq_len=64))
    assert set(back) == set(original)
    for name, tensor in original.items():
        if name.endswith("inv_freq"): torch.testing.assert_close(back[name], tensor, rtol=1e-6, atol=0)
        else: assert torch.equal(back[name], tensor), name


def test_logits_and_hidden_states(case):
    folder, _, arrays = case
    model, (inputs, _) = network(folder), batch(folder)
    assert largest_difference(model(inputs), arrays["logits"]) < TOLERANCE
    assert largest_difference(model.hidden(inputs), arrays["final_hidden"]) < TOLERANCE


def test_logits_through_the_cache(case):
    folder, _, arrays = case
    model, (inputs, _) = network(folder), batch(folder)
    cache = model.new_cache(len(inputs))
    with torch.no_grad(): pieces = [model(piece, cache) for piece in inputs.split([17, 30, 1, 16], dim=1)]
    assert largest_difference(torch.cat(pieces, 1), arrays["logits"]) < TOLERANCE


def test_every_gain_is_used(case):
    folder, expected, arrays = case
    weights = load_file(folder / "weights.safetensors") | load_file(folder / "gains_perturbed.safetensors")
    model, (inputs, targets) = from_open_lm(weights, seq_len=64), batch(folder)
    assert largest_difference(model(inputs[:1])[0], arrays["logits_perturbed_gains_seq0"]) < TOLERANCE
    parts = loss_of(model, inputs, targets)
    assert parts.cross_entropy.item() == pytest.approx(
        expected["loss_perturbed_gains"]["cross_entropy_mean"], abs=TOLERANCE
    )
    assert parts.total.item() == pytest.approx(expected["loss_perturbed_gains"]["total"], abs=TOLERANCE)


def trained_in_bf16(folder) -> OpenLM:
    """What the original computes in bfloat16: its rotary frequencies have that type, too, and its files say so."""
    weights = read_tensors(folder / "weights.safetensors")
    rounded = {n: t.bfloat16().float() if n.endswith("inv_freq") else t for n, t in weights.items()}
    return from_open_lm(rounded, seq_len=64)


@contextmanager
def bf16():
    """Autocast with PyTorch's own products: oneDNN has others on machines that compute in bfloat16."""
    with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
        warnings.simplefilter("ignore")  # about GPUs of another kind
        with torch.backends.mkldnn.flags(enabled=False): yield


def bf16_logits(model, inputs) -> torch.Tensor:
    with torch.no_grad(), bf16(): return model(inputs).float()


def test_bfloat16_autocast(case):
    folder, expected, arrays = case
    model, (inputs, targets) = trained_in_bf16(folder), batch(folder)
    assert model.config.rotary_bf16
    logits = bf16_logits(model, inputs)
    with torch.no_grad(), bf16(): parts = loss_of(model, inputs, targets)
    assert largest_difference(logits[0, -32:], arrays["logits_bf16_autocast_seq0_last32"]) == 0
    want = expected["bf16_autocast"]["cross_entropy_mean"]
    assert plain_loss(logits, targets).cross_entropy.item() == pytest.approx(want, abs=TOLERANCE)
    assert parts.cross_entropy.item() == pytest.approx(want, abs=TOLERANCE)


def test_bfloat16_is_told_from_its_neighbours(case, monkeypatch):
    """In float32, with exact frequencies, or with norms of lower precision the logits are others."""
    folder, _, arrays = case
    model, exact, (inputs, _) = trained_in_bf16(folder), network(folder), batch(folder)
    off = lambda logits: largest_difference(logits[0, -32:], arrays["logits_bf16_autocast_seq0_last32"])
    assert off(model(inputs)) > TOLERANCE_BF16 and off(exact(inputs)) > TOLERANCE_BF16
    assert off(bf16_logits(exact, inputs)) > TOLERANCE_BF16
    monkeypatch.setattr(GainNorm, "_norm", lambda self, x, gain: torch.nn.functional.layer_norm(
        x.bfloat16(), gain.shape, gain.bfloat16(), None, self.eps))
    assert off(bf16_logits(model, inputs)) > TOLERANCE_BF16


@pytest.mark.parametrize("name", [*PAPER_SCALES, *PAPER_RECIPES])
def test_every_recipe_of_the_paper_has_the_frequencies_of_its_precision(name):
    model, recipe = lm_config(name)
    assert model.rotary_bf16 == recipe.precision.startswith("bf16")


def test_the_tables_survive_what_casts_networks(reference):
    """Lightning's precision plugins, FSDP's buffers, `.half()`: the tables stay those of the frequencies."""
    from lightning.pytorch.plugins.precision import HalfPrecision, MixedPrecision
    want = np.load(reference / "rotary_tables.npz", allow_pickle=False)
    config = OpenLMConfig(256, 1, 2, vocab_size=8, seq_len=8, rotary_bf16=True)
    ids = torch.arange(8)[None]

    def tables(network: OpenLM) -> list[torch.Tensor]:
        return [table[want["positions"]].bfloat16().float() for table in network.positions(0, 2048, ids.device)]

    def check(network: OpenLM) -> None:
        assert not list(network.buffers())
        for name, table in zip(("cos", "sin"), tables(network)):
            assert torch.equal(table, torch.from_numpy(want[f"{name}_bfloat16_headdim128"]))

    check(OpenLM(config))
    for plugin in (HalfPrecision("bf16-true"), HalfPrecision("16-true"), MixedPrecision("bf16-mixed", "cpu")):
        with plugin.init_context() if hasattr(plugin, "init_context") else torch.no_grad(): network = OpenLM(config)
        network = plugin.convert_module(network)
        with plugin.forward_context(): network(ids)
        check(network)
    for cast in (torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double):
        network = cast(OpenLM(config))
        network(ids)
        check(network)


def test_losses(case):
    folder, expected, _ = case
    model, (inputs, targets) = network(folder), batch(folder)
    want = expected["loss"]
    for parts in (loss_of(model, inputs, targets), plain_loss(model(inputs), targets, z_loss=1e-4)):
        assert parts.cross_entropy.item() == pytest.approx(want["cross_entropy_mean"], abs=TOLERANCE)
        assert parts.z_term.item() == pytest.approx(want["z_loss_term"], abs=1e-7)
        assert parts.total.item() == pytest.approx(want["total"], abs=TOLERANCE)
    each = [loss_of(model, inputs[i : i + 1], targets[i : i + 1]).cross_entropy.item() for i in range(2)]
    assert each == pytest.approx(want["cross_entropy_per_sequence"], abs=TOLERANCE)


def test_gradient_of_every_parameter(case):
    folder, expected, _ = case
    model, (inputs, targets) = network(folder), batch(folder)
    loss_of(model, inputs, targets).total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    norms = {name: t.double().norm().item() for name, t in renamed(gradients).items()}
    assert set(norms) == set(expected["gradients"])
    for name, want in expected["gradients"].items(): assert norms[name] == pytest.approx(want["l2"], rel=1e-4), name


def renamed(tensors: dict) -> dict:
    return rename_tensors(tensors, OPEN_LM_NAMES)


def test_gradient_of_two_micro_batches(case):
    folder, expected, _ = case
    model, (inputs, targets) = network(folder), batch(folder)
    for i in range(2): (loss_of(model, inputs[i : i + 1], targets[i : i + 1]).total / 2).backward()
    norm = torch.nn.utils.get_total_norm([p.grad.double() for p in model.parameters()])
    assert norm.item() == pytest.approx(expected["gradient_accumulation_two_microbatches_global_l2"], rel=1e-5)


def train(folder, rates, weight_decay=0.033):
    """One AdamW step per rate on the one batch; yields the loss parts and the norm before clipping."""
    model, (inputs, targets) = network(folder), batch(folder)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rates[0], betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay
    )
    trace = []
    for rate in rates:
        for group in optimizer.param_groups: group["lr"] = rate
        optimizer.zero_grad()
        parts = loss_of(model, inputs, targets)
        parts.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        trace.append({
            "cross_entropy": parts.cross_entropy.item(),
            "total": parts.total.item(),
            "pre_clip_global_norm": norm.item(),
        })
    return renamed(dict(model.named_parameters())), trace


def check_trace(got, want):
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a["cross_entropy"] == pytest.approx(b["cross_entropy"], abs=TOLERANCE), b["step"]
        assert a["total"] == pytest.approx(b["total"], abs=TOLERANCE), b["step"]
        assert a["pre_clip_global_norm"] == pytest.approx(b["pre_clip_global_norm"], rel=1e-4), b["step"]


def test_one_adamw_step(case):
    folder, expected, _ = case
    want = expected["adamw_one_step"]
    after, trace = train(folder, [want["lr"]], want["weight_decay"])
    assert trace[0]["pre_clip_global_norm"] == pytest.approx(want["pre_clip_global_norm"], rel=1e-5)
    assert set(after) == set(want["parameters"])
    for name, values in want["parameters"].items():
        flat = after[name].detach().flatten()
        assert flat.double().norm().item() == pytest.approx(values["l2_after"], rel=1e-5), name
        assert flat[values["flat_index"]].tolist() == pytest.approx(values["after"], abs=2e-5), name


def test_six_steps_at_a_constant_rate(case):
    folder, expected, _ = case
    want = expected["adamw_six_steps_constant_lr"]
    after, trace = train(folder, [want["lr"]] * 6)
    check_trace(trace, want["trace"])
    for name, norm in want["l2_after"].items():
        assert after[name].double().norm().item() == pytest.approx(norm, rel=1e-4), name


def test_eight_steps_with_the_cosine(case):
    folder, expected, _ = case
    want = expected["adamw_eight_steps_cosine"]
    rates = [learning_rate(s, want["peak_lr"], want["warmup"], want["total_steps"], want["final_lr"]) for s in range(8)]
    assert rates == [row["lr"] for row in want["trace"]]
    after, trace = train(folder, rates)
    check_trace(trace, want["trace"])
    for name, norm in want["l2_after"].items():
        assert after[name].double().norm().item() == pytest.approx(norm, rel=1e-4), name


def test_initial_statistics(case):
    folder, expected, _ = case
    config = network(folder).config
    ours = renamed(dict(OpenLM(config, seed=3).named_parameters()))
    back = {name: n for n, name in zip(dict(OpenLM(config).named_parameters()), ours)}
    for name, want in expected["init"]["observed"].items():
        p = ours[name].detach()
        std = initial_std(back[name], p.shape[1])
        assert p.abs().max() <= 3 * std * (1 + 1e-6) and want["abs_max"] <= 3 * std * (1 + 1e-6), name
        # The standard deviation of n draws is itself uncertain by std / sqrt(2 n); five of those.
        assert p.std().item() == pytest.approx(want["std"], rel=5 * np.sqrt(2 / p.numel())), name
        assert abs(p.mean().item()) < 5 * std / np.sqrt(p.numel()), name
    assert all((p == 1).all() for p in ours.values() if p.ndim == 1)
    assert sum(p.numel() for p in ours.values()) == expected["parameter_count"]["all"]


@pytest.mark.parametrize("head_dim", [128, 80])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_rotary_tables(reference, head_dim, kind):
    want = np.load(reference / "rotary_tables.npz", allow_pickle=False)
    frequencies = rotary_frequencies(head_dim, bf16=kind == "bfloat16")
    assert torch.equal(frequencies, torch.from_numpy(want[f"inv_freq_{kind}_headdim{head_dim}"]))
    for name, table in zip(("cos", "sin"), rotary_tables(frequencies, 2048)):
        rows = table[want["positions"]]
        if kind == "bfloat16": rows = rows.bfloat16().float()  # the type that queries and keys have under autocast
        assert torch.equal(rows, torch.from_numpy(want[f"{name}_{kind}_headdim{head_dim}"]))


def test_schedules(reference):
    values = json.loads((reference / "schedule.json").read_text())
    checked = 0
    for scale, (model, train_config) in PAPER_SCALES.items():
        totals = values["total_steps"][scale]
        assert (
            train_config.tokens == totals["tokens"]
            and total_steps(train_config, model.seq_len) == totals["scheduler_total_steps"]
        )
        assert train_config.tokens // model.seq_len == totals["samples"]
        for name in (n for n in values if n.startswith(f"{scale}_total_")):
            for step, rate in values[name].items():
                assert learning_rate(
                    int(step), train_config.lr, train_config.warmup_steps, int(name.rsplit("_", 1)[1])
                ) == pytest.approx(rate, rel=1e-12)
                checked += 1
    assert checked >= 45


def test_the_optimiser_follows_the_rule():
    """To the last bit, also when the schedule goes on from a checkpoint."""
    recipe = TrainConfig(tokens=12_288, batch_size=8, lr=3e-3, warmup_steps=20, weight_decay=0.033)
    begun = lambda: Objective(torch.nn.Linear(1, 1), recipe_rate(recipe, 100)).configure_optimizers()
    parts = begun()
    for step in range(100):
        optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
        assert optimizer.param_groups[0]["lr"] == learning_rate(step, 3e-3, 20, 100)
        optimizer.step(); schedule.step()
        if step != 50: continue
        state = optimizer.state_dict(), schedule.state_dict()
        parts = begun()
        parts["optimizer"].load_state_dict(state[0])
        parts["lr_scheduler"]["scheduler"].load_state_dict(state[1])


@pytest.mark.parametrize("scale", ["400M-1x", "1B-1x", "3B-1x", "7B-1x"])
def test_parameter_counts(reference, scale):
    want = json.loads((reference / "parameter_counts.json").read_text())[scale]
    with torch.device("meta"): model = OpenLM(lm_config(scale)[0])
    state = renamed(dict(model.named_parameters()))
    assert (
        sum(p.numel() for p in state.values())
        == want["with_qk_norm_gains"]
        == parameter_count(model.config, qk_norm_gains=True)
    )
    assert parameter_count(model.config) == want["without_qk_norm_gains"]
    assert (
        parameter_count(model.config) - model.config.vocab_size * model.config.width
        == want["without_input_embedding_and_qk_gains"]
    )
    assert (model.config.ffn_width, model.config.head_dim) == (want["ffn_hidden"], want["head_dim"])
    kinds: dict[str, int] = {}
    for name, p in state.items():
        kind = ".".join("*" if part.isdigit() else part for part in name.split("."))
        kinds[kind] = kinds.get(kind, 0) + p.numel()
    assert kinds == want["by_kind"]
