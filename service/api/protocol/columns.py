"""Named columns to the tensors of a model. Pure.

A column is a model's input of that name. Where the model has one input, of rows of n values, and
the columns have other names, they are its n values in the order in which they came, as
scikit-learn's models and pipelines take a data frame.
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
    """A tensor for each input, in the order of the signature. ``columns`` are lists of rows, or one
    value for an input without axes.

    Raises:
        MalformedRequest: naming the column, and the row.
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
    """Whether its rows are something else than one value each."""
    return type(column) is not list or type(column[0]) is list


def joint_input(
    names: Sequence[str], signature: Signature, nested: bool = False
) -> TensorSpec | None:
    """The input that the columns make up together; None where each is an input. ``nested``: they
    do not all have one value a row.

    Raises:
        MalformedRequest: the columns are neither.
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
    """How many columns an input takes; None for any number, 0 where it is no table."""
    if not spec.ranked:
        return None
    if len(spec.shape) == 1:
        return 1
    if len(spec.shape) != 2:
        return 0
    dim = spec.shape[1]
    return dim if isinstance(dim, int) else None


def joint_shape(spec: TensorSpec, rows: int, width: int) -> list[int]:
    """The shape of the tensor that ``width`` columns make up."""
    return [rows] if spec.ranked and len(spec.shape) == 1 else [rows, width]


def default_names(count: int, signature: Signature) -> list[str]:
    """What columns without names are called: as the inputs, if they are as many."""
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
    """Inputs that share a length must do so in each row: filled up, they all would."""
    for name, places in padding.shared:
        sharing = [index for index, axis in places if axis == 1]
        lengths = [[len(row) for row in columns[index] if type(row) is list] for index in sharing]
        for index, other in zip(sharing[1:], lengths[1:], strict=True):
            # Where one has fewer rows, the check of the signature tells of it.
            pairs = enumerate(zip(lengths[0], other, strict=False))
            odd = next(((i, *pair) for i, pair in pairs if pair[0] != pair[1]), None)
            if odd is not None:
                row, one, two = odd
                first, second = (signature.inputs[i].name for i in (sharing[0], index))
                raise MalformedRequest(
                    f'inputs share the length "{name}", row {row} of "{first}" has {one} values,'
                    f' of "{second}" {two}'
                )
