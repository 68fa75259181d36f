"""The order of calls does not matter: what one call keeps never depends on the mode, device or precision it had."""
import contextlib
import copy
import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from dclm_nb.core.seeds import seed_for
from dclm_nb.lm.checkpoints import from_open_lm, load_model, save_model, to_open_lm
from dclm_nb.lm.config import OpenLMConfig
from dclm_nb.lm.flops import measured_peak
from dclm_nb.lm.generate import generate
from dclm_nb.lm.icl import score_task
from dclm_nb.lm.loss import language_model_loss
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.probes import bits_per_byte

CONFIG = OpenLMConfig(32, 2, 2, vocab_size=64, seq_len=16)
IDS = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(0))
LONG = torch.randint(64, (1, 40), generator=torch.Generator().manual_seed(1))
TASK = {"name": "letters", "type": "multiple_choice", "shots": 1, "context_length": 32}
RECORDS = [{"query": text, "choices": ["a", "b"], "gold": i % 2} for i, text in enumerate(("b c d", "e f", "g h i j"))]


def letters() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate("?abcdefghij")}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


LETTERS, TEXTS = letters(), ["a b c d e f", "h g f e"]


def losses_of(score) -> list: return [item.mean_losses for item in score.items]


def trained(network: OpenLM) -> torch.Tensor:
    """The gradients of one loss, as one vector; the network stays as it was."""
    with torch.inference_mode(False), torch.enable_grad():
        loss = language_model_loss(network.hidden(IDS[:, :-1]), network.head.weight, IDS[:, 1:], 1e-4, chunk=7)
        gradients = torch.autograd.grad(loss.total, list(network.parameters()))
    return torch.cat([g.flatten().float() for g in gradients])


def read_twice(network: OpenLM) -> torch.Tensor:
    """Through a cache, in two pieces."""
    cache = network.new_cache(2)
    with torch.no_grad(): return torch.cat([network(IDS[:, :9], cache), network(IDS[:, 9:], cache)], 1)


CALLS = {
    "logits": lambda network: network(IDS).detach(),
    "beyond the length of training": lambda network: network(LONG).detach(),
    "through a cache": read_twice,
    "gradients": trained,
    "generate": lambda network: torch.tensor(generate(network, LONG[:, :12].tolist(), 20)),
    "sampled": lambda network: torch.tensor(generate(network, [[1, 2, 3]], 5, temperature=1.0, seed=3)),
    "score_task": lambda network: torch.tensor(losses_of(score_task(network, LETTERS, TASK, RECORDS))),
    "bits_per_byte": lambda network: torch.tensor(bits_per_byte(network, LETTERS, TEXTS, context_length=4).bits),
    "a copy": lambda network: copy.deepcopy(network)(IDS).detach(),
    "in bfloat16": lambda network: copy.deepcopy(network).bfloat16()(IDS).detach(),
    "through open_lm's names": lambda network: from_open_lm(to_open_lm(network), seq_len=16)(IDS).detach(),
}


@contextlib.contextmanager
def default_type(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try: yield
    finally: torch.set_default_dtype(before)


MODES = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "bfloat16 by default": lambda: default_type(torch.bfloat16),
    "float64 by default": lambda: default_type(torch.float64),
    "counted": lambda: FlopCounterMode(display=False),
}


def outcome(call, network: OpenLM) -> torch.Tensor | str:
    """What a call gives, or which error: both have to be those of a fresh network."""
    try: return call(network)
    except RuntimeError as error: return f"{type(error).__name__}: {error}"


@pytest.fixture(scope="module")
def alone() -> dict:
    """What each call gives on a network that nothing has touched, by mode and call."""
    found = {}
    for mode, enter in MODES.items():
        for name, call in CALLS.items():
            network = OpenLM(CONFIG, seed=5)
            with enter(): found[mode, name] = outcome(call, network)
    return found


def same(a, b) -> bool:
    return a == b if isinstance(a, str) or isinstance(b, str) else a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("walk", range(6))
def test_any_order_gives_what_each_call_gives_alone(alone, walk):
    """Seventy calls on one network, in modes that change between two calls or span several."""
    draw, network, past = random.Random(seed_for("order of calls", walk)), OpenLM(CONFIG, seed=5), []
    while len(past) < 70:
        mode = draw.choice(list(MODES))
        with MODES[mode]():
            for name in draw.choices(list(CALLS), k=draw.randint(1, 4)):
                past.append((mode, name))
                assert same(outcome(CALLS[name], network), alone[mode, name]), past[-6:]


def test_every_call_works_in_plain_mode(alone):
    """So that the walk compares values, not errors."""
    broken = {key: value for key, value in alone.items() if isinstance(value, str)}
    assert not {key for key in broken if key[0] not in ("bfloat16 by default", "float64 by default", "float16")}, broken


def test_training_after_asking_and_asking_after_training():
    """The plain case, also inside one block of autocast, whose casts of the weights must not outlive the asking."""
    for autocast in (False, True):
        network = OpenLM(CONFIG, seed=5)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            want = trained(OpenLM(CONFIG, seed=5))
            generate(network, [[1, 2]], 30)
            score_task(network, LETTERS, TASK, RECORDS)
            assert torch.equal(trained(network), want)


def test_what_has_no_values_leaves_nothing_behind():
    """Shapes alone are computed on the meta device and with fake tensors; the next call has values."""
    network, want = OpenLM(CONFIG, seed=5), OpenLM(CONFIG, seed=5)(LONG)
    with FakeTensorMode(allow_non_fake_inputs=True): network(LONG)
    assert torch.equal(network(LONG), want)
    with torch.device("meta"): shapes = OpenLM(CONFIG)
    shapes(LONG.to("meta"))
    shapes.to_empty(device="cpu")
    shapes.load_state_dict(network.state_dict())
    assert torch.equal(shapes(LONG), want)


def test_a_cache_made_in_inference_mode_can_be_filled_outside():
    network = OpenLM(CONFIG, seed=5)
    with torch.inference_mode(): caches = [network.new_cache(2), network.new_cache(1).repeat(2)]
    with torch.no_grad():
        for cache in caches: assert torch.allclose(network(IDS, cache), network(IDS), atol=1e-5)


def test_a_measured_peak_belongs_to_its_own_precision():
    """Asked for float32 inside autocast, the products are float32's. The measurement is kept for the whole process."""
    from torch.utils._python_dispatch import TorchDispatchMode
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "mm" in function.name(): seen.update(a.dtype for a in args if isinstance(a, torch.Tensor))
            return function(*args, **(kwargs or {}))

    measured_peak.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16), Watch(): measured_peak("cpu", torch.float32, size=8, threads=1)
    assert seen == {torch.float32}


def test_a_folder_loaded_in_any_mode_is_the_same_network(tmp_path):
    save_model(CONFIG, OpenLM(CONFIG, seed=5).state_dict(), tmp_path)
    want = trained(OpenLM(CONFIG, seed=5))
    for enter in MODES.values():
        with enter(): network = load_model(tmp_path)
        assert torch.equal(trained(network), want)
