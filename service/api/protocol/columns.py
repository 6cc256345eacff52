"""From named columns to the tensors of a model. No I/O.

A column is the model's input with that name. If the model has a single input with n values per row
and the columns have other names, the columns are its n values in their order, as scikit-learn's
models and pipelines accept a data frame.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from service.api.protocol.json_tensors import json_array, kind
from service.api.protocol.nested import nested_tensor
from service.api.protocol.pace import Paced
from service.core.errors import MalformedRequest
from service.core.misnamed import MOST, misnamed
from service.core.padding import Padding
from service.core.tensors import Signature, Tensor, TensorSpec
from service.core.whereabouts import Labels


def tensors(
    names: list[str],
    columns: Sequence[Any],
    signature: Signature,
    padding: Padding | None,
    pace: Paced,
) -> tuple[Tensor, ...]:
    """Return a tensor for each input, in the order of the signature. ``columns`` are lists of rows,
    or one value for an input without axes.

    Raises:
        MalformedRequest: the message names the column and the row.
    """
    inputs = signature.inputs
    if names != [spec.name for spec in inputs] or not (len(inputs) > 1 or _is_nested(columns[0])):
        spec = joint_input(names, signature, any([_is_nested(column) for column in columns]))
        if spec is not None:
            return (_joined(spec, names, columns),)
        by_name = dict(zip(names, columns, strict=True))
        columns = [by_name[each.name] for each in inputs]
    if padding is None:
        return tuple([_column(spec, columns[i], None, pace) for i, spec in enumerate(inputs)])
    fills = padding.fills
    made = tuple([_column(spec, columns[i], fills[i], pace) for i, spec in enumerate(inputs)])
    _check_lengths(signature, columns, padding)
    return made


def _is_nested(column: Any) -> bool:
    """Return True if the column is not a list of single values."""
    return type(column) is not list or type(column[0]) is list


def joint_input(
    names: Sequence[str], signature: Signature, nested: bool = False
) -> TensorSpec | None:
    """Return the input that all columns together form; None if each column is an input.

    ``nested``: some columns do not have one value per row.

    Raises:
        MalformedRequest: the columns do not match the inputs in either way.
    """
    wanted = [spec.name for spec in signature.inputs]
    if len(names) == len(wanted) and set(names) == set(wanted):
        one = signature.inputs[0]
        several = one.ranked and len(names) == 1 and _width(one) is None
        return one if several and not nested else None
    if len(wanted) != 1 or wanted[0] in names or nested or _width(signature.inputs[0]) == 0:
        problem = misnamed("column", names, wanted)
        raise MalformedRequest(f"{problem}; the model takes {signature.takes}")
    spec = signature.inputs[0]
    if _width(spec) not in (None, len(names)):
        listed = ", ".join([f'"{name:.80}"' for name in names[:MOST]])
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        raise MalformedRequest(
            f'input "{spec.name}" takes {spec}: expected {_width(spec)} columns,'
            f" got {len(names)}: {listed}{more}"
        )
    return spec


def _width(spec: TensorSpec) -> int | None:
    """Return the number of columns of an input; None for any number, 0 if it is not a table."""
    if not spec.ranked:
        return None
    if len(spec.shape) == 1:
        return 1
    if len(spec.shape) != 2:
        return 0
    dim = spec.shape[1]
    return dim if isinstance(dim, int) else None


def joint_shape(spec: TensorSpec, rows: int, width: int) -> list[int]:
    """Return the shape of the tensor that ``width`` columns form."""
    return [rows] if spec.ranked and len(spec.shape) == 1 else [rows, width]


def default_names(count: int, signature: Signature) -> list[str]:
    """Return names for columns without names: those of the inputs if their number is the same."""
    if count == len(signature.inputs):
        return [spec.name for spec in signature.inputs]
    return [str(place) for place in range(count)]


def _joined(spec: TensorSpec, names: Sequence[str], columns: Sequence[list[Any]]) -> Tensor:
    rows = len(columns[0])
    for name, column in zip(names, columns, strict=True):
        if len(column) != rows:
            raise MalformedRequest(
                f'column "{names[0]:.80}" has {rows} rows, column "{name:.80}" has {len(column)}'
            )
    shape = joint_shape(spec, rows, len(columns))
    values = list(chain.from_iterable(zip(*columns, strict=True)))
    array = json_array(spec.name, spec.datatype, shape, values, Labels(names))
    return Tensor(spec.name, spec.datatype, array)


def _column(spec: TensorSpec, column: Any, fill: float | None, pace: Paced) -> Tensor:
    if type(column) is list:
        return nested_tensor(spec, column, fill, pace)
    if spec.ranked and not spec.shape:
        array = json_array(spec.name, spec.datatype, [], [column])
        return Tensor(spec.name, spec.datatype, array)
    raise MalformedRequest(
        f'column "{spec.name}" must be a list with a value for each row, got {kind(column)}'
    )


def _check_lengths(signature: Signature, columns: Sequence[Any], padding: Padding) -> None:
    """Check that inputs with a common length have the same length in each row: after padding, the
    difference would not be visible."""
    for name, places in padding.shared:
        sharing = [index for index, axis in places if axis == 1]
        lengths = [[len(row) for row in columns[index] if type(row) is list] for index in sharing]
        for index, other in zip(sharing[1:], lengths[1:], strict=True):
            # If one input has fewer rows, the check of the signature reports it.
            pairs = enumerate(zip(lengths[0], other, strict=False))
            odd = next(((i, *pair) for i, pair in pairs if pair[0] != pair[1]), None)
            if odd is not None:
                row, one, two = odd
                first, second = (signature.inputs[i].name for i in (sharing[0], index))
                raise MalformedRequest(
                    f'inputs share the length "{name}", row {row} of "{first}" has {one} values,'
                    f' that of "{second}" has {two}'
                )
