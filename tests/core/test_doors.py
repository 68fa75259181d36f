"""A door holds what its signature says, whoever calls it and however; and it changes nothing else."""
import collections
import dataclasses
import enum
import fractions
import functools
import inspect
import pickle
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import fuzz

from dclm_nb.core.doors import (
    AnyText, Count, Devices, Finite, Fraction, MayBeInfinite, MayBeNan, Momentum, PathOrAddress, Seed, Share, behind,
    door, held,
)
from dclm_nb.core.errors import UserError

class Corner(typing.NamedTuple):
    x: int
    y: int


HALF = "half \ud83d"
RIGHT = [
    (3, int), (np.int64(3), int), (3, float), (0.5, float), (np.float32(0.5), float), ("a", str), (True, bool),
    (np.True_, bool), ([1.0, None, float("inf")], Iterable[float | None]), (None, int | None), (3, int | None),
    ("a", str | Path), (Path("a"), str | Path), (["a"], list[str]), (("a", "b"), Sequence[str]),
    (np.zeros(3), Sequence[float]), ([1.0, float("nan")], Sequence[float]), (iter("ab"), Iterable[str]),
    ((1, 2), tuple[int, int]), ((), tuple[int, ...]), ({"a": 1}, Mapping[str, int]), (len, Callable[[str], int]),
    ("a", Literal["a", "b"]), (HALF, AnyText), ([HALF], Sequence[AnyText]), ("auto", Devices), (2, Devices),
    (float("inf"), MayBeInfinite), (torch.zeros(2), torch.Tensor), (object(), Any), (object(), object), (0, Share),
    (1, Fraction), (0, Momentum), (2**63 - 1, Seed), ([["a"]], list[list[str]]), (None, None | str), (b"x", bytes),
    (frozenset({"a"}), frozenset[str]), (np.True_, bool), ([np.False_], list[bool]),
    (np.ones(2, bool), Sequence[bool]), ("https://a.org/b", PathOrAddress),
    (["https://a.org/b", Path("a")], PathOrAddress | Sequence[PathOrAddress]), (float("nan"), MayBeNan), (3, MayBeNan),
]


class Named(str): pass


class Rule(str, enum.Enum): half = "half"


class Size(enum.IntEnum): small = 3


TEXTS, NUMBERS, ROWS = ["a", "b"], [1.0, 0.5], np.array([[1.0, 2.0]])
LOOKS_THE_SAME = [  # what is given, its type, and what is handed on: with its kind, so that it can be written down
    (np.int64(3), int, 3), (np.array(3), int, 3), (torch.tensor(3), int, 3), (Size.small, int, 3),
    (pa.scalar(3), int, 3), (np.float32(0.5), float, 0.5), (np.array(0.5), float, 0.5),
    (torch.tensor(0.5), float, 0.5), (torch.tensor(0.5, dtype=torch.bfloat16), float, 0.5),
    (torch.tensor(0.5, requires_grad=True), float, 0.5), (Decimal("0.5"), float, 0.5),
    (fractions.Fraction(1, 2), float, 0.5), (np.longdouble(0.5), float, 0.5), (np.array(0.5), Share, 0.5),
    (Decimal("0.5"), Share, 0.5), (np.float32(0.5), MayBeInfinite, 0.5), (torch.tensor(2), Count, 2),
    (np.int64(2), Devices, 2), (torch.tensor(2), Devices, 2), (np.uint64(3), Seed, 3), (np.int64(2), int | None, 2),
    (torch.tensor(0.5), float | None, 0.5), (np.float64(np.inf), MayBeInfinite, np.inf), (np.True_, bool, True),
    (np.array(True), bool, True), (torch.tensor(False), bool, False), (np.str_("half"), str, "half"),
    (Named("half"), str, "half"), (Rule.half, str, "half"), (Rule.half, AnyText, "half"),
    (np.str_("half"), Literal["half", "out"], "half"), (Rule.half, Literal["half", "out"], "half"),
    (Named("half"), Literal["half", "out"], "half"), (np.int64(2), Literal[1, 2], 2),
    (Named("auto"), Devices, "auto"), (np.array("half"), str, "half"), (Named("half"), str | None, "half"),
    (torch.tensor(NUMBERS), Sequence[float], NUMBERS), (pd.Series(NUMBERS, index=[5, 6]), Sequence[float], NUMBERS),
    (pa.array(NUMBERS), Sequence[float], NUMBERS), (pa.chunked_array([NUMBERS]), Sequence[float], NUMBERS),
    ([torch.tensor(1.0), np.float32(0.5)], Sequence[float], NUMBERS),
    ([np.array(1.0), Decimal("0.5")], Sequence[float], NUMBERS), (iter(NUMBERS), Sequence[float], NUMBERS),
    (map(float, NUMBERS), Sequence[float], NUMBERS), ({"a": 1.0, "b": 0.5}.values(), Sequence[float], NUMBERS),
    (pd.Series([1, 2], dtype="Int64"), Sequence[float], [1, 2]),
    (torch.tensor(NUMBERS, requires_grad=True), Sequence[float], NUMBERS),
    (np.array(NUMBERS, object), Sequence[float], NUMBERS), ([1, 0], Sequence[bool], [True, False]),
    (np.array([1, 0]), Sequence[bool], [True, False]), (np.array([1.0, 0.0]), Sequence[bool], [True, False]),
    (torch.tensor([True, False]), Sequence[bool], [True, False]),
    (pa.array([True, False]), Sequence[bool], [True, False]),
    (pd.Series([True, False], dtype=object), Sequence[bool], [True, False]), (np.array(TEXTS), Sequence[str], TEXTS),
    (np.array(TEXTS, object), Sequence[AnyText], TEXTS), (pa.array(TEXTS), Sequence[AnyText], TEXTS),
    (pa.array(TEXTS), Iterable[AnyText], TEXTS), (pd.Series(TEXTS, dtype="string"), list[str], TEXTS),
    (pd.Index(TEXTS), Sequence[str], TEXTS), (dict.fromkeys(TEXTS).keys(), Sequence[str], TEXTS),
    (iter(TEXTS), Sequence[str], TEXTS), (tuple(TEXTS), list[str], TEXTS),
    ((Named(one) for one in TEXTS), Sequence[str], TEXTS), (np.array([1, 2]), Sequence[str | int], [1, 2]),
    (["a", np.int64(2)], Sequence[str | int] | None, ["a", 2]),
    (iter(TEXTS), str | Path | Sequence[str | Path], TEXTS), (np.array([4, 2]), tuple[int, int], (4, 2)),
    (torch.tensor([4, 2]), tuple[int, int], (4, 2)), ([4, 2], tuple[int, int], (4, 2)),
    (np.array([0.5, 1.0]), tuple[float, float], (0.5, 1.0)), (np.array([1.0, 0.5]), list[float], NUMBERS),
    (pd.Series([0.5, 1.0]), tuple[float, ...], (0.5, 1.0)),
    (np.array([[1, 2]]), tuple[tuple[int, int], ...], ((1, 2),)), (TEXTS, frozenset[str], frozenset(TEXTS)),
    ({"a": np.int64(1)}, Mapping[str, int], {"a": 1}),
    ({Named("a"): torch.tensor(0.5)}, Mapping[str, float], {"a": 0.5}), (NUMBERS, np.ndarray, np.array(NUMBERS)),
    ((1.0, 0.5), np.ndarray, np.array(NUMBERS)), (iter(NUMBERS), np.ndarray, np.array(NUMBERS)),
    (pd.Series(NUMBERS), np.ndarray, np.array(NUMBERS)),
    (torch.tensor([NUMBERS]), np.ndarray, np.array([NUMBERS], "f4")),
    ([Decimal("1"), fractions.Fraction(1, 2)], np.ndarray, np.array(NUMBERS)), ([], np.ndarray, np.zeros(0)),
    (torch.tensor(NUMBERS, dtype=torch.bfloat16), np.ndarray, np.array(NUMBERS, "f4")),
    (NUMBERS, float | np.ndarray, np.array(NUMBERS)),
    (torch.nn.Parameter(torch.tensor(NUMBERS)), np.ndarray, np.array(NUMBERS, "f4")), (0.5, float | np.ndarray, 0.5),
    (torch.tensor(0.5), float | np.ndarray, 0.5), (ROWS, torch.Tensor, torch.tensor(ROWS)),
    (ROWS.tolist(), torch.Tensor, torch.tensor(ROWS)),
    (torch.tensor(ROWS), np.ndarray | torch.Tensor, torch.tensor(ROWS)), (ROWS, torch.Tensor | np.ndarray, ROWS),
    ([ROWS[0], (1, 2)], tuple[np.ndarray, ...], (ROWS[0], np.array([1, 2]))),
]
WRONG = [
    (3.0, int), (True, int), ("3", int), (None, int), (float("nan"), float), (float("inf"), float), (10**400, float),
    (True, float), (3, str), (None, str), (HALF, str), (1, bool), ("no", bool), (np.zeros(1, bool), bool),
    (3, str | Path), ("", str | Path), ("a\0b", Path), ("abc", list[str]), (b"abc", list[int]), ({"a": 1}, list[str]),
    (["a", 2], list[str]), ({"a"}, Sequence[str]), (iter([1, 2]), Sequence[str]), (np.zeros(2), Sequence[str]),
    (3, Iterable[str]), ((1,), tuple[int, int]), ((1, "a"), tuple[int, int]), (np.zeros((2, 2)), tuple[float, ...]),
    ([1], Mapping[str, int]), ({1: 1}, Mapping[str, int]), ({"a": "b"}, Mapping[str, int]), ("len", Callable),
    ("c", Literal["a", "b"]), (1, Literal["a"]), (np.array(["a"]), Literal["a"]), (-1, Count), (0, Count),
    (2**63, Count), (1.5, Share), (0, Fraction), (1, Momentum), (-1, Seed), ("foo", Devices), (True, Devices),
    (0, Devices), (float("nan"), MayBeInfinite), (0, MayBeInfinite), (3, AnyText), (["a"], torch.Tensor),
    ("x", int | None), (HALF, str | None), ([["a", 1]], list[list[str]]), (True, MayBeNan), ("nan", MayBeNan),
    (np.ma.masked, float), (Decimal("sNaN"), float), (fractions.Fraction(10**400), float), (np.complex64(1), float),
    (torch.zeros(1), float), (np.datetime64("2020-01-01"), float), (pa.scalar(None), float),
    (np.zeros((2, 2)), Sequence[float]), (torch.zeros(2, 2), Sequence[float]), (np.ones(2, bool), Sequence[float]),
    (np.array(["a"]), Sequence[float]), (np.array(3.0), Sequence[float]), (torch.tensor(1.0), Sequence[float]),
    ([1.0, float("nan")], Sequence[Finite]), (np.array([np.nan]), Sequence[Finite]), (np.array([2]), Sequence[bool]),
    (np.array([0.5]), Sequence[bool]), ([None], Sequence[float]),
    (pd.Series([1, None], dtype="Int64"), Sequence[float]), ({"a": 1.0}, Sequence[float]),
    ({1.0}, str | Sequence[float]), ("abc", np.ndarray), ({1.0}, np.ndarray), ({"a": 1}, np.ndarray),
    ([[1], [1, 2]], np.ndarray), (["a"], np.ndarray), (3.0, np.ndarray), ([None], np.ndarray),
    (Path("figure-3"), str), ([{}], frozenset[str]),
    ("https://a.org/b", str | Path), (["s3://b"], Sequence[str | Path]),
    (3, PathOrAddress), ("", PathOrAddress),
]


@pytest.mark.parametrize("value, hint", RIGHT)
def test_what_a_type_says_comes_in(value, hint):
    found = held("it", value, hint)
    assert found is value or found == value


@pytest.mark.parametrize("value, hint", WRONG)
def test_what_it_does_not_say_is_one_line_with_its_name(value, hint):
    with pytest.raises(UserError, match="it") as refused: held("it", value, hint)
    assert "\n" not in str(refused.value) and str(refused.value).isprintable() and len(str(refused.value)) < 400


def is_the_same(found, right) -> bool:
    "Of one kind, and equal; of arrays also the type of the numbers."
    if isinstance(right, (np.ndarray, torch.Tensor)):
        return type(found) is type(right) and found.dtype == right.dtype and found.tolist() == right.tolist()
    if isinstance(right, (list, tuple)): return len(found) == len(right) and all(map(is_the_same, found, right))
    return found == right and type(found) is type(right)


@pytest.mark.parametrize("value, hint, right", LOOKS_THE_SAME)
def test_what_looks_the_same_is_handed_on_as_what_the_type_says(value, hint, right):
    found = held("it", value, hint)
    if isinstance(found, np.ndarray) and isinstance(right, list): found = found.tolist()
    assert is_the_same(found, right), found
    if typing.get_origin(hint) in (tuple, list, frozenset): assert isinstance(found, typing.get_origin(hint))


@pytest.mark.parametrize("value, why", [
    ({"a", "b"}, "no order"), ({"a": 1}, "its keys or its values"), ("ab", "a list"), (frozenset("a"), "no order"),
])
@pytest.mark.parametrize("hint", [Sequence[str], Sequence[float], np.ndarray, str | Path | Sequence[int]])
def test_why_a_thing_is_no_list(value, why, hint):
    if isinstance(value, str) and hint not in (Sequence[str], Sequence[float], np.ndarray): return
    with pytest.raises(UserError, match=why): held("it", value, hint)


@pytest.mark.parametrize("value, hint", [
    ([1, 2], list[int]), ({"a": [1]}, Mapping[str, list[int]]), ({"a"}, set[str]), ((1, 2), tuple[int, int]),
    (np.zeros(3), np.ndarray), (np.zeros(3), Sequence[float]), (torch.zeros(2), torch.Tensor),
    (range(3), Sequence[int]), (collections.OrderedDict(a=1), Mapping[str, int]), (Corner(1, 2), tuple[int, int]),
    ({"a": 1}.keys(), Iterable[str]),
])
def test_what_is_right_is_handed_on_itself(value, hint):
    assert held("it", value, hint) is value


def test_a_door_changes_nothing_else():
    @door
    def plain(a: int, *rest: int, b: Count = 2, **more: Any) -> list:
        """What it does."""
        return [a, rest, b, more]

    assert plain(1, 2, 3, b=4, c=5) == [1, (2, 3), 4, {"c": 5}] and plain(1) == [1, (), 2, {}]
    assert plain.__doc__ == "What it does." and list(inspect.signature(plain).parameters) == ["a", "rest", "b", "more"]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"): plain()


def test_every_further_argument_is_held_as_well():
    @door
    def many(*texts: str, **counts: Count) -> tuple: return texts, counts

    assert many("a", "b", n=np.int64(3)) == (("a", "b"), {"n": 3})
    for attempt in (lambda: many("a", 2), lambda: many(n=0)):
        with pytest.raises(UserError, match="must be"): attempt()


class Shelf:
    @door
    def put(self, text: str) -> str: return text

    @classmethod
    @door
    def of(cls, *texts: str) -> str: return "".join(texts)

    @staticmethod
    @door
    def size(n: Count) -> int: return n


def test_a_method_is_a_door_too():
    shelf = Shelf()
    assert (shelf.put("a"), shelf.put(text="a"), Shelf.of("a", "b"), shelf.size(2)) == ("a", "a", "ab", 2)
    for attempt in (lambda: shelf.put(3), lambda: Shelf.of("a", 3), lambda: Shelf.size(0)):
        with pytest.raises(UserError, match="must be"): attempt()


def test_what_is_behind_a_door():
    def inner(a: int) -> int: return a
    outer = door(inner)
    around = functools.wraps(outer)(lambda a: outer(a) + 1)
    assert behind(outer) is inner and behind(inner) is inner and behind(around) is around


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
