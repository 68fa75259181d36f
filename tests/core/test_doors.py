"""A door holds what its signature says, whoever calls it and however; and it changes nothing else."""
import dataclasses
import inspect
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.core.doors import (
    AnyText,
    Count,
    Devices,
    Fraction,
    MayBeInfinite,
    Momentum,
    PathOrAddress,
    Seed,
    Share,
    door,
    held,
)
from dclm_nb.core.errors import UserError

HALF = "half \ud83d"
RIGHT = [
    (3, int), (np.int64(3), int), (3, float), (0.5, float), (np.float32(0.5), float), ("a", str), (True, bool),
    (np.True_, bool), ([1.0, None, float("inf")], Iterable[float | None]),
    (None, int | None), (3, int | None), ("a", str | Path), (Path("a"), str | Path), (["a"], list[str]),
    (("a", "b"), Sequence[str]), (np.zeros(3), Sequence[float]), (pd.Series([1.0]), Sequence[float]),
    ([1.0, float("nan")], Sequence[float]), (iter("ab"), Iterable[str]), ((1, 2), tuple[int, int]),
    ([1, 2], tuple[int, int]),
    ((), tuple[int, ...]), ({"a": 1}, Mapping[str, int]), (len, Callable[[str], int]), ("a", Literal["a", "b"]),
    (HALF, AnyText), ([HALF], Sequence[AnyText]), ("auto", Devices), (2, Devices), (float("inf"), MayBeInfinite),
    (torch.zeros(2), torch.Tensor), (object(), Any), (object(), object), (0, Share), (1, Fraction), (0, Momentum),
    (2**63 - 1, Seed), ([["a"]], list[list[str]]), (None, None | str), (b"x", bytes),
    (frozenset({"a"}), frozenset[str]), (np.True_, bool), ([np.False_], list[bool]),
    (np.ones(2, bool), Sequence[bool]), (pd.Series([True]), Sequence[bool]), ("https://a.org/b", PathOrAddress),
    (["https://a.org/b", Path("a")], PathOrAddress | Sequence[PathOrAddress]),
]
WRONG = [
    (3.0, int), (True, int), ("3", int), (None, int), (float("nan"), float), (float("inf"), float), (10**400, float),
    (True, float), (3, str), (None, str), (HALF, str), (1, bool), ("no", bool), (np.zeros(1, bool), bool),
    (3, str | Path), ("", str | Path), ("a\0b", Path), ("abc", list[str]), (b"abc", list[int]), ({"a": 1}, list[str]),
    (["a", 2], list[str]),
    ({"a"}, Sequence[str]), (iter("ab"), Sequence[str]), (np.zeros(2), Sequence[str]), (3, Iterable[str]),
    ("https://a.org/b", str | Path), (["s3://b"], Sequence[str | Path]), (3, PathOrAddress), ("", PathOrAddress),
    ((1,), tuple[int, int]), ((1, "a"), tuple[int, int]), (np.zeros(2), tuple[float, ...]), ([1], Mapping[str, int]),
    ({1: 1}, Mapping[str, int]), ({"a": "b"}, Mapping[str, int]), ("len", Callable), ("c", Literal["a", "b"]),
    (1, Literal["a"]),
    (np.array(["a"]), Literal["a"]), (-1, Count), (0, Count), (2**63, Count), (1.5, Share), (0, Fraction),
    (1, Momentum),
    (-1, Seed), ("foo", Devices), (True, Devices), (0, Devices), (float("nan"), MayBeInfinite), (0, MayBeInfinite),
    (3, AnyText), (np.zeros(2), torch.Tensor), ("x", int | None), (HALF, str | None), ([["a", 1]], list[list[str]]),
]


@pytest.mark.parametrize("value, hint", RIGHT)
def test_what_a_type_says_comes_in(value, hint):
    found = held("it", value, hint)
    assert found is value or found == value


@pytest.mark.parametrize("value, hint", WRONG)
def test_what_it_does_not_say_is_one_line_with_its_name(value, hint):
    with pytest.raises(UserError, match="it") as refused: held("it", value, hint)
    assert "\n" not in str(refused.value) and str(refused.value).isprintable() and len(str(refused.value)) < 400


def test_a_door_changes_nothing_else():
    @door
    def plain(a: int, *rest: int, b: Count = 2, **more: Any) -> list:
        """What it does."""
        return [a, rest, b, more]

    assert plain(1, 2, 3, b=4, c=5) == [1, (2, 3), 4, {"c": 5}] and plain(1) == [1, (), 2, {}]
    assert plain.__doc__ == "What it does." and list(inspect.signature(plain).parameters) == ["a", "rest", "b", "more"]
    with pytest.raises(TypeError, match="plain: missing"): plain()


@door
@dataclass(frozen=True)
class Recipe:
    lr: Fraction
    steps: Count = 3


def test_a_class_stays_a_class():
    recipe = Recipe(0.5)
    assert pickle.loads(pickle.dumps(recipe)) == recipe and dataclasses.replace(recipe, steps=4).steps == 4
    assert isinstance(recipe, Recipe) and dataclasses.asdict(recipe) == {"lr": 0.5, "steps": 3}
    for change in ({"steps": 0}, {"lr": 2}, {"steps": "3"}):
        with pytest.raises(UserError): dataclasses.replace(recipe, **change)


def test_numbers_of_numpy_can_be_written_down():
    import json
    assert json.dumps(dataclasses.asdict(Recipe(np.float32(0.5), np.int64(3)))) == '{"lr": 0.5, "steps": 3}'


def test_a_file_that_the_system_does_not_give_is_one_line(tmp_path):
    @door
    def read(path: Path) -> str: return path.read_text()

    for path in (tmp_path / "none", tmp_path, "/dev/null/x"):
        with pytest.raises(UserError, match="cannot be used"): read(path)
    @door
    def network(url: str) -> str: raise ConnectionResetError("gone")
    with pytest.raises(ConnectionResetError): network("a")


def test_a_type_that_is_only_named_says_nothing():
    @door
    def later(frame: "NoSuchLibrary.Frame", n: Count = 1) -> int: return n      # noqa: F821
    assert later(object()) == 1
    with pytest.raises(UserError): later(object(), 0)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner)),
       st.sampled_from([hint for _, hint in RIGHT]))
@fuzz(2000)
def test_any_value_is_held_or_refused(value, hint):
    try: held("it", value, hint)
    except UserError as error: assert "\n" not in str(error)
