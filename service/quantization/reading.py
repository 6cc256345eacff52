"""The forms that data may come in: an .npz, a folder, a function, or made up."""

import importlib
import sys
import zipfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays, Signature
from service.engine.samples import generated_rows
from service.engine.session import Session, SessionOptions
from service.quantization.data import Rows, check_rows

LABELS = ("labels", "label", "y")
"""Names under which labels are found when no other is given."""
MOST_ROWS = 100_000
RANDOM_ROWS = 128

Feed = Mapping[str, Array]


def read_data(spec: str, model: Path, signature: Signature, labels: str | None, seed: int) -> Rows:
    """The rows that ``--data`` names.

    Raises:
        ConfigError: there are none, or they do not fit the model.
    """
    if spec == "random":
        return _random(model, signature, seed)
    feeds = _named(spec, signature)
    if not feeds:
        raise ConfigError(f"{spec} gives no rows")
    feeds = [_plain(feed) for feed in feeds]
    key = _label_key(feeds[0], signature, labels, spec)
    rows = check_rows(feeds, signature)
    if key is None:
        return Rows(rows)
    return Rows(rows, _check_labels(_labels(feeds, key, len(rows)), key, len(rows)))


def _named(spec: str, signature: Signature) -> list[Feed]:
    path = Path(spec)
    if path.is_dir():
        return _folder(path, signature)
    if path.suffix == ".npz":
        return [_archive(path)]
    if ":" in spec and not path.exists():
        return _function(spec)
    raise ConfigError(
        f"--data {spec}: give an .npz file, a folder of .npy or .npz files, module:function, or "
        f"random{'' if path.exists() else ' (there is no such file)'}"
    )


def _archive(path: Path) -> Feed:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _folder(folder: Path, signature: Signature) -> list[Feed]:
    """One .npy an input by its name, or one .npz (or .npy, for a single input) a few rows."""
    archives = sorted(folder.glob("*.npz"))
    if archives:
        return [_archive(path) for path in archives]
    files = sorted(folder.glob("*.npy"))
    arrays = {path.stem: _array(path) for path in files}
    if all(spec.name in arrays for spec in signature.inputs):
        return [arrays]
    if len(signature.inputs) != 1:
        wanted = ", ".join(f"{spec.name}.npy" for spec in signature.inputs)
        raise ConfigError(f"{folder}: expected {wanted}, found {len(files)} .npy files")
    return [{signature.inputs[0].name: array} for array in arrays.values()]


def _array(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return array


def _function(spec: str) -> list[Feed]:
    """What a user's function yields: dicts of arrays by input name."""
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
        return list(islice(function(), MOST_ROWS))
    except Exception as error:
        raise ConfigError(f"--data {spec}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)


def _plain(feed: Feed) -> Feed:
    """A golden set's "inputs/<name>" as "<name>"; its outputs are not data."""
    if not any(name.startswith("inputs/") for name in feed):
        return feed
    return {n.removeprefix("inputs/"): a for n, a in feed.items() if not n.startswith("outputs/")}


def _label_key(feed: Feed, signature: Signature, asked: str | None, spec: str) -> str | None:
    if asked is not None and asked not in feed:
        has = ", ".join(f'"{name}"' for name in feed)
        raise ConfigError(f'{spec} has no labels "{asked}"; it has {has}')
    taken = {tensor.name for tensor in signature.inputs}
    return asked or next((name for name in LABELS if name in feed and name not in taken), None)


def _labels(feeds: list[Feed], key: str, rows: int) -> Array:
    """All labels in one array. Where each feed is one row, its labels may lack the first axis."""
    missing = sum(key not in feed for feed in feeds)
    if missing:
        raise ConfigError(f'{missing} of {len(feeds)} parts of the data have no labels "{key}"')
    found = [np.asarray(feed[key]) for feed in feeds]
    if len(feeds) == rows:
        found = [array if array.shape[:1] == (1,) else array[None] for array in found]
    found = [np.atleast_1d(array) for array in found]
    shapes = sorted({array.shape[1:] for array in found})
    if len(shapes) > 1:
        raise ConfigError(
            f'labels "{key}" have several shapes, such as {list(shapes[0])} and '
            f"{list(shapes[1])} for a row; they must have one"
        )
    return np.concatenate(found)


def _check_labels(labels: Array, key: str, rows: int) -> Array:
    if labels.size == len(labels):
        labels = labels.reshape(-1)
    if len(labels) != rows:
        raise ConfigError(f'labels "{key}" are {len(labels)}, the rows are {rows}')
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ConfigError(f'labels "{key}" hold NaN or infinity')
    return labels


def _random(model: Path, signature: Signature, seed: int) -> Rows:
    rows, error = generated_rows(signature, {}, Session(model, SessionOptions(1)).run)
    if not rows:
        raise ConfigError(f"no random rows could be made that the model accepts: {error}")
    rng = np.random.default_rng(seed)
    return Rows(
        tuple(tuple(_like(rows, i, rng) for i in _inputs(rows)) for _ in range(RANDOM_ROWS))
    )


def _inputs(rows: list[Arrays]) -> range:
    return range(len(rows[0]))


def _like(rows: list[Arrays], index: int, rng: np.random.Generator) -> Array:
    """Values of the kind that the model was found to accept."""
    seen = np.concatenate([row[index] for row in rows])
    shape = rows[0][index].shape
    if seen.dtype.kind == "f":
        return rng.standard_normal(shape).astype(seen.dtype)
    if seen.dtype.kind in "iu" and seen.size:
        low, high = int(seen.min()), int(seen.max())
        return rng.integers(low, high + 1, shape).astype(seen.dtype)
    return rows[0][index]
