"""Whatever a user gives to a public function of this room: a result, or one line. Never an inner part's error."""
import importlib
import inspect
import json
import math
import pkgutil
import re

import numpy as np
import pytest
import torch
from odd import methods
from tokenizers import Tokenizer, models, pre_tokenizers

import dclm_nb.lm
from dclm_nb.core.errors import UserError
from dclm_nb.lm.aggregate import category_scores, centered_accuracy, core_score, extended_score, mmlu_score
from dclm_nb.lm.checkpoints import (
    export_hugging_face, from_open_lm, load_model, read_tensors, rename_tensors, save_model, to_open_lm,
)
from dclm_nb.lm.config import (
    OpenLMConfig, TrainConfig, config_from_dict, config_to_dict, lm_config, total_steps,
)
from dclm_nb.lm.data import write_token_folder
from dclm_nb.lm.generate import generate, stops_at
from dclm_nb.lm.icl import score_prompts, score_rows, score_task
from dclm_nb.lm.model import OpenLM
from dclm_nb.lm.probes import (
    EncodedSuite, bits_per_byte, build_suite, cloze_records, continuation_records, frequency_class, order_records,
    score_suite, text_rows,
)
from dclm_nb.lm.prompts import ICLTask, Row, build_prompts, encode, few_shot_indices, max_answer_length, stop_pattern
from dclm_nb.lm.readers import (
    bigbench_records, eval_data_dir, local_records, origin_file, read_jsonl, read_task,
)
from dclm_nb.lm.tasks import get_task
from dclm_nb.lm.training import train
from dclm_nb.lm.trigram import TrigramReader, article_bits

CONFIG = OpenLMConfig(16, 1, 2, vocab_size=12, seq_len=8)
RECIPE = TrainConfig(tokens=32, batch_size=2, lr=1e-3, warmup_steps=0, weight_decay=0.0, tensorboard=False)
NETWORK = OpenLM(CONFIG).eval()
RECORDS = [{"query": text, "choices": ["a", "b"], "gold": i % 2} for i, text in enumerate(("b c d", "e f", "g h i j"))]
WRITTEN = [{"context": text, "answer": "a b"} for text in ("b c d", "e f", "g h i j")]
CHOICE = {"name": "letters", "type": "multiple_choice", "shots": 1, "context_length": 8}
WRITE = {"name": "letters", "type": "generation", "context_length": 8}


def letters() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate("?abcdefghij")}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


LETTERS = letters()


def article(i: int) -> str:
    """Eighty words, with sentences that end in words which no other article has, once each."""
    words = [f"{'bcdfg'[i]}{'aeiou'[j % 5]}{'lmnrstvz'[j % 8]}{'aeiou'[j // 16]}" for j in range(80)]
    return " ".join(word + "." * (j % 9 == 8) for j, word in enumerate(words))


ARTICLES = {"news": [article(i) for i in range(5)]}
SUITE = build_suite(ARTICLES, 2, 2)
ENCODED = EncodedSuite(SUITE, LETTERS, context_length=64)
STATE = to_open_lm(NETWORK)
SCORES = {name: 0.5 for name in importlib.import_module("dclm_nb.lm.tasks").TASKS}


class Odd:
    """Something that nobody would give, and that cannot even be printed."""
    def __repr__(self): raise RuntimeError("cannot be printed")


ODD = {
    "None": None, "minus one": -1, "zero": 0, "one": 1, "two": 2, "huge": 10**30, "a half": 0.5, "nan": math.nan,
    "infinity": math.inf, "minus infinity": -math.inf, "True": True, "numpy": np.int64(3), "text": "text",
    "no text": "",    "digits": "3", "half a character": "\ud83d", "a zero byte": "a\0b", "?": "?",
    "**": "**", "bytes": b"x", "list": [],
    "ids": [1, 2, 3], "ids beyond": [[99]], "negative ids": [[-1]], "nested": [["a"]], "null inside": [None],
    "numbers": [1.5], "mapping": {}, "mapping of one": {"a": 1}, "tensor": torch.zeros(2, 3), "object": object(),
    "class": OpenLM, "unprintable": Odd(), "function": lambda *a: None, "fails": lambda *a: [][1], "set": {1},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each public function with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    write_token_folder(folder / "tokens", np.arange(90).reshape(10, 9) % 12, 12)
    weights = save_model(CONFIG, NETWORK.state_dict(), folder / "model")
    (folder / "a.jsonl").write_text('{"a": 1}\n')
    asked = {"articles": ARTICLES, "per_source": 2, "context_words": 5, "options": 2, "seed": 0}
    scoring = {"batch_tokens": 64, "chunk": 16, "remember": True}
    return {
        OpenLMConfig: config_to_dict(CONFIG),
        TrainConfig: config_to_dict(RECIPE),
        total_steps: {"train": RECIPE, "seq_len": 8},
        lm_config: {"name": "1B-1x"},
        config_from_dict: {"kind": OpenLMConfig, "values": config_to_dict(CONFIG)},
        OpenLM: {"config": CONFIG, "seed": 0},
        OpenLM.at_scale: {"name": "smoke", "seed": 0},
        generate: dict(model=NETWORK, prompts=[[1, 2]], new_tokens=2, end_ids=(3,), stop=None, temperature=1.0, top_k=3,
                       top_p=0.9, seed=1, batch_tokens=64, remember=True),
        stops_at: {"tokenizer": LETTERS, "stop_strings": ("b",)},
        stop_pattern: {"stop_strings": ("b",)},
        ICLTask: {**config_to_dict(ICLTask("letters", "generation", stop_strings=("b",)))},
        ICLTask.of: {"task": CHOICE},
        few_shot_indices: {"n": 3, "k": 2, "seed": 1},
        encode: {"tokenizer": LETTERS, "text": "a b", "special": False},
        max_answer_length: {"records": WRITTEN, "tokenizer": LETTERS, "task": ICLTask.of(WRITE)},
        build_prompts: {"records": RECORDS, "tokenizer": LETTERS, "task": CHOICE, "eos_id": 0, "limit": 2},
        score_rows: {"model": NETWORK, "groups": [[Row((1, 2, 3), 2)]], **scoring},
        score_prompts: {"model": NETWORK, "prompts": build_prompts(RECORDS, LETTERS, CHOICE)},
        score_task: dict(model=NETWORK, tokenizer=LETTERS, task=CHOICE, records=RECORDS, context_length=8, eos_id=0,
                         limit=2),
        text_rows: {"ids": [1, 2, 3], "context_length": 2, "eot_id": 0},
        bits_per_byte: dict(model=NETWORK, tokenizer=LETTERS, texts=["a b c"], context_length=4, eot_id=0),
        frequency_class: {"count": 4},
        order_records: asked | {"words": 4},
        continuation_records: asked | {"words": 4},
        cloze_records: asked,
        build_suite: {"articles": ARTICLES, "texts_per_source": 2, "records_per_source": 2, "seed": 0},
        EncodedSuite: {"suite": SUITE, "tokenizer": LETTERS, "context_length": 64, "eot_id": 0},
        score_suite: {"model": NETWORK, "suite": ENCODED},
        read_jsonl: {"path": folder / "a.jsonl"},
        eval_data_dir: {"folder": folder},
        local_records: {"file": "a.jsonl", "folder": folder},
        origin_file: {"file": "world_knowledge/jeopardy_all.jsonl"},
        bigbench_records: {"name": "bigbench_operators"},
        read_task: {"task": get_task("copa"), "source": "local", "folder": folder},
        get_task: {"name": "copa"},
        centered_accuracy: {"score": 0.5, "baseline": 0.25},
        core_score: {"scores": SCORES, "version": "v1", "allow_missing": True},
        extended_score: {"scores": SCORES, "version": "v1", "allow_missing": True},
        category_scores: {"scores": SCORES, "version": "v1", "allow_missing": True},
        mmlu_score: {"scores": SCORES},
        TrigramReader: {"tokens": [1, 2, 3, 4], "vocab": 8},
        TrigramReader([1, 2, 3, 4], 8).probabilities: {"ids": [1, 2, 3]},
        article_bits: {"reader": TrigramReader([1, 2, 3, 4], 8), "articles": [[1, 2]], "eot_id": 0},
        read_tensors: {"path": weights},
        load_model: {"path": weights},
        save_model: {"config": CONFIG, "weights": NETWORK.state_dict(), "folder": folder / "again"},
        rename_tensors: {"tensors": {}, "table": {}},
        to_open_lm: {"model": NETWORK},
        from_open_lm: {"tensors": STATE, "seq_len": 8, "rotary_base": 10_000.0},
        export_hugging_face: {"model": NETWORK, "folder": folder / "hf", "eot_id": 0},
        train: dict(model_config=CONFIG, train_config=RECIPE, tokens_folder=folder / "tokens", folder=folder / "run",
                    seed=0),
    }


# Where what is given comes from our own code, checked before: tensors, tasks and records that a door above has seen.
INNER = """
OpenLM.positions OpenLM.hidden OpenLM.forward OpenLM.new_cache
config_to_dict cut_answer swiglu_width parameter_count LossParts plain_loss language_model_loss learning_rate
recipe_rate
forward_flops training_flops run_flops device_peak write_token_folder read_manifest TokenShards pass_order
context_stream BatchStream TokenDataModule check_fits LanguageModelTraining GainNorm rotary_frequencies rotary_tables
rotate KVCache Attention SwiGLU Block initial_std initialise PlainModel OpenLMModel TransformersModel as_scorable
pad_right check_ids id_rows reading strip_record preamble contexts joins_prefix_space end_of_text make_row Prompt Row
next_tokens length_batches decode clean_answer is_exact_match shared_length RowScore choose ItemScore TaskScore
summarise passage Bits leading ProbeSuite ProbeScore completion_record lettered_record Task MissingTask
""".split()


def public() -> dict:
    """Every function and class that a module of this room offers."""
    found = {}
    for module in pkgutil.iter_modules(dclm_nb.lm.__path__, "dclm_nb.lm."):
        part = importlib.import_module(module.name)
        for name in part.__all__:
            thing = getattr(part, name)
            if inspect.isfunction(thing) or inspect.isclass(thing): found[name] = thing
    return found


def parameters(function) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in kinds]


def test_every_public_function_and_parameter_is_in_the_table(table):
    """So that a new one without a guard is seen, or a method of what a user holds in hand."""
    named = {function.__qualname__ for function in table}
    kinds = {kind.__name__: kind for kind in table if inspect.isclass(kind)}
    offered = {*public(), *(name for kind in kinds.items() for name in methods(*kind))}
    assert offered == named | set(INNER) and not named & set(INNER)
    for function, call in table.items():
        assert set(parameters(function)) <= set(call), function.__name__


def test_the_right_calls_are_right(table):
    for function, call in table.items():
        if function in (bigbench_records, read_task): continue  # of packages that are not here
        made = function(**call)
        if inspect.isgenerator(made): list(made)


FUNCTIONS = sorted({*public(), "ICLTask.of", "OpenLM.at_scale", "TrigramReader.probabilities"} - set(INNER))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_value_of_any_parameter_is_a_result_or_one_line(table, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCLM_NB_EVAL_DATA", raising=False)
    function, call = next((f, c) for f, c in table.items() if f.__qualname__ == name)
    wrong = []
    for parameter in call:
        for what, value in ODD.items():
            if _costly(name, parameter, value): continue
            try:
                made = function(**call | {parameter: value})
                if inspect.isgenerator(made): list(made)
            except UserError as error:
                said = str(error)
                if "\n" in said or len(said) > 2000 or not said.isprintable(): wrong.append((parameter, what, said))
            except Exception as error: wrong.append((parameter, what, f"{type(error).__name__}: {error}"[:150]))
    assert not wrong, "\n".join(map(str, wrong))


def _costly(name: str, parameter: str, value) -> bool:
    """Sizes that are right, and too large to make; and a function of the user's, whose error is the user's."""
    if (name, parameter) == ("generate", "stop"): return value is ODD["fails"]
    return isinstance(value, int) and value == 10**30


# Beside those of the table: what public reports name.
HALF = json.loads('"half \\ud83d"')


@pytest.mark.parametrize("change, said", [
    ({"limit": 0}, "limit must be a whole number of at least 1, not 0"),
    ({"limit": -1}, "limit must be"),
    ({"limit": 1.5}, "limit must be"),
    ({"tokenizer": "tokenizer.json"}, "not its path 'tokenizer.json'; load it"),
    ({"records": [{"query": HALF, "choices": ["a", "b"], "gold": 0}]}, "record 0: query holds half a character"),
    ({"records": [*RECORDS, {"query": "a", "choices": ["a", HALF], "gold": 0}]}, "record 3: one of the choices holds"),
    ({"records": [{"query": "a", "choices": [1, 2], "gold": 0}]}, "one of the choices must be a text, not 1"),
    ({"records": [{"query": "a", "choices": "ab", "gold": 0}]}, "choices must be a list of texts, not 'ab'"),
    ({"records": [{"query": 7, "choices": ["a"], "gold": 0}]}, "query must be a text, not 7"),
    ({"records": [{"query": "a", "choices": ["a", "b"], "gold": True}]}, "gold is True"),
    ({"records": [{"query": "a", "choices": ["a", "b"], "gold": 2}]}, "there are 2 options"),
    ({"records": []}, "no records"),
    ({"records": "text"}, "records must be a list of records"),
    ({"records": iter(RECORDS[:2])}, ""),
    ({"task": "copa"}, "has no name"),
    ({"task": CHOICE | {"stop_strings": ["?"]}}, r"no regular expression.*write a mark such as \? as"),
    ({"task": CHOICE | {"stop_strings": ["a*"]}}, "would end every answer at once"),
    ({"task": CHOICE | {"stop_strings": "Q:"}}, "stop_strings must be a list of texts"),
    ({"task": CHOICE | {"shots": [1, 2]}}, "give one number"),
    ({"task": CHOICE | {"shots": -1}}, "shots must be"),
    ({"task": CHOICE | {"has_categories": True}}, "have no 'category'"),
    ({"task": CHOICE | {"has_categories": True}, "records": [r | {"category": 3} for r in RECORDS]},
     "category must be"),
    ({"context_length": 0}, "context_length must be"),
])
def test_score_task_says_what_is_wrong(change, said):
    call = dict(model=NETWORK, tokenizer=LETTERS, task=CHOICE, records=RECORDS) | change
    if not said: return score_task(**call)
    with pytest.raises(UserError, match=said): score_task(**call)


@pytest.mark.parametrize("record, said", [
    ({"answer": 42}, "answer must be a text, not 42"),
    ({"answer": "a", "aliases": [3]}, "one of the aliases must be a text, not 3"),
    ({"answer": "a", "aliases": "ab"}, "aliases must be a list of texts"),
    ({"answer": None}, "answer must be a text, not None"),
    ({"answer": "a", "chain_of_thought": 3}, "chain_of_thought must be a text, not 3"),
    ({"answer": "a", "aliases": None, "chain_of_thought": None}, ""),
    ({"answer": "a", "aliases": []}, ""),
])
def test_records_to_write_for(record, said):
    records = [{"context": "a b"} | record]
    if not said: return score_task(NETWORK, LETTERS, WRITE, records)
    with pytest.raises(UserError, match=said): score_task(NETWORK, LETTERS, WRITE, records)


@pytest.mark.parametrize("model", [
    OpenLM(OpenLMConfig(16, 1, 2, vocab_size=5, seq_len=8)),
    lambda ids: torch.nn.functional.embedding(ids, torch.zeros(5, 5)),
    lambda ids: torch.zeros(*ids.shape, 5),
])
@pytest.mark.parametrize("remember", [True, False])
def test_a_model_with_a_smaller_vocabulary(model, remember):
    with pytest.raises(UserError, match="use the tokenizer that the model was trained with"):
        score_task(model, LETTERS, CHOICE, [{"query": "j i", "choices": ["h", "j"], "gold": 0}] * 2, remember=remember)


@pytest.mark.parametrize("made", [None, torch.zeros(2), torch.zeros(1, 1, 12), "logits"])
def test_a_model_that_makes_no_logits(made):
    with pytest.raises(UserError, match="a model makes logits"): score_task(lambda ids: made, LETTERS, CHOICE, RECORDS)


@pytest.mark.parametrize("prompts, said", [
    ([1, 2, 3], r"put one alone in a list: \[\[...\]\]"),
    (torch.tensor([1, 2, 3]), r"put one alone in a list"),
    ("text", "must be a list of lists of ids, not 'text'"),
    (["text"], "its member 0 is 'text'"),
    ([[1.0, 2.0]], "its member 0 is"),
    ([[1], []], "prompt 1 is empty"),
    ([[1, 12]], "has the id 12, and the model knows 12"),
    ([[1, -2]], "has the id -2; ids begin at 0"),
    ([[1, 2], [3]], ""),
    (((1, 2), (3,)), ""),
    (torch.tensor([[1, 2]]), ""),
    (np.array([[1, 2]]), ""),
    ([np.array([1, 2]), torch.tensor([3])], ""),
    ([], ""),
])
def test_prompts_of_generate(prompts, said):
    if not said: return [len(ids) for ids in generate(NETWORK, prompts, 2)] == [2] * len(prompts)
    with pytest.raises(UserError, match=said): generate(NETWORK, prompts, 2)


@pytest.mark.parametrize("changes", [
    {"lr": math.nan}, {"lr": -1e-3}, {"lr": 0}, {"lr": math.inf}, {"lr": "1e-3"}, {"beta2": 2}, {"beta2": 1},
    {"beta1": -0.1},    {"warmup_steps": -1}, {"warmup_steps": 1.5}, {"clip_norm": -1}, {"clip_norm": 0},
    {"clip_norm": math.nan},
    {"tokens": math.nan}, {"tokens": 0}, {"tokens": 1e9}, {"tokens": "1000"}, {"weight_decay": -1},
    {"z_loss": math.nan},    {"final_lr": -1}, {"adam_eps": 0}, {"devices": "foo"}, {"devices": 0},
    {"num_nodes": 0}, {"num_workers": -1},
    {"accelerator": "quantum"}, {"tensorboard": "no"}, {"batch_size": 2.0}, {"precision": None}, {"strategy": 3},
])
def test_recipes_that_cannot_be(changes):
    with pytest.raises(UserError, match=f"(?i){next(iter(changes))}"): TrainConfig(**config_to_dict(RECIPE) | changes)


@pytest.mark.parametrize("changes", [{"clip_norm": math.inf}, {"warmup_steps": 0}, {"z_loss": 0}, {"devices": "auto"},
                                     {"tokens": np.int64(64)}, {"weight_decay": 0}, {"beta1": 0}])
def test_recipes_that_can(changes): TrainConfig(**config_to_dict(RECIPE) | changes)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_context_of_one_token(length):
    """An answer that fills it stands behind its whole question, as the original has it; a longer one is refused."""
    task = CHOICE | {"shots": 0}
    assert len(score_task(NETWORK, LETTERS, task, RECORDS, context_length=length).items) == 3
    with pytest.raises(UserError, match="more than the context length"):
        score_task(NETWORK, LETTERS, task, [RECORDS[0] | {"choices": ["a b c d", "b"]}], context_length=length)
    with pytest.raises(UserError, match="leaves no room"):
        score_task(NETWORK, LETTERS, WRITE, [{"context": "a", "answer": "a b c"}], context_length=length)
    assert bits_per_byte(NETWORK, LETTERS, ["a b c d e"], context_length=length).per_byte > 0


def test_nan_logits_are_still_said():
    nan = lambda ids: torch.full((*ids.shape, 12), math.nan)
    with pytest.raises(UserError, match="NaN"): generate(nan, [[1]], 1)
    with pytest.raises(UserError, match="NaN"): score_task(nan, LETTERS, CHOICE, RECORDS)
    for bad in (torch.full((1, 12), math.inf), torch.full((1, 12), -math.inf)):
        with pytest.raises(UserError, match="no token can be drawn"):
            generate(lambda ids: bad.expand(*ids.shape, 12), [[1]], 1, temperature=1.0)


def test_messages_name_what_was_given():
    with pytest.raises(UserError, match=re.escape("rotary_base must be a number above 0 and finite, not nan")):
        from_open_lm(STATE, rotary_base=math.nan)
