"""The working folder of a search."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime

from service.core.errors import ConfigError
from service.engine.cpu.machine import read_machine
from service.quantization.data.labels import flat
from service.quantization.data.rows import Split, save_rows
from service.quantization.recipes.build import WorkDir
from service.quantization.recipes.source import files_of


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """Yield the folder for searches of a model, locked so that only one process uses it."""
    folder = home / ".quantize"
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.mkdir(exist_ok=True)
        yield folder
    except BlockingIOError:
        raise ConfigError(f"another quantize is running on {home}") from None
    finally:
        os.close(descriptor)


def new_work_dir(
    scratch: Path, model: Path, given: Sequence[Path], wishes: Mapping[str, Any], parts: Split
) -> WorkDir:
    """Create the folder of this search, with its rows. Folders of other searches are removed."""
    folder = scratch.absolute() / _key(model, given, wishes, parts)
    for other in scratch.iterdir():
        if other.name != folder.name:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    folder.mkdir(exist_ok=True)
    work_dir = WorkDir(folder)
    try:
        save_rows(parts.calibration, work_dir.calibration)
        save_rows(parts.evaluation, work_dir.evaluation)
        save_rows(parts.confirmation, work_dir.confirmation)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
    return work_dir


def _key(model: Path, given: Sequence[Path], wishes: Mapping[str, Any], parts: Split) -> str:
    """Return a key for the files, rows, options and machine of a search."""
    digest = hashlib.sha256()
    for path in (model, *given):
        for file in files_of(path):
            digest.update(sha256(file).encode())
    for rows in (parts.calibration, parts.evaluation, parts.confirmation):
        for row in rows.feeds:
            for array in row:
                digest.update(array.tobytes() if array.dtype != object else repr(array).encode())
        digest.update(b"" if rows.labels is None else flat(rows.labels).tobytes())
    machine = read_machine()
    here = (onnxruntime.__version__, machine.cores, machine.features, machine.saturates)
    digest.update(repr((sorted(wishes.items()), here)).encode())
    return digest.hexdigest()[:16]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
