"""A models folder with every kind of entry in every place, beside healthy models.

Each odd entry is in a folder of its own, named after it, so that a test can say which one it was.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

from tests.repositories import put, scale

Make = Callable[[Path], object]
HEALTHY = {"good": 3.0, "zz_good": 5.0}
"""What the healthy models multiply with: the first and the last by name."""
SMALL_FILES = (
    "model.toml", "serving.toml", "quarantine.toml", "golden.npz", "example.json",
    "tokenizer.json", "report.json",
)  # fmt: skip
NO_TEXT = os.fsdecode(b"caf\xe9")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, chdir(path.parent):
        made.bind(path.name)  # an absolute path may be too long for one


def _zeros(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 * 2**30)


def _folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def _deep(path: Path) -> None:
    """Create nested folders, each with the name that the server looks for."""
    with chdir(path.parent):
        Path(path.name).mkdir()
        for _ in range(700):
            os.chdir(path.name)
            Path("onnx").mkdir()
            path = Path("onnx")


def _bytes(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


KINDS: dict[str, Make] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "folder": _folder,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "zeros": _zeros,
    "broken": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "outside": lambda path: path.symlink_to("/proc/self/environ"),
    "brackets": _bytes(b"a = " + b"[" * 20_000),
    "objects": _bytes(b'{"a":' * 20_000),
    "dots": _bytes(b"a" + b".a" * 20_000 + b" = 1"),
    "no_text": _bytes(b"\xff\xfe\0"),
    "empty": _bytes(b""),
    "locked": lambda path: (path.touch(), path.chmod(0)),
}
FOLDERS: dict[str, Make] = {
    **{kind: KINDS[kind] for kind in ("pipe", "socket", "device", "broken", "loop", "zeros")},
    "outside": lambda path: path.symlink_to("/proc"),
    "deep": _deep,
    "locked": lambda path: (_folder(path), path.chmod(0)),
    "empty": Path.mkdir,
}
"""What may lie where a folder belongs."""
NAMES = (
    NO_TEXT, "a\nb", "²", "9" * 20, "x" * 255, "-", "con:", "%2e%2e", "\u202e", "1" + NO_TEXT, "v2",
    "model.onnx" + NO_TEXT, "日本", ".hidden" + NO_TEXT, "٣",
)  # fmt: skip
"""Of folders and files, in the root, in a model and in a version."""


def hostile(root: Path) -> Path:
    """Create the folder."""
    for name, factor in HEALTHY.items():
        put(root, name, 1, scale(factor))
        put(root, name, 2, scale(factor))
    for _ in _entries(root):
        pass
    return root


def _entries(root: Path) -> Iterator[None]:
    for kind, make in FOLDERS.items():
        yield make(root / f"root_{kind}")  # type: ignore[misc]
        put(root, f"version_{kind}", 1, scale(1))
        yield make(root / f"version_{kind}/2")  # type: ignore[misc]
    for file in SMALL_FILES:
        KINDS["pipe"](root / file)
        for kind, make in KINDS.items():
            folder = put(root, f"{file}_{kind}", 1, scale(1))
            yield make(folder.parent / file)  # type: ignore[misc]
            if file in ("golden.npz", "report.json"):
                yield make(put(root, f"{file}_{kind}_own", 1, scale(1)) / file)  # type: ignore[misc]
    for kind, make in KINDS.items():
        (root / f"file_{kind}/1").mkdir(parents=True)
        yield make(root / f"file_{kind}/1/model.onnx")  # type: ignore[misc]
    folder = put(root, "names", 1, scale(1))
    for name in NAMES:
        for place in (root, folder.parent, folder):
            (place / name).mkdir()
    odd = root / "name_of_file/1"
    odd.mkdir(parents=True)
    (odd / (NO_TEXT + ".onnx")).write_bytes(scale(1))
    (root / "1").mkdir()
    yield _deep(root / "1/onnx")  # type: ignore[func-returns-value]
