"""Reads folders into entries for ``service.core.layout``. Blocks."""

import os
from collections.abc import Callable
from pathlib import Path

from service.core.model_file import ONNX_FOLDER, Entry, Kind, is_hidden, is_model_file
from service.core.names import MODEL_FILE, VERSION
from service.core.unserved import is_harmless
from service.engine.host.paths import MAX_DEPTH, leads_outside

Into = Callable[[str, int], bool]
"""Returns True if a sub-folder must be listed too, from its name and its depth."""


def list_model(path: Path, root: Path, wanted: str = "") -> tuple[Entry, ...]:
    """Return the entries of a model's folder, to the depth of any model file; see ``listing``."""
    parts = {ONNX_FOLDER, *wanted.split("/")[:-1]}

    def into(name: str, depth: int) -> bool:
        return not depth or name in parts or is_model_file(name)

    return listing(path, root, into)


def list_root(path: Path, wanted: str = "") -> tuple[Entry, ...]:
    """Return the entries of a repository's root. Lists only the sub-folders that may belong to the
    model that lies directly in the root; see ``listing``."""
    parts = {ONNX_FOLDER, *wanted.split("/")[:-1]}

    def into(name: str, depth: int) -> bool:
        if not depth:
            return name in (MODEL_FILE, ONNX_FOLDER) or bool(VERSION.fullmatch(name))
        return name in parts or is_model_file(name)

    return listing(path, path, into)


def listing(path: Path, root: Path, into: Into, depth: int = 0) -> tuple[Entry, ...]:
    """Return the entries of a folder. The ``problem`` of an entry says that it cannot be read or
    leads out of ``root``.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(path) as found:
        return tuple(_entry(each, root, into, depth) for each in found)


def _entry(found: os.DirEntry[str], root: Path, into: Into, depth: int) -> Entry:
    name, path = found.name, Path(found.path)
    try:
        kind = _kind(found)
        # Settings and the like are read through a link, wherever it leads; weights are not.
        read = kind is Kind.FILE and is_harmless(name)
        if found.is_symlink() and not read and leads_outside(root, path):
            return Entry(name, kind, problem="leads outside the model repository")
        if kind is Kind.OTHER:
            nowhere = "is a link to nothing" if found.is_symlink() else "is not a file or a folder"
            return Entry(name, kind, problem=nowhere)
        deeper = depth < MAX_DEPTH and not is_hidden(name) and into(name, depth)
        if kind is Kind.FOLDER and deeper:
            return Entry(name, kind, listing(path, root, into, depth + 1))
    except OSError as error:
        return Entry(name, Kind.FOLDER, problem=f"cannot be read: {error.strerror}")
    return Entry(name, kind)


def _kind(found: os.DirEntry[str]) -> Kind:
    if found.is_dir():
        return Kind.FOLDER
    return Kind.FILE if found.is_file() else Kind.OTHER
