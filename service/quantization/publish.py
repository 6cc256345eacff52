"""A new version's folder: written beside its place and put there by one rename.

models/<name>/.quantize/        a search's scratch folder, kept for as long as it may go on
models/<name>/<n>/              model.onnx, report.json, report.html
models/<name>/golden.npz        rows and FP32's answers; written once, by the first version
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.core.errors import ConfigError, Conflict, LoadFailed
from service.core.tensors import Arrays, Signature
from service.engine.folder import read_model
from service.engine.golden import read_golden
from service.engine.graph import summarise
from service.engine.root import Root
from service.engine.session import Session, SessionOptions
from service.engine.staging import highest_version
from service.quantization.data import Rows, groups

GOLDEN = "golden.npz"
GOLDEN_ROWS = 32


def check_home(home: Path, signature: Signature) -> None:
    """Make sure that the model's folder can take a version with this signature.

    Raises:
        ConfigError: it cannot be written to, or holds golden rows of another model.
    """
    try:
        Root.of(home.parent).check_new_version(home.name)
    except Conflict as error:
        raise ConfigError(f"{error} with --name") from None
    make_folder(home)
    if not os.access(home, os.W_OK):
        raise ConfigError(f"{home} cannot be written to")
    try:
        if (home / GOLDEN).exists():
            read_golden(home / GOLDEN, signature)
        elif (there := read_model(home)) is not None and there.files:
            newest = max(there.files)
            _check_same(there.of_version(newest).model, newest, signature)
    except LoadFailed as error:
        raise ConfigError(f"{home.name} is another model: {error}; choose another --name") from None


def make_folder(folder: Path) -> None:
    """Make a folder unless it is there.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from None


def _check_same(path: Path, version: int, signature: Signature) -> None:
    """Raise LoadFailed if the version that is there takes or gives other tensors."""
    if not path.is_file():
        return
    there = Session(path, SessionOptions(1)).signature
    for words, want, got in (
        ("takes", there.inputs, signature.inputs),
        ("gives", there.outputs, signature.outputs),
    ):
        if [(s.name, s.datatype.name) for s in want] != [(s.name, s.datatype.name) for s in got]:
            shown = (", ".join(f'"{s.name}" {s}' for s in side) for side in (want, got))
            raise LoadFailed("its version {} {} {}, this one {}".format(
                version, words, *shown))  # fmt: skip


def publish(home: Path, model: Path, report: Mapping[str, Any], page: str) -> int:
    """Make the next version; returns its number.

    Raises:
        ConfigError: the disk does not take it; nothing of it is left.
    """
    staging = home / ".quantize" / "version"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        shutil.copyfile(model, staging / "model.onnx")
        for name in summarise(model).external_files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.parent / name, staging / name)
        text = json.dumps(report, indent=1, allow_nan=False)
        (staging / "report.json").write_text(text + "\n", "utf-8")
        (staging / "report.html").write_text(page, "utf-8")
        return _rename(staging, home)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise ConfigError(f"{home}: the version cannot be written: {error.strerror}") from None


def write_golden(home: Path, signature: Signature, rows: Rows, answers: Sequence[Arrays]) -> bool:
    """Write the golden rows unless there are some; says whether it did.

    One row only for a model that takes no more. Outputs that do not have one value for each row,
    such as the boxes that a detector found, are left out: a good version may find another number.
    """
    if (home / GOLDEN).exists():
        return False
    alike = max((found for found, _ in groups(rows.feeds)), key=len)
    places = alike[: GOLDEN_ROWS if signature.batchable else 1]
    arrays = {}
    for index, spec in enumerate(signature.inputs):
        arrays[f"inputs/{spec.name}"] = np.concatenate([rows.feeds[i][index] for i in places])
    for index, spec in enumerate(signature.outputs):
        first, *others = {answers[i][index].shape for i in alike}
        if not others and (first[:1] == (1,) or not signature.batchable):
            columns = [answers[i][index] for i in places]
            arrays[f"outputs/{spec.name}"] = np.concatenate(columns) if first else columns[0]
    if rows.labels is not None:
        arrays["labels"] = rows.labels[places]
    plain = {n: a.astype(np.str_) if a.dtype == object else a for n, a in arrays.items()}
    temporary = home / ".quantize" / GOLDEN
    np.savez_compressed(temporary, allow_pickle=False, **plain)
    temporary.replace(home / GOLDEN)
    return True


def _rename(staging: Path, home: Path) -> int:
    while True:
        number = highest_version(home) + 1
        try:
            staging.rename(home / str(number))
        except OSError:
            if not (home / str(number)).exists():
                raise
        else:
            return number
