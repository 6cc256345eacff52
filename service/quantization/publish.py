"""Publishes a new version as an upload does: files are synced first, then one rename.

models/<name>/.quantize/        a search's scratch folder, kept until the search is complete
models/<name>/<n>/              model.onnx, report.json, report.html
models/<name>/golden.npz        rows and FP32's answers; written once, by the first version
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from service.core.compatibility import compare_signatures
from service.core.errors import ConfigError, Conflict, InvalidName, LoadFailed, StorageFailed
from service.core.figures import dumps
from service.core.names import VERSION
from service.core.tensors import Array, Arrays, Signature
from service.engine.onnx_file.summary import summarise
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.engine.storage.contents import MODEL_FILE
from service.engine.storage.folder import read_model
from service.engine.storage.golden import read_golden
from service.engine.storage.root import Root
from service.engine.storage.staging import Staging, highest_version
from service.quantization.data.labels import varies
from service.quantization.data.rows import Rows, groups

GOLDEN = "golden.npz"
GOLDEN_ROWS = 32
BLOCK = 2**20
"""The number of bytes that are copied at a time."""


def check_home(home: Path, signature: Signature) -> None:
    """Check that a new version with this signature can be added to the model's folder.

    Raises:
        ConfigError: the folder is not writable, already has the highest possible version, or is
            belongs to another model.
    """
    try:
        Root.of(home.parent).check_new_version(home.name)
    except Conflict as error:
        raise ConfigError(f"{error} with --name") from None
    make_folder(home)
    if not os.access(home, os.W_OK):
        raise ConfigError(f"{home} cannot be written to")
    if not _room(home):
        raise ConfigError(_full(home))
    try:
        if (home / GOLDEN).exists():
            read_golden(home / GOLDEN, signature)
        elif (there := read_model(home)) is not None and there.files:
            newest = max(there.files)
            _check_same(there.of_version(newest).model, newest, signature)
    except LoadFailed as error:
        raise ConfigError(f"{home.name} is another model: {error}; choose another --name") from None


def make_folder(folder: Path) -> None:
    """Create a folder unless it exists.

    Raises:
        ConfigError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be created: {error.strerror}") from None


def _check_same(path: Path, version: int, signature: Signature) -> None:
    """Raise LoadFailed if requests to the existing version would fail on a new one."""
    if not path.is_file():
        return
    found = compare_signatures(Session(path, SessionOptions(1)).signature, signature)
    if found.broken:
        broken = ", ".join(found.broken)
        raise LoadFailed(f"requests to its version {version} would fail: {broken}")


def publish(
    home: Path, model: Path, report: Mapping[str, Any], page: str, beside: Sequence[Path] = ()
) -> int:
    """Publish the next version, together with the files ``beside``. Returns its number.

    Raises:
        ConfigError: the version cannot be written; no partial version remains.
    """
    staging = Staging(home.parent, home.name)
    try:
        staging.create()
        for name in (MODEL_FILE, *map(PurePosixPath, summarise(model).external_files)):
            _copy(model if name == MODEL_FILE else model.parent / name, staging, name)
        for file in beside:
            _copy(file, staging, PurePosixPath(file.name))
        text = dumps(report, indent=1)
        staging.append(PurePosixPath("report.json"), f"{text}\n".encode())
        staging.append(PurePosixPath("report.html"), page.encode())
        staging.seal()
        return staging.publish(None)
    except InvalidName as error:
        raise ConfigError(str(error) if _room(home) else _full(home)) from None
    except (StorageFailed, OSError) as error:
        raise ConfigError(f"{home}: the version cannot be written: {error}") from None
    finally:
        staging.discard()


def _copy(file: Path, staging: Staging, name: PurePosixPath) -> None:
    with file.open("rb") as given:
        while block := given.read(BLOCK):
            staging.append(name, block)


def write_golden(home: Path, signature: Signature, rows: Rows, answers: Sequence[Arrays]) -> bool:
    """Write the golden rows unless the model already has golden rows. Returns True if they were
    written.

    If the model has no batch axis, only one row or run is written. Outputs without one value per
    row, such as a detector's boxes, are omitted: their number may differ in a good version. All
    outputs of a run are omitted if serving would split the run along its first axis, such as the
    steps of a sequence.
    """
    if (home / GOLDEN).exists():
        return False
    alike = max(groups(rows.feeds), key=len)
    places = alike[: GOLDEN_ROWS if signature.has_rows and not rows.by_run else 1]
    first_run = rows.feeds[places[0]]
    in_rows = signature.batchable or (signature.loose and bool(signature.common_rows(first_run)))
    mistaken = rows.by_run and in_rows
    if mistaken and len({len(array) for array in first_run}) > 1:
        return False
    arrays = {}
    for index, spec in enumerate(signature.inputs):
        arrays[f"inputs/{spec.name}"] = _joined([rows.feeds[i][index] for i in places])
    for index, spec in enumerate(signature.outputs):
        first, *others = {answers[i][index].shape for i in alike}
        if not others and not mistaken and (first[:1] == (1,) or not signature.has_rows):
            arrays[f"outputs/{spec.name}"] = _joined([answers[i][index] for i in places])
    if rows.labels is not None and varies(rows.labels):
        arrays["labels"] = rows.labels[places[0]]
    elif rows.labels is not None:
        arrays["labels"] = rows.labels[places]
    plain = {n: a.astype(np.str_) if a.dtype == object else a for n, a in arrays.items()}
    temporary = home / ".quantize" / GOLDEN
    np.savez_compressed(temporary, allow_pickle=False, **plain)
    temporary.replace(home / GOLDEN)
    return True


def _joined(arrays: Sequence[Array]) -> Array:
    """Concatenate arrays. A single array is returned unchanged, since scalars cannot be
    concatenated."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _room(home: Path) -> bool:
    """Return True if the number after the highest version is a valid version."""
    return VERSION.fullmatch(str(highest_version(home) + 1)) is not None


def _full(home: Path) -> str:
    return (
        f"{home}: version {highest_version(home)} is the highest possible number; rename it, or"
        " choose another --name"
    )
