"""Training speed and memory against named peers, on the same work, interleaved; equal outputs are asserted before
anything is timed.

Peers: Hugging Face `LlamaForCausalLM` (the very same function: our network without query and key norms, exported), and
a plain GPT of nanoGPT's shape
(learned positions, GELU, tied embeddings: another function with the same matrix work). Every step is forward, backward,
clipping and AdamW in float32.
"""
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dclm_nb.lm.checkpoints import export_hugging_face
from dclm_nb.lm.config import OpenLMConfig, TrainConfig
from dclm_nb.lm.data import BatchStream, TokenShards, write_token_folder
from dclm_nb.lm.flops import measured_peak, training_flops
from dclm_nb.lm.loss import language_model_loss
from dclm_nb.lm.loss import plain_loss as full_loss
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.schedule import learning_rate

pytestmark = pytest.mark.benchmark_run
SHAPES = {"4L-128d, vocabulary 4096": (OpenLMConfig(128, 4, 4, vocab_size=4096, seq_len=256, qk_norm=False), 8, 12),
          "6L-384d, vocabulary 50304": (OpenLMConfig(384, 6, 6, vocab_size=50_304, seq_len=256, qk_norm=False), 8, 4)}


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(d, dim=2))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class PlainGPT(nn.Module):
    """A GPT-2 of nanoGPT's shape: its feed-forward of 2 x 4 d^2 has the matrix work of our 3 d f."""
    def __init__(self, config: OpenLMConfig):
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.seq_len, config.width)
        self.blocks = nn.Sequential(*(PlainBlock(config.width, config.n_heads) for _ in range(config.n_layers)))
        self.norm, self.head = nn.LayerNorm(config.width), nn.Linear(config.width, config.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            # as GPT-2; larger logits would make denormal numbers, which are slow
            if p.ndim == 2: nn.init.normal_(p, std=0.02)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions.weight[: ids.shape[1]])))


def stepper(model: nn.Module, loss) -> callable:
    """One whole training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)

    def step(batch):
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value.item()
    return step


def interleaved(runners: dict, batches: list, rounds: int) -> dict[str, float]:
    """Median seconds of each runner, taking turns; the first round warms up. With one thread, CPU time: neighbours on
    the machine do not count."""
    times = {name: [] for name in runners}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for i in range(rounds + 1):
        for name, run in runners.items():
            start = clock()
            run(batches[i % len(batches)])
            times[name].append(clock() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_training_step(shape, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    config, rows, rounds = SHAPES[shape]
    ours = OpenLM(config)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(export_hugging_face(ours, tmp_path)).train()
    plain = PlainGPT(config)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(config.vocab_size, (rows, config.seq_len + 1), generator=generator) for _ in range(4)]

    our_loss = lambda b: language_model_loss(ours.hidden(b[:, :-1]), ours.head.weight, b[:, 1:]).total
    their_loss = lambda b: F.cross_entropy(theirs(b[:, :-1], use_cache=False).logits.flatten(0, 1), b[:, 1:].flatten())
    plain_loss = lambda b: F.cross_entropy(plain(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten())
    with torch.no_grad(): assert our_loss(batches[0]).item() == pytest.approx(their_loss(batches[0]).item(), abs=1e-4)

    seconds = interleaved(
        {
            "dclm_nb": stepper(ours, our_loss),
            "transformers Llama": stepper(theirs, their_loss),
            "plain GPT": stepper(plain, plain_loss),
        },
        batches,
        rounds,
    )
    peak, flops = measured_peak(threads=torch.get_num_threads()), training_flops(config, rows)
    print(f"\n{shape}, {torch.get_num_threads()} threads, GEMM peak {peak / 1e9:.0f} GFLOP/s")
    for name, s in seconds.items():
        print(
            f"  {name:20} {s * 1e3:8.1f} ms/step {rows * config.seq_len / s:8,.0f} tokens/s  {flops / s / peak:4.0%} "
            f"of peak  dclm_nb has {seconds[name] / seconds['dclm_nb']:.2f}x its speed"
        )
    assert seconds["dclm_nb"] < 1.5 * seconds["transformers Llama"]


def test_trainer_overhead(tmp_path):
    """`train` against a bare loop over the same batches with the same network and loss: CPU time of one thread, so that
    neighbours do not count."""
    import lightning as L
    import dclm_nb.learn.fit as learn
    from dclm_nb.lm import training
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config, steps = OpenLMConfig(96, 4, 3, vocab_size=4096, seq_len=256), 40
    recipe = TrainConfig(
        tokens=steps * 2 * 256,
        batch_size=2,
        lr=1e-3,
        warmup_steps=4,
        weight_decay=0.1,
        accelerator="cpu",
        log_every=20,
        checkpoint_every=1000,
        tensorboard=False,
    )
    tokens = write_token_folder(
        tmp_path / "tokens", np.random.default_rng(0).integers(0, 4096, (200, 257)), vocab_size=4096
    )
    shards = TokenShards(tokens)

    def bare() -> float:
        model = OpenLM(config, seed=0)
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        losses, start = [], time.process_time()
        for step, rows in zip(range(steps), BatchStream(len(shards), 2, seed=0)):
            batch = torch.from_numpy(shards.rows(rows))
            for group in optimizer.param_groups: group["lr"] = learning_rate(step, 1e-3, 4, steps)
            parts = language_model_loss(model.hidden(batch[:, :-1]), model.head.weight, batch[:, 1:], 1e-4)
            optimizer.zero_grad()
            parts.total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(parts.cross_entropy)
        torch.stack(losses).tolist()
        return time.process_time() - start

    def lightning(number: int) -> float:
        times = {}

        class Clock(L.Callback):
            def on_train_start(self, *_): times["start"] = time.process_time()
            def on_train_end(self, *_): times["end"] = time.process_time()

        build = learn.build_trainer
        learn.build_trainer = lambda how, objective, folder, callbacks: build(
            how, objective, folder, [*callbacks, Clock()]
        )
        try: training.train(config, recipe, tokens, tmp_path / f"run{number}", seed=0)
        finally: learn.build_trainer = build
        return times["end"] - times["start"]

    bare(), lightning(-1)
    pairs = [(bare(), lightning(i)) for i in range(5)]
    torch.set_num_threads(threads)
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"\n{steps} steps: bare loop {statistics.median(a for a, _ in pairs) / steps * 1e3:.1f} ms/step; train "
        f"{ratio - 1:+.1%}"
    )
    assert ratio < 1.15


MEMORY = """
import resource, sys, torch
from dclm_nb.lm.loss import language_model_loss, plain_loss
torch.set_num_threads(1)
hidden, weight = torch.randn(4096, 256, requires_grad=True), (torch.randn(50304, 256) / 16).requires_grad_()
targets = torch.randint(50304, (4096,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "ours": loss = language_model_loss(hidden, weight, targets, 1e-4, chunk=512)
else: loss = plain_loss(hidden @ weight.T, targets, 1e-4)
loss.total.backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_loss_memory_and_speed():
    """Peak memory in processes of their own; speed interleaved here."""
    used = {
        kind: float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, kind],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            ).stdout
        )
        for kind in ("ours", "plain")
    }
    generator = torch.Generator().manual_seed(0)
    # logits of variance 1
    hidden, weight = (
        torch.randn(s, generator=generator).div(scale).requires_grad_()
        for s, scale in (((1024, 256), 1), ((50_304, 256), 16))
    )
    targets = torch.randint(50_304, (1024,), generator=generator)
    run = {
        "chunked": lambda _: language_model_loss(hidden, weight, targets, 1e-4, chunk=512).total.backward(),
        "plain": lambda _: full_loss(hidden @ weight.T, targets, 1e-4).total.backward(),
    }
    assert language_model_loss(hidden, weight, targets, 1e-4, 512).total.item() == pytest.approx(
        full_loss(hidden @ weight.T, targets, 1e-4).total.item(), rel=1e-6
    )
    seconds = interleaved(run, [None], 5)
    print(
        f"\nhead and loss of 4096 tokens x 50304: peak {used['ours']:.0f} MiB chunked (512), {used['plain']:.0f} MiB "
        f"plain ({used['plain'] / used['ours']:.1f}x); speed {seconds['plain'] / seconds['chunked']:.2f}x the plain "
        "loss"
    )
    assert used["ours"] < used["plain"] / 3
