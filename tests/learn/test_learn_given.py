"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""

from odd import cases_in, run, unlisted, wrong_in_room

import dclm_nb.learn
from dclm_nb.learn.fit import FitConfig
from dclm_nb.learn.keep import mark_steps
from dclm_nb.learn.objective import OptimConfig
from dclm_nb.learn.steps import SeededSteps
from dclm_nb.learn.strategies import build_strategy

CALLS = {
    FitConfig: dict(steps=10, grad_accumulation=1, precision="32-true", strategy="auto", accelerator="cpu", devices=1,
                    num_nodes=1, compile=False, log_every=10, checkpoint_every=500, tensorboard=False),
    OptimConfig: dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, fused=True, clip_norm=1.0),
    SeededSteps: dict(draw=lambda step, rank, size: None, steps=3, batch_size=2, workers=0),
    mark_steps: dict(shares=(0.5, 1.0), steps=10),
    build_strategy: dict(name="auto", precision="32-true", blocks=frozenset()),
}


# Where what is given comes from our own code, checked before.
INNER = """
checkpoints: save_weights split_weights tensor_facts hash_tensors tidy
device: this_device
fit: build_trainer Fitted fit
keep: Marks WholeCheckpoints Checkpoints
losses: LossTable first_diverged
objective: Objective
rates: cosine_rate trapezoid_rate
strategies: pure_bf16
watch: table_columns Watch read_losses
"""


def test_every_public_name_and_parameter_is_in_the_table():
    """So that a new one without a guard is seen."""
    assert not unlisted(dclm_nb.learn, CALLS, INNER)


def test_the_right_calls_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function, call in CALLS.items():
        run(function, call)


def test_any_value_of_any_parameter_is_a_result_or_one_line(tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
    record_property("cases", cases_in(CALLS))
    assert not wrong_in_room(CALLS)
