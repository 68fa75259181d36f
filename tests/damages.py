"""What disks, copies and editors do to a file. A test takes every kind through every file that is read again."""
from collections.abc import Callable
from pathlib import Path


def flipped(data: bytes) -> bytes:
    "One bit in the middle."
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda data: data[:-1 - len(data) // 3],
    "zeros": lambda data: bytes(len(data)),
    "one bit": flipped,
    "empty": lambda data: b"",
    "foreign": lambda data: b'{"what": "another program wrote"}\n',
    "deleted": lambda data: None,
}


def harm(path: Path, how: str) -> None:
    "Damage the file, or delete it."
    data = DAMAGES[how](path.read_bytes())
    if data is None: path.unlink()
    else: path.write_bytes(data)
