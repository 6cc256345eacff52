"""Rows to try a model with: its golden set where it has one, else rows made up to fit."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from service.core.errors import LoadFailed, QuantserveError
from service.core.tensors import Array, Arrays, Signature, Tensor, TensorSpec
from service.engine.execution import Run

ROWS = 8
LENGTHS = (16, 8, 32, 64, 128, 224, 256, 1)
"""Tried in turn for symbolic axes of which nothing is known; 224 for images, 1 for odd graphs."""
INTEGER_RANGES = (64, 2)
"""Integers below the first could index most tables; those below the second index any."""

FEW = 4
"""Fewer golden rows than this may all lie in one range, and hide that rows move each other."""
CHECK_SECONDS = 1.0

INPUTS, OUTPUTS = "inputs/", "outputs/"


def trial_rows(
    signature: Signature, golden: Path, dims: Mapping[str, int], run: Run
) -> tuple[list[Arrays], str]:
    """Requests of one row to warm up and measure with; the note says why there are none, if so.

    ``dims`` gives lengths of symbolic axes, for rows that must be made up.

    Raises:
        LoadFailed: the golden set is not readable, or does not fit the model.
    """
    found = read_golden(golden, signature)
    if found is None:
        rows, error = generated_rows(signature, dims, run)
        why = f"no rows to try it with could be made up ({error}); add {golden.name}"
        return rows, "" if rows else why
    if not signature.batchable:
        return [found.inputs], ""
    rows = single_rows(found.inputs)
    _check_outputs(golden.name, signature, found, rows[0], run)
    if len(rows) < FEW:
        rows += generated_rows(signature, dims, run, like=rows[0])[0]
    return rows[:ROWS], ""


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden set: inputs in signature order, and what is expected of each output it names."""

    inputs: Arrays
    outputs: dict[str, Array]


def read_golden(path: Path, signature: Signature) -> Golden | None:
    """Read an .npz with arrays "inputs/<name>" and "outputs/<name>"; None where there is none.

    Raises:
        LoadFailed: the file is not readable, or does not fit the signature; names the tensor.
    """
    if not path.exists():
        return None
    arrays = _read(path)
    known = {f"{INPUTS}{spec.name}" for spec in signature.inputs}
    known |= {f"{OUTPUTS}{spec.name}" for spec in signature.outputs}
    for name in arrays:
        if name.startswith((INPUTS, OUTPUTS)) and name not in known:
            raise LoadFailed(f'{path.name} has "{name}", which the model has not')
    tensors = []
    for spec in signature.inputs:
        array = arrays.get(INPUTS + spec.name)
        if array is None:
            raise LoadFailed(f'{path.name} has no array "{INPUTS}{spec.name}"')
        _check_dtype(path.name, "input", spec, array)
        tensors.append(Tensor(spec.name, spec.datatype, _native(array)))
    outputs = {}
    for spec in signature.outputs:
        if OUTPUTS + spec.name in arrays:
            outputs[spec.name] = _native(arrays[OUTPUTS + spec.name])
            _check_dtype(path.name, "output", spec, arrays[OUTPUTS + spec.name])
    try:
        inputs = signature.check(tensors)
        if signature.batchable:
            signature.rows(inputs)
    except QuantserveError as error:
        raise LoadFailed(f"{path.name}: {error}") from None
    return Golden(inputs, outputs)


def _check_outputs(file: str, signature: Signature, golden: Golden, row: Arrays, run: Run) -> None:
    """Make sure that the expected outputs have the shapes that the model gives: not the declared
    ones, which may be wrong.

    Raises:
        LoadFailed: one has not; names the output.
    """
    try:
        answers = run(row, None)
    except QuantserveError as error:
        raise LoadFailed(f"{file}, first row: {error}") from error
    for spec, answer in zip(signature.outputs, answers, strict=True):
        expected = golden.outputs.get(spec.name)
        if expected is None or answer.shape[:1] != (1,):
            continue
        if expected.shape != (len(golden.inputs[0]), *answer.shape[1:]):
            raise LoadFailed(
                f'{file}: output "{spec.name}" has shape {list(answer.shape)} for its first row,'
                f' "{OUTPUTS}{spec.name}" has {list(expected.shape)}'
            )


def _read(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path):  # numpy would take a file of another kind, and not say so
            pass
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise LoadFailed(f"{path.name} cannot be read: {error}") from error


def _check_dtype(file: str, role: str, spec: TensorSpec, array: Array) -> None:
    text = spec.datatype.name == "BYTES"
    if array.dtype.kind not in "US" if text else array.dtype != spec.datatype.dtype:
        raise LoadFailed(f'{file}: {role} "{spec.name}" takes {spec}, got {array.dtype}')


def single_rows(arrays: Arrays) -> list[Arrays]:
    """Up to eight different rows, each a request of its own; all of them where all are alike."""
    count = min(len(array) for array in arrays)
    rows: dict[bytes, Arrays] = {}
    for i in range(count):
        row = tuple(array[i : i + 1] for array in arrays)
        rows.setdefault(b"".join(_bytes(part) for part in row), row)
        if len(rows) == ROWS:
            break
    return list(rows.values())


def _bytes(array: Array) -> bytes:
    return repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()


def generated_rows(
    signature: Signature, dims: Mapping[str, int], run: Run, like: Arrays | None = None
) -> tuple[list[Arrays], str]:
    """Rows that the graph runs on, found by trying; no rows and the last error where none was.

    ``dims`` gives lengths of symbolic axes; ``like`` is a row to take all lengths from.
    """
    error = ""
    for length, high in _attempts(signature, dims, like):
        rng = np.random.default_rng(0)
        shapes = (
            [array.shape for array in like]
            if like
            else [_shape(signature, spec, dims, length) for spec in signature.inputs]
        )
        rows = [
            tuple(
                _values(spec, shape, high, rng, i)
                for spec, shape in zip(signature.inputs, shapes, strict=True)
            )
            for i in range(ROWS)
        ]
        try:
            return _checked(rows, run), ""
        except QuantserveError as failure:
            error = str(failure)
    return [], error


def _checked(rows: list[Arrays], run: Run) -> list[Arrays]:
    """The rows, once they have run; where that takes long, the first two."""
    started = perf_counter()
    for done, row in enumerate(rows, start=1):
        run(row, None)
        if done > 1 and perf_counter() - started > CHECK_SECONDS:
            return rows[:done]
    return rows


def _attempts(
    signature: Signature, dims: Mapping[str, int], like: Arrays | None
) -> Iterator[tuple[int, int]]:
    free = like is None and any(
        not isinstance(dim, int) and dim not in dims
        for spec in signature.inputs
        for dim in spec.shape[1:]
    )
    for length in LENGTHS if free else LENGTHS[:1]:
        for high in INTEGER_RANGES:
            yield length, high


def _shape(
    signature: Signature, spec: TensorSpec, dims: Mapping[str, int], length: int
) -> tuple[int, ...]:
    # A name stands for the same length wherever it is, also where the first axis has it.
    firsts = {other.shape[0] for other in signature.inputs if other.shape} - {None}
    return tuple(
        dim
        if isinstance(dim, int)
        else dims.get(dim or "", 1 if axis == 0 or dim in firsts else length)
        for axis, dim in enumerate(spec.shape)
    )


def _values(
    spec: TensorSpec, shape: tuple[int, ...], high: int, rng: np.random.Generator, row: int
) -> Array:
    datatype = spec.datatype
    if datatype.name == "BYTES":
        return np.full(shape, "a", dtype=object)
    if datatype.kind == "boolean" or "mask" in spec.name.lower():
        return np.ones(shape, datatype.dtype)
    if datatype.kind == "integer":
        return rng.integers(0, high, shape).astype(datatype.dtype)
    # Each row has a range of its own: what takes its scale from the whole batch shows itself.
    values = (rng.standard_normal(shape) * 2.0 ** (row - 4)).astype(np.float32)
    if datatype.name == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(datatype.dtype)


def _native(array: Array) -> Array:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.astype(object) if array.dtype.kind == "U" else array
