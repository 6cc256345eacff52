"""The golden set: rows, and the answers that every version of the model must reproduce.

An .npz with arrays "inputs/<name>" and "outputs/<name>", and where the right answers are known
"labels" (for all outputs) or "labels/<name>". All have the rows in their first axis.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.errors import LoadFailed, QuantserveError
from service.core.tensors import Array, Arrays, Signature, Tensor


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """``inputs`` are in the order of the signature; ``outputs`` may lack some; ``labels`` are by
    output, under "" for those without their own."""

    inputs: Arrays
    outputs: Mapping[str, Array]
    labels: Mapping[str, Array]


def read_golden(path: Path, signature: Signature) -> GoldenSet | None:
    """The golden set in a file; None where there is none.

    Raises:
        LoadFailed: the file is not readable, or does not fit the signature.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: _native(archive[name]) for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise LoadFailed(f"{path.name} cannot be read: {error}") from error
    known = {spec.name for spec in signature.outputs}
    outputs = _below("outputs", arrays)
    for name in outputs:
        if name not in known:
            raise LoadFailed(f'{path.name}: the model has no output "{name}"')
    labels = _below("labels", arrays)
    if "labels" in arrays:
        labels[""] = arrays["labels"]
    return GoldenSet(_inputs(path.name, arrays, signature), outputs, labels)


def _inputs(file: str, arrays: Mapping[str, Array], signature: Signature) -> Arrays:
    tensors = []
    for spec in signature.inputs:
        array = arrays.get(f"inputs/{spec.name}")
        if array is None:
            raise LoadFailed(f'{file} has no array "inputs/{spec.name}"')
        if array.dtype != spec.datatype.dtype:
            raise LoadFailed(f'{file}: input "{spec.name}" takes {spec}, got {array.dtype}')
        tensors.append(Tensor(spec.name, spec.datatype, array))
    try:
        return signature.check(tensors)
    except QuantserveError as error:
        raise LoadFailed(f"{file}: {error}") from None


def _below(folder: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    prefix = f"{folder}/"
    return {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}


def _native(array: Array) -> Array:
    """Strings as the signature has them: objects, not numpy's fixed width."""
    return array.astype(object) if array.dtype.kind in "US" else array
