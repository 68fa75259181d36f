"""Every room of the library has a walk, which names all that the room offers."""
import pkgutil
import re
from pathlib import Path

from odd import has_doors, methods

import dclm_nb
from dclm_nb.core.doors import door

HERE = Path(__file__).parent


def test_every_room_has_a_walk():
    """A walk holds each public name and parameter of its room (tests/odd.py), so a new one without a guard is seen. The
    command line has one of its own, over its words."""
    rooms = {info.name for info in pkgutil.walk_packages(dclm_nb.__path__, "dclm_nb.") if info.ispkg}
    files = [file.read_text() for file in HERE.rglob("test_*given.py")]
    walked = {room for text in files for room in re.findall(r"^    room\b.*= (dclm_nb[.\w]*)", text, re.M)}
    assert walked | {"dclm_nb.lm"} == rooms             # its walk is older than the helper: tests/lm/test_given.py
    assert "test_every_public_function_and_parameter" in (HERE / "lm" / "test_given.py").read_text()
    assert any("test_every_command_and_parameter_is_in_the_table" in text for text in files)


class Shelf:
    @door
    def put(self, text: str) -> None: pass

    def take(self, n: int) -> None: pass

    @classmethod
    def of(cls, texts: list[str]) -> None: pass

    def __call__(self, n: int) -> None: pass

    def _inner(self, n: int) -> None: pass

    def count(self) -> int: return 0


class Drawer:
    def put(self, text: str) -> None: pass


def test_a_class_with_one_door_names_all_that_its_methods_take():
    """So a method without a guard is seen where a user holds the object in hand."""
    assert has_doors(Shelf) and not has_doors(Drawer)
    assert set(methods("a.Shelf", Shelf)) == {"a.Shelf.put", "a.Shelf.take", "a.Shelf.of", "a.Shelf.__call__"}
