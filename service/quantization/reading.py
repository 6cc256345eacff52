"""The forms that data may come in: an .npz, a folder, a function, or made up."""

import sys
import traceback
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays, Signature
from service.engine.samples import generated_rows
from service.engine.session import Session, SessionOptions
from service.quantization.casting import cast_feeds
from service.quantization.data import Rows, check_rows, infinite_rows
from service.quantization.modules import user_function

LABELS = ("labels", "label", "y")
"""Names under which labels are found when no other is given."""
MOST_FEEDS, MOST_BYTES = 100_000, 4 * 10**9
"""Where a function goes on yielding, it is not asked for more than this."""
RANDOM_ROWS = 128

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)

Feed = Mapping[str, Array]


def read_data(spec: str, model: Path, signature: Signature, labels: str | None, seed: int) -> Rows:
    """The rows that ``--data`` names.

    Raises:
        ConfigError: there are none, or they do not fit the model.
    """
    if spec == "random":
        return _random(model, signature, seed)
    try:
        feeds, notes = _named(spec, signature)
        if not feeds:
            raise ConfigError("there are no rows")
        return _rows(feeds, signature, labels, notes)
    except ConfigError as error:
        raise ConfigError(f"{spec}: {error}") from None


def _rows(
    feeds: list[Feed], signature: Signature, labels: str | None, notes: tuple[str, ...]
) -> Rows:
    feeds, casts = cast_feeds([_plain(feed) for feed in feeds], signature)
    key = _label_key({n: a for feed in feeds for n, a in feed.items()}, signature, labels)
    rows = check_rows(feeds, signature)
    notes = (*notes, *infinite_rows(rows, signature))
    if not rows:
        raise ConfigError("there are no rows")
    if key is None:
        return Rows(rows, None, (*notes, *casts))
    found = _check_labels(_labels(feeds, key, len(rows)), key, len(rows))
    return Rows(rows, found, (*notes, *casts))


def _named(spec: str, signature: Signature) -> tuple[list[Feed], tuple[str, ...]]:
    """The arrays that were found, and notes about them."""
    path = Path(spec)
    if path.is_dir():
        return _folder(path, signature), ()
    if path.suffix == ".npz":
        return [_archive(path)], ()
    if path.suffix == ".npy" and len(signature.inputs) == 1:
        return [{signature.inputs[0].name: _array(path)}], ()
    if ":" in spec and not path.exists():
        return _function(spec)
    raise ConfigError(
        "expected an .npz file, a folder of .npy or .npz files, module:function, or "
        f"random{'' if path.exists() else ' (there is no such file)'}"
    )


def _archive(path: Path) -> Feed:
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ConfigError(f"{path.name} is not an .npz file, or not all of it is there")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except UNREADABLE as error:
        raise ConfigError(f"{path.name} cannot be read: {_why(error)}") from None


def _folder(folder: Path, signature: Signature) -> list[Feed]:
    """One .npy an input by its name, or one .npz (or .npy, for a single input) a few rows."""
    archives = sorted(folder.glob("*.npz"))
    if archives:
        return [_archive(path) for path in archives]
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise ConfigError("the folder holds no .npy and no .npz file")
    arrays = {path.stem: _array(path) for path in files}
    if all(spec.name in arrays for spec in signature.inputs):
        return [arrays]
    if len(signature.inputs) != 1:
        wanted = ", ".join(f"{spec.name}.npy" for spec in signature.inputs)
        raise ConfigError(f"expected {wanted}; found {', '.join(p.name for p in files[:8])}")
    return [{signature.inputs[0].name: array} for array in arrays.values()]


def _array(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
    except UNREADABLE as error:
        raise ConfigError(f"{path.name} cannot be read: {_why(error)}") from None
    return array


def _why(error: Exception) -> str:
    """NumPy's advice is to load pickles unsafely; ours is not."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "allow_pickle" in str(error):
        return (
            "it holds an array of Python objects, which would run code when loaded; "
            "save numbers, or text as an array of str"
        )
    return str(error)


def _function(spec: str) -> tuple[list[Feed], tuple[str, ...]]:
    """What a user's function yields: dicts of arrays by input name."""
    feeds: list[Feed] = []
    size = 0
    try:
        with user_function(spec) as function:
            for feed in function():
                feeds.append(_feed(feed))
                size += sum(np.asarray(array).nbytes for array in feed.values())
                if len(feeds) == MOST_FEEDS or size > MOST_BYTES:
                    return feeds, (f"{spec} yields more than the {len(feeds)} that were taken.",)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        line = _line_in(error, spec.partition(":")[0])
        raise ConfigError(f"{type(error).__name__}: {error}{line}") from error
    return feeds, ()


def _feed(value: object) -> Feed:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"it must yield dicts of arrays by input name, not {type(value).__name__}"
        )
    return value


def _line_in(error: BaseException, module: str) -> str:
    """Where in the user's own file it went wrong."""
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _plain(feed: Feed) -> Feed:
    """A golden set's "inputs/<name>" as "<name>"; its outputs are not data."""
    if not any(name.startswith("inputs/") for name in feed):
        return feed
    return {n.removeprefix("inputs/"): a for n, a in feed.items() if not n.startswith("outputs/")}


def _label_key(feed: Feed, signature: Signature, asked: str | None) -> str | None:
    if asked is not None and asked not in feed:
        has = ", ".join(f'"{name}"' for name in feed)
        raise ConfigError(f'there are no labels "{asked}"; it has {has}')
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
