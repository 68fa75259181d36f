"""Every room of the library has a walk, which names all that the room offers."""
import pkgutil
import re
from pathlib import Path

import dclm_nb

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
