"""``quantserve examples``: copies the shipped models to a folder, to serve them from there.

A server writes to its models folder (uploads, pins), so it cannot serve from the installed package.
Each model is published by a rename, so an interrupted copy can be repeated.
"""

import argparse
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from service.core.errors import ConfigError
from service.core.model_file import is_hidden

PACKAGE = Path(__file__).parents[1]
MODELS = ("diabetes", "digits")
FP32 = ("digits.onnx", "digits.npz")
NOT_SHIPPED = shutil.ignore_patterns("serving.toml", "quarantine.toml", ".*")
"""Files that a server may have written if it served the folder of a clone."""
DRAFT = ".examples-"
DONE = ".examples"
"""A file in the folder that marks a complete copy."""
ABANDONED_SECONDS = 3600.0


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the folder, and the flags."""
    parser.epilog = "Models and files that exist in the folder are not changed."
    parser.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", help="default: models, or fp32 with --fp32"
    )
    parser.add_argument(
        "--fp32",
        action="store_true",
        help="copy digits.onnx and digits.npz instead: a model in FP32 and rows, for `quantize`",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="do nothing if DIR has other models or was filled before: for the first use of a "
        "volume",
    )


def run(flags: dict[str, Any]) -> int:
    """Copy the models. Returns the exit code.

    Raises:
        ConfigError: the folder cannot be written.
    """
    fp32 = flags["fp32"]
    folder = flags["folder"] or Path("fp32" if fp32 else "models")
    names = FP32 if fp32 else MODELS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if flags["once"] and _in_use(folder, names):
            print(f"{folder}: already in use, nothing copied")
            return 0
        _remove_abandoned(folder)
        for name in names:
            print(f"{folder / name}: {_copy(_source(fp32) / name, folder / name)}")
        if flags["once"]:
            (folder / DONE).touch()
    except OSError as error:
        where = error.filename or folder
        raise ConfigError(f"cannot copy the examples: {where}: {error.strerror}") from None
    return 0


def _source(fp32: bool) -> Path:
    """Return the folder of the examples: in the package, or next to it in a clone.

    Raises:
        ConfigError: neither exists.
    """
    clone = PACKAGE.parent
    inside = PACKAGE / ("fp32" if fp32 else "models")
    beside = clone / ("scripts/examples/fp32" if fp32 else "models")
    for each in (inside, beside):
        if each.is_dir():
            return each
    raise ConfigError(f"the examples are not installed: there is neither {inside} nor {beside}")


def _in_use(folder: Path, names: tuple[str, ...]) -> bool:
    """Return True if this command completed a copy, or the folder has other files."""
    if (folder / DONE).exists():
        return True
    return any(not is_hidden(each.name) and each.name not in names for each in folder.iterdir())


def _copy(source: Path, target: Path) -> str:
    """Copy a file or a model's folder. Returns the result as text."""
    if target.exists():
        return "already exists"
    with _draft(target.parent) as draft:
        if source.is_dir():
            shutil.copytree(source, draft, copy_function=_copy_file, ignore=NOT_SHIPPED)
        else:
            _copy_file(source, draft)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():
                raise
            return "already exists"  # another replica copied it first
    return "copied"


def _copy_file(source: str | Path, target: str | Path) -> None:
    """Copy and sync a file. The umask determines its mode."""
    with Path(source).open("rb") as old, Path(target).open("xb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Yield a hidden temporary path, which is removed at the end."""
    draft = folder / f"{DRAFT}{secrets.token_hex(8)}"
    try:
        yield draft
    finally:
        _remove(draft)


def _remove_abandoned(folder: Path) -> None:
    """Remove files that killed copies left. Recent files stay, since another pod may be copying."""
    for draft in folder.glob(f"{DRAFT}*"):
        with suppress(FileNotFoundError):  # another pod removed it first
            if draft.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                _remove(draft)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
