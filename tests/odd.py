"""Values that nobody should give, and what a function makes of them: a result, or one line."""
import importlib
import inspect
import math
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import torch

from dclm_nb.core.errors import UserError


class Unprintable:
    """Something that cannot even be shown."""
    def __init__(self, *given): pass

    def __repr__(self): raise RuntimeError("cannot be printed")


ODD = {
    "None": None, "minus one": -1, "zero": 0, "one": 1, "two": 2, "huge": 10**30, "a half": 0.5, "nan": math.nan,
    "infinity": math.inf, "minus infinity": -math.inf, "True": True, "numpy": np.int64(3), "text": "text",
    "no text": "", "digits": "3", "half a character": "\ud83d", "a zero byte": "a\0b", "?": "?",
    "**": "**", "bytes": b"x", "list": [],
    "ids": [1, 2, 3], "ids beyond": [[99]], "negative ids": [[-1]], "nested": [["a"]], "null inside": [None],
    "numbers": [1.5], "mapping": {}, "mapping of one": {"a": 1}, "tensor": torch.zeros(2, 3), "object": object(),
    "class": Unprintable, "unprintable": Unprintable(), "function": lambda *a: None, "fails": lambda *a: [][1],
    "set": {1}, "array": np.zeros(3), "no array": np.zeros(0), "array of nan": np.full(2, math.nan),
    "path": "/dev/null/no/such",
    "a file": "a-file", "a folder": "a-folder", "under a file": "a-file/under",
}

ON_DISK = ("a file", "a folder", "under a file")


def public(package) -> dict:
    """{name: function or class} of all that the modules of a room offer."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.ispkg: continue
        part, short = importlib.import_module(module.name), module.name.split(".")[-1]
        for name in getattr(part, "__all__", ()):
            thing = getattr(part, name)
            if not (inspect.isfunction(thing) or inspect.isclass(thing)) or thing.__module__ != module.name: continue
            found[f"{short}.{name}"] = thing
    return found


def _takes(thing) -> bool:
    try: return bool(inspect.signature(thing).parameters)
    except ValueError: return False                     # an error of Python's kind, with a text


def parameters(function) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in kinds]


OPERATORS = ("__call__", "__contains__", "__getitem__")


def methods(name: str, kind: type) -> dict:
    """{name.method: function} of the public methods that a class itself defines and that take something."""
    found = {}
    for own, member in vars(kind).items():
        method = getattr(member, "__func__", member)                    # of what belongs to the class
        if own[0] == "_" and own not in OPERATORS or not inspect.isfunction(method): continue
        if method.__qualname__ != f"{kind.__qualname__}.{own}": continue            # the default of a field
        if len(parameters(method)) > (not isinstance(member, staticmethod)): found[f"{name}.{own}"] = method
    return found


def has_doors(kind: type) -> bool:
    """Is the making of a class a door, or one of its methods?"""
    return any(hasattr(getattr(member, "__func__", member), "holds") for member in vars(kind).values())


def offered(package) -> dict:
    """What `public` finds, if it takes something, and the methods of the classes that have a door."""
    found = public(package)
    kinds = {name: thing for name, thing in found.items() if inspect.isclass(thing) and has_doors(thing)}
    inside = {name: method for kind in kinds.items() for name, method in methods(*kind).items()}
    return {name: thing for name, thing in found.items() if _takes(thing)} | inside


def run(function, call: dict):
    """What a function makes; a generator is read to its end."""
    made = function(**call)
    return list(made) if inspect.isgenerator(made) else made


def lay_out() -> None:
    """What some of the odd values name, in the current folder."""
    for name in ("a-file", "a-folder"):
        (shutil.rmtree if Path(name).is_dir() else Path.unlink)(Path(name)) if Path(name).exists() else None
    Path("a-file").write_text("text")
    Path("a-folder").mkdir()


def wrong_answers(function, call: dict, leave=()) -> list[tuple[str, str, str]]:
    """(parameter, value, what was said) of every answer that is neither a result nor one line. One parameter of a call
    that is right is replaced at a time; `leave`: pairs of a parameter and a value that cost too much."""
    wrong = []
    for parameter in call:
        for what, value in ODD.items():
            if (parameter, what) in leave: continue
            if what in ON_DISK: lay_out()
            try: run(function, call | {parameter: value})
            except UserError as error:
                said = str(error)
                if "\n" in said or len(said) > 2000 or not said.isprintable(): wrong.append((parameter, what, said))
            except Exception as error:
                if value is ODD["fails"] and isinstance(error, IndexError): continue    # the user's own error
                wrong.append((parameter, what, f"{type(error).__name__}: {error}"[:150]))
    return wrong


def listed(inner: str) -> dict[str, str]:
    """{module.name: why it is in no table} of lines "module: Name other_name" below a line "# why"."""
    found, why = {}, ""
    for line in inner.strip().splitlines():
        if line.startswith("#"): why = line.strip("# ")
        else: found |= {f"{line.split(':')[0].strip()}.{name}": why for name in line.split(":")[1].split()}
    return found


def unlisted(package, table: dict, inner: str) -> set[str]:
    """What a room offers (see `offered`), and neither the table of calls nor `inner` (see `listed`) names; what is
    named and no longer there, named twice, or without a reason; and parameters that a call lacks."""
    left_out = listed(inner)
    called = {f"{function.__module__.split('.')[-1]}.{function.__qualname__}": function for function in table}
    missing = {f"{name}: {parameter}" for name, function in called.items()
               for parameter in set(parameters(function)) - set(table[function])}
    named = set(called) | set(left_out)
    without_reason = {name for name, why in left_out.items() if not why}
    return set(offered(package)) ^ named | set(called) & set(left_out) | without_reason | missing


def wrong_in_room(table: dict, leave: dict = {}, costly: tuple[str, ...] = ()) -> str:
    """Every answer of a room that is neither a result nor one line, one a line; `leave`: see `wrong_answers`, by name.
    Of what is `costly`, nothing is called."""
    lines = []
    for function, call in table.items():
        if (name := function.__name__) in costly: continue
        found = wrong_answers(function, call, leave.get(name, ()))
        lines += [f"{name}({parameter}={what}): {said}" for parameter, what, said in found]
    return "\n".join(lines)


def cases_in(table: dict, costly: tuple[str, ...] = ()) -> int:
    """How many values `wrong_in_room` tries."""
    return len(ODD) * sum(len(call) for function, call in table.items() if function.__name__ not in costly)


class Walk:
    """Three tests of a room. A class of this kind says which `room` it walks and what it leaves out: `inner` (see
    `listed`), what is `costly` or `absent` here (not called at all, or not with what is right), and `leave` (see
    `wrong_answers`). A fixture `table` has a right call of each door: one parameter at a time is then replaced."""
    room, inner, costly, absent, leave = None, "", (), (), {}

    def test_every_public_name_and_parameter_is_in_the_table(self, table):
        """So that a new one without a guard is seen."""
        unknown = unlisted(self.room, table, self.inner)
        assert not unknown, unknown

    def test_the_right_calls_are_right(self, table, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for function, call in table.items():
            if function.__name__ not in (*self.costly, *self.absent): run(function, call)

    def test_any_value_of_any_parameter_is_a_result_or_one_line(self, table, tmp_path, monkeypatch, record_property):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DCLM_NB_OFFLINE", "1")
        record_property("cases", cases_in(table, self.costly))
        wrong = wrong_in_room(table, self.leave, self.costly)
        assert not wrong, wrong
