"""Rows for the probe: from the golden set if there is one, else generated rows that fit the
signature."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np

from service.core.errors import LoadFailed, QuantserveError
from service.core.tensors import Array, Arrays, Signature, TensorSpec
from service.engine.loading.lengths import Shapes, shapes_to_try
from service.engine.runtime.execution import Run
from service.engine.storage.golden import OUTPUTS, GoldenSet, read_golden

ROWS = 8
FIRST, SEARCH_SECONDS = 8, 5.0
"""The number of combinations of lengths that are always tried, and the seconds for more of them."""
INTEGER_RANGES = (64, 2, 1)
"""Upper bounds of generated integers, tried in this order. The integers may be indices: those below
64 fit most tables, and 0 fits even a graph with a single node."""

MOST_ELEMENTS = 2**25
"""The maximum number of elements of generated inputs. A scan of 256 x 256 x 256 has half as
many."""
FEW = 4
"""If there are fewer golden rows, generated rows are added. A few rows may have the same range,
which hides that rows affect each other."""
CHECK_SECONDS = 1.0


def trial_rows(
    signature: Signature,
    golden: Path,
    dims: Mapping[str, int],
    run: Run,
    made: Sequence[Arrays] = (),
) -> tuple[list[Arrays], str]:
    """Return requests to warm up and measure with, and a note with the reason if there are none.

    Each request is one row, or the whole golden set if its rows cannot be separated. ``dims`` has
    lengths of symbolic axes, for generated rows. ``made`` are rows to use instead of generated
    ones, if the graph runs on them.

    Raises:
        LoadFailed: the golden set is not readable, or does not fit the model.
    """
    found = read_golden(golden, signature)
    if found is None:
        if made:
            with suppress(QuantserveError):
                return _checked(made, run), ""
        rows, error = generated_rows(signature, dims, run)
        why = f"no rows for the probe could be generated ({error}); add {golden.name}"
        return rows, "" if rows else why
    if signature.declared is False:
        return _whole(golden.name, found.inputs, run), ""
    rows = single_rows(found.inputs)
    if signature.declared:
        _check_outputs(golden.name, signature, found, rows[0], run)
    elif not _independent(found.inputs, rows, run):
        return _whole(golden.name, found.inputs, run), ""
    if len(rows) < FEW:
        rows += generated_rows(signature, dims, run, like=rows[0])[0]
    return rows[:ROWS], ""


def _whole(file: str, inputs: Arrays, run: Run) -> list[Arrays]:
    """Return the golden set as one request.

    Raises:
        LoadFailed: the model cannot run it.
    """
    try:
        run(inputs, None)
    except QuantserveError as error:
        raise LoadFailed(f"{file}, as one request: {error}") from error
    return [inputs]


def _independent(inputs: Arrays, rows: list[Arrays], run: Run) -> bool:
    """True if the inputs can be separated into rows, although their first axes may count different
    objects."""
    if not rows or len({len(array) for array in inputs}) > 1:
        return False
    try:
        _checked(rows, run)
    except QuantserveError:
        return False
    return True


def _check_outputs(
    file: str, signature: Signature, golden: GoldenSet, row: Arrays, run: Run
) -> None:
    """Compare the shapes of the expected outputs with those of the model's answers: the declared
    shapes may be wrong.

    Raises:
        LoadFailed: the shapes differ; names the output.
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


def single_rows(arrays: Arrays) -> list[Arrays]:
    """Return up to ``ROWS`` different rows, each as a request."""
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
    """Find rows that the graph runs on, by trial. Return no rows and the last error if all fail.

    ``dims`` has lengths of symbolic axes. ``like`` is a row with the lengths to use. The first axis
    of a row is 1. If the graph refuses that and does not declare a batch, the rows are whole
    requests.
    """
    error, started = "", 0.0
    integers = any(spec.datatype.kind == "integer" for spec in signature.inputs)
    tried = [tuple(array.shape for array in like)] if like else shapes_to_try(signature, dims)
    for place, shapes in enumerate(tried):
        if place == FIRST:
            started = perf_counter()
        elif place > FIRST and perf_counter() - started > SEARCH_SECONDS:
            break
        if (size := sum(map(prod, shapes))) > MOST_ELEMENTS:
            error = f"inputs with the declared shapes have {size} elements"
            continue
        for high in INTEGER_RANGES if integers else INTEGER_RANGES[:1]:
            try:
                return _checked(_rows(signature, shapes, high), run), ""
            except QuantserveError as failure:
                error = str(failure)
    return [], error


def _rows(signature: Signature, shapes: Shapes, high: int) -> Iterator[Arrays]:
    # A generator, since most shapes fail with the first row.
    rng = np.random.default_rng(0)
    for row in range(ROWS):
        arrays = []
        for spec, shape in zip(signature.inputs, shapes, strict=True):
            arrays.append(_values(spec, shape, high, rng, row))
            spec.categorise(arrays[-1], row)
        yield tuple(arrays)


def _checked(rows: Iterable[Arrays], run: Run) -> list[Arrays]:
    """Run the rows; return those that were run: all, or at least two if runs take long."""
    started = perf_counter()
    done: list[Arrays] = []
    for row in rows:
        run(row, None)
        done.append(row)
        if len(done) > 1 and perf_counter() - started > CHECK_SECONDS:
            break
    return done


def _values(
    spec: TensorSpec, shape: tuple[int, ...], high: int, rng: np.random.Generator, row: int
) -> Array:
    datatype = spec.datatype
    if datatype.name == "BYTES":
        return np.full(shape, "abcdefgh"[row % ROWS], dtype=object)
    if datatype.kind == "boolean" or "mask" in spec.name.lower():
        return np.ones(shape, datatype.dtype)
    if datatype.kind == "integer":
        return np.asarray(rng.integers(0, high, shape), datatype.dtype)  # a scalar is an int
    # Each row has a different range, which exposes scales computed over the whole batch.
    values = np.asarray(rng.standard_normal(shape) * 2.0 ** (row - 4), np.float32)
    if datatype.name == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(datatype.dtype)
