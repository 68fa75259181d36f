"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""

import pytest
from odd import Walk

import dclm_nb.learn
from dclm_nb.learn.fit import FitConfig
from dclm_nb.learn.keep import mark_steps
from dclm_nb.learn.objective import OptimConfig
from dclm_nb.learn.rates import cosine_rate, trapezoid_rate
from dclm_nb.learn.steps import SeededSteps
from dclm_nb.learn.strategies import build_strategy

CALLS = {
    FitConfig: dict(steps=10, grad_accumulation=1, precision="32-true", strategy="auto", accelerator="cpu", devices=1,
                    num_nodes=1, compile=False, log_every=10, checkpoint_every=500, tensorboard=False),
    OptimConfig: dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, fused=True, clip_norm=1.0),
    SeededSteps: dict(draw=lambda step, rank, size: None, steps=3, batch_size=2, workers=0),
    cosine_rate: dict(step=3, peak=0.1, warmup=2, total=10, final=0.0),
    trapezoid_rate: dict(step=3, peak=0.1, warmup=2, total=10, decay=0.2),
    mark_steps: dict(shares=(0.5, 1.0), steps=10),
    build_strategy: dict(name="auto", precision="32-true", blocks=frozenset()),
}


INNER = """
# what is given comes from our own code, which checked it before
checkpoints: save_weights split_weights tensor_facts hash_tensors tidy
fit: FitConfig.of build_trainer Fitted fit
keep: Marks Checkpoints
losses: LossTable first_diverged
objective: OptimConfig.build Objective
steps: SeededSteps.setup
watch: table_columns Watch read_losses
"""


@pytest.fixture(scope="module")
def table() -> dict: return CALLS


class TestWalk(Walk):
    room, inner = dclm_nb.learn, INNER
