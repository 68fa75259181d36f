"""Next-token sampling against Hugging Face `generate` on the same network, and the training step against a plain stack of adaLN-zero blocks.

One thread; CPU seconds of this process, so that other work on the machine disturbs them little; both sides take turns, and the median counts."""
import statistics
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dclm_nb.image.backbone import Backbone, Places, modulated
from dclm_nb.image.config import BackboneConfig
from dclm_nb.image.flow import FlowSettings, flow_loss, sample_times
from dclm_nb.image.next_token import next_token_sample

pytestmark = pytest.mark.benchmark_run
WORDS, LENGTH, CODES, CHANNELS = 20, 6, 256, 8


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def interleaved(runs: dict, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every call, taking turns; the equality checks before have warmed both up."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return seconds


def trained_a_little(config: BackboneConfig) -> Backbone:
    """A network whose gates are open, so that its blocks matter to what it says."""
    network, generator = Backbone(config).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "modulation" in name: parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        network.write.weight.copy_(torch.randn(network.write.weight.shape, generator=generator) * 0.1)
    return network


def hugging_face(network: Backbone):
    """The very same weights and blocks behind `generate`: its loop, its `DynamicCache`. What the caption decides is computed once, as ours does."""
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_outputs import CausalLMOutputWithPast
    c = network.config

    class Layered:
        """What a block asks of a cache, answered by a `DynamicCache`."""
        def __init__(self, cache): self.cache = cache

        def extend(self, layer, keys, values): return self.cache.update(keys, values, layer)

    class Painter(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class, main_input_name = transformers.PretrainedConfig, "input_ids"

        def __init__(self):
            super().__init__(transformers.PretrainedConfig(vocab_size=c.vocab_size, num_hidden_layers=c.n_layers, hidden_size=c.width, num_attention_heads=c.n_heads, is_encoder_decoder=False))
            self.network = network
            self.generation_config = transformers.GenerationConfig(do_sample=False, use_cache=True, max_new_tokens=c.tokens, pad_token_id=0)

        def prepare_inputs_for_generation(self, input_ids, past_key_values=None, prefix=None, condition=None, **_):
            return {"input_ids": input_ids, "past_key_values": past_key_values, "prefix": prefix, "condition": condition}

        def forward(self, input_ids, past_key_values=None, prefix=None, condition=None, **_):
            first = past_key_values.get_seq_length()
            x = network.embed(input_ids[:, -1:], input_ids.shape[1] - c.caption_length - 1) if first else prefix
            places = Places(network.cos[first:first + x.shape[1]], network.sin[first:first + x.shape[1]])
            for layer, block in enumerate(network.blocks): x = block(x, condition[layer], places, Layered(past_key_values), layer)
            shift, scale = condition[-1][:, None].chunk(2, dim=-1)
            return CausalLMOutputWithPast(logits=network.write(modulated(x, shift, scale)[:, -1:]), past_key_values=past_key_values)

    painter = Painter().eval()

    def draw(captions: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            prefix, condition = network.condition(captions)
            return painter.generate(captions, prefix=prefix, condition=condition)[:, c.caption_length:]
    return draw


SAMPLED = {"small, 36 tokens": (64, 3, 4, 36), "width 256, 6 layers, 256 tokens": (256, 6, 8, 256)}


@pytest.mark.parametrize("shape", list(SAMPLED))
@pytest.mark.parametrize("batch", [1, 64, 256])
def test_sampling_with_cache_is_twice_as_fast_as_generate(shape, batch):
    width, layers, heads, tokens = SAMPLED[shape]
    network = trained_a_little(BackboneConfig("next-token", width, layers, heads, tokens, WORDS, LENGTH, vocab_size=CODES))
    captions = torch.randint(1, WORDS - 1, (batch, LENGTH), generator=torch.Generator().manual_seed(0))
    generate = hugging_face(network)
    ours = lambda: next_token_sample(network, captions, captions, 1.0, torch.Generator(), temperature=0)
    drawn = ours()
    assert torch.equal(drawn, generate(captions)) and len(drawn.unique()) > 5
    seconds = interleaved({"ours": ours, "generate": lambda: generate(captions)}, 3 if batch * tokens > 10_000 else 9)
    own, peer = (statistics.median(seconds[name]) for name in ("ours", "generate"))
    print(f"\n{shape}, batch {batch}: ours {own * 1e3:.1f} ms, generate {peer * 1e3:.1f} ms, ratio {peer / own:.2f}")
    assert peer / own >= 2
