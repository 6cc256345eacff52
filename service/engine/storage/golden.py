"""The golden set: rows, and the answers that every version of the model must reproduce.

An .npz with arrays "inputs/<name>" and "outputs/<name>". If the correct classes are known, it also
has "labels" (for all outputs) or "labels/<name>". The first axis of every array is the rows. For a
model whose inputs do not share a batch, all arrays are one request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.errors import FileUnreadable, LoadFailed, QuantserveError
from service.core.tensors import Array, Arrays, Signature, Tensor, TensorSpec
from service.engine.host.resources import memory_limit
from service.engine.storage.npz import read_npz

INPUTS, OUTPUTS, LABELS = "inputs/", "outputs/", "labels/"
MOST_BYTES = 2**30
"""The maximum number of bytes of the arrays. The limit is lower on a machine with less than four
times as much memory."""


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """A golden set. ``inputs`` are in the order of the signature. ``outputs`` may lack some of the
    outputs. ``labels`` are by output; "" has the labels of all other outputs."""

    inputs: Arrays
    outputs: Mapping[str, Array]
    labels: Mapping[str, Array]


def read_golden(path: Path, signature: Signature, most: int = MOST_BYTES) -> GoldenSet | None:
    """Read the golden set in a file, of at most ``most`` bytes; return None if there is no file.

    Raises:
        LoadFailed: the file is not readable, or does not fit the signature; names the tensor.
    """
    arrays = _read(path, most)
    if arrays is None:
        return None
    _check_names(path.name, arrays, signature)
    outputs = {}
    for spec in signature.outputs:
        if OUTPUTS + spec.name in arrays:
            outputs[spec.name] = _array(path.name, "output", spec, arrays[OUTPUTS + spec.name])
    labels = {n.removeprefix(LABELS): a for n, a in arrays.items() if n.startswith(LABELS)}
    if "labels" in arrays:
        labels[""] = arrays["labels"]
    return GoldenSet(_inputs(path.name, arrays, signature), outputs, labels)


def _read(path: Path, most: int) -> dict[str, Array] | None:
    try:
        return read_npz(path, min(most, memory_limit() // 4))
    except FileNotFoundError:
        return None
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from error


def _check_names(file: str, arrays: Mapping[str, Array], signature: Signature) -> None:
    known = {INPUTS + spec.name for spec in signature.inputs}
    known |= {OUTPUTS + spec.name for spec in signature.outputs}
    for name in arrays:
        if name.startswith((INPUTS, OUTPUTS)) and name not in known:
            raise LoadFailed(f'{file} has "{name}", which the model does not have')


def _inputs(file: str, arrays: Mapping[str, Array], signature: Signature) -> Arrays:
    tensors = []
    for spec in signature.inputs:
        array = arrays.get(INPUTS + spec.name)
        if array is None:
            raise LoadFailed(f'{file} has no array "{INPUTS}{spec.name}"')
        tensors.append(Tensor(spec.name, spec.datatype, _array(file, "input", spec, array)))
    try:
        inputs = signature.check(tensors)
        rows = signature.rows(inputs) if signature.batchable else 1
    except QuantserveError as error:
        raise LoadFailed(f"{file}: {error}") from None
    if not rows:
        raise LoadFailed(f'{file}: input "{signature.inputs[0].name}" has 0 rows, expected more')
    return inputs


def _array(file: str, role: str, spec: TensorSpec, array: Array) -> Array:
    """Return an array of the set with the type of the signature: texts as objects, not as a type of
    fixed width."""
    text = spec.datatype.name == "BYTES"
    if array.dtype.kind not in "US" if text else array.dtype != spec.datatype.dtype:
        raise LoadFailed(f'{file}: {role} "{spec.name}" takes {spec}, got {array.dtype}')
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.astype(object) if text else array
