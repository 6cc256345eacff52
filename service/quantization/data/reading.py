"""Reads the data of a search: .npz or .npy files, a folder of them, a function, or random rows."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays, Signature
from service.engine.host.resources import memory_limit
from service.engine.loading.samples import generated_rows
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.engine.storage.npz import read_npy, read_npz
from service.quantization.data.casting import cast_feeds
from service.quantization.data.labels import label_key, labels_of_rows, labels_of_runs
from service.quantization.data.layout import Layout, are_runs, layout_of
from service.quantization.data.rows import Rows, infinite_rows, rows_of
from service.quantization.data.runs import AS_THEY_COME, check_run, unstacked
from service.quantization.data.user_functions import user_function

MOST_FEEDS, MOST_BYTES = 100_000, 4 * 10**9
"""The maximum number of dicts, and of bytes, that are read from a user's function."""
RANDOM_ROWS = 128

Feed = Mapping[str, Array]


def read_data(
    spec: str,
    model: Path,
    signature: Signature,
    labels: str | None,
    seed: int,
    needs_labels: bool = True,
) -> Rows:
    """Read the rows, or runs, of ``--data``.

    If ``needs_labels``, it is an error if the labels named by ``labels`` are missing.

    Raises:
        ConfigError: there is no data, or it does not fit the model.
    """
    if spec == "random":
        return _random(model, signature, seed)
    try:
        parts, notes = _named(spec, signature)
        if not parts:
            raise ConfigError("there are no rows")
        parts = {name: _plain(feed) for name, feed in parts.items()}
        names = {n: a for feed in parts.values() for n, a in feed.items()}
        asked = labels if needs_labels or labels in names else None
        key = label_key(names, signature, asked)
        read = _runs if are_runs([*parts.values()], signature) else _rows
        return read(parts, signature, key, notes)
    except ConfigError as error:
        raise ConfigError(f"{spec}: {error}") from None


def _rows(
    parts: Mapping[str, Feed], signature: Signature, key: str | None, notes: tuple[str, ...]
) -> Rows:
    rows: list[Arrays] = []
    for name, feed in parts.items():
        with _about(name):
            (cast,), casts = cast_feeds([feed], signature)
            rows += rows_of(cast, signature, len(rows))
            notes = (*notes, *casts)
    if not rows:
        raise ConfigError("there are no rows")
    notes = (*notes, *infinite_rows(rows, signature))
    labels = labels_of_rows([*parts.values()], key, len(rows)) if key else None
    return Rows(tuple(rows), labels, tuple(dict.fromkeys(notes)))


def _runs(
    parts: Mapping[str, Feed], signature: Signature, key: str | None, notes: tuple[str, ...]
) -> Rows:
    """Read runs: each part is one run, or several if all its inputs have an extra first axis."""
    feeds: list[Feed] = []
    runs: list[Arrays] = []
    for name, part in parts.items():
        with _about(name):
            several = unstacked(part, signature)
        for place, feed in enumerate(several):
            with _about(name), _about(f"run {place}" if len(several) > 1 else ""):
                (cast,), casts = cast_feeds([feed], signature)
                runs.append(check_run(cast, signature, key))
                feeds.append(feed)
                notes = (*notes, *casts)
    notes = (*notes, *infinite_rows(runs, signature), AS_THEY_COME)
    labels = labels_of_runs(feeds, key) if key else None
    return Rows(tuple(runs), labels, tuple(dict.fromkeys(notes)), by_run=True)


@contextmanager
def _about(part: str) -> Iterator[None]:
    """Prefix errors with the part of the data that they concern."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{part}: {error}" if part else str(error)) from None


def _named(spec: str, signature: Signature) -> tuple[dict[str, Feed], tuple[str, ...]]:
    """Return feeds by their name in error messages, and notes on them."""
    path = Path(spec)
    if path.is_dir():
        return _folder(path, signature), ()
    if path.suffix == ".npz":
        return {"": _archive(path)}, ()
    if path.suffix == ".npy" and len(signature.inputs) == 1:
        return {"": {signature.inputs[0].name: _array(path)}}, ()
    if ":" in spec and not path.exists():
        return _function(spec)
    raise ConfigError(
        "expected an .npz file, a folder of .npy or .npz files, module:function, or "
        f"random{'' if path.exists() else ' (there is no such file)'}"
    )


def _archive(path: Path) -> Feed:
    with _readable(path):
        return read_npz(path, memory_limit())


def _folder(folder: Path, signature: Signature) -> dict[str, Feed]:
    """Return the feeds of a folder: one .npy file per input, named after the input; or several .npz
    files (or .npy files for a model with one input), each with some rows."""
    archives = sorted(folder.glob("*.npz"))
    if archives:
        return {path.name: _archive(path) for path in archives}
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise ConfigError("the folder holds no .npy and no .npz file")
    arrays = {path.stem: _array(path) for path in files}
    if all(spec.name in arrays for spec in signature.inputs):
        return {"": arrays}
    if len(signature.inputs) != 1:
        wanted = ", ".join(f"{spec.name}.npy" for spec in signature.inputs)
        raise ConfigError(f"expected {wanted}; found {', '.join(p.name for p in files[:8])}")
    name = signature.inputs[0].name
    return {path.name: {name: arrays[path.stem]} for path in files}


def _array(path: Path) -> Array:
    with _readable(path):
        return read_npy(path, memory_limit())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from None


def _function(spec: str) -> tuple[dict[str, Feed], tuple[str, ...]]:
    """Call a user's function, which yields dicts of arrays by input name."""
    feeds: dict[str, Feed] = {}
    size = 0
    try:
        with user_function(spec) as function:
            for value in function():
                name = f"dict {len(feeds)}"
                with _about(name):
                    feeds[name] = _feed(value)
                size += sum(array.nbytes for array in feeds[name].values())
                if len(feeds) == MOST_FEEDS or size > MOST_BYTES:
                    return feeds, (f"{spec} yields more than the {len(feeds)} dicts used.",)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        line = _line_in(error, spec.partition(":")[0])
        after = f", after {len(feeds)} dicts" if feeds else ""
        raise ConfigError(f"{type(error).__name__}: {error}{line}{after}") from error
    return feeds, ()


def _feed(value: object) -> Feed:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"it must yield dicts of arrays by input name, not {type(value).__name__}"
        )
    try:
        # Copy: user loops often write the next value into the same array.
        return {str(name): np.array(array) for name, array in value.items()}
    except ValueError as error:  # lists of unequal lengths
        raise ConfigError(f"a value cannot be converted to an array: {error}") from None


def _line_in(error: BaseException, module: str) -> str:
    """Return the file and line of the user's module where an error was raised, or ""."""
    file = getattr(sys.modules.get(module), "__file__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _plain(feed: Feed) -> Feed:
    """Return the inputs of a golden set by name, without the prefix "inputs/"."""
    if not any(name.startswith("inputs/") for name in feed):
        return feed
    return {n.removeprefix("inputs/"): a for n, a in feed.items() if not n.startswith("outputs/")}


def _random(model: Path, signature: Signature, seed: int) -> Rows:
    rows, error = generated_rows(signature, {}, Session(model, SessionOptions(1)).run)
    if not rows:
        raise ConfigError(f"cannot generate random rows that the model accepts: {error}")
    rng = np.random.default_rng(seed)
    made = tuple(tuple(_like(rows, i, rng) for i in _inputs(rows)) for _ in range(RANDOM_ROWS))
    if layout_of(signature) in (Layout.RUNS, Layout.APART):
        return Rows(made, None, (AS_THEY_COME,), by_run=True)
    return Rows(made)


def _inputs(rows: list[Arrays]) -> range:
    return range(len(rows[0]))


def _like(rows: list[Arrays], index: int, rng: np.random.Generator) -> Array:
    """Return a random array with the shape, dtype and range of the rows that the model accepted."""
    seen = np.stack([row[index] for row in rows])
    shape = rows[0][index].shape
    if seen.dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), seen.dtype)
    if seen.dtype.kind in "iu" and seen.size:
        low, high = int(seen.min()), int(seen.max())
        return np.asarray(rng.integers(low, high + 1, shape), seen.dtype)
    return rows[0][index]
