"""From cells of text to arrays. No I/O."""

from collections.abc import Sequence
from math import inf, nan
from typing import Any

from service.api.protocol.json_tensors import check_strings, is_whole, json_array, show
from service.core.datatypes import Array, Datatype, wanted
from service.core.errors import MalformedRequest
from service.core.tensors import TensorSpec
from service.core.whereabouts import Labels, whereabouts

BOOLEANS = {"true": True, "false": False}
INFINITE = (inf, -inf)


def cells_array(
    spec: TensorSpec, shape: Sequence[int], cells: Sequence[str], labels: Labels
) -> Array:
    """Return some rows of an input, from row ``labels.first`` on. ``cells`` must be as many as the
    shape needs.

    Raises:
        MalformedRequest: a cell is not a value of the datatype; the message has its row and column.
    """
    if spec.datatype.kind == "string":
        before = labels.first * (len(cells) // shape[0])
        check_strings(spec.name, before + len(cells), 0)
    values = _values(spec.datatype, cells)
    if None in values:
        index = values.index(None)
        raise MalformedRequest(
            f'input "{spec.name}" takes {spec.datatype}: {wanted(spec.datatype)},'
            f" got {show(cells[index])} in {whereabouts(shape, index, labels)}"
        )
    return json_array(spec.name, spec.datatype, shape, values, labels)


def _values(datatype: Datatype, cells: Sequence[str]) -> list[Any]:
    """Return the values of cells; None for a cell that is not a value of the datatype."""
    if datatype.kind == "string":
        return list(cells)
    if datatype.kind == "boolean":
        return [BOOLEANS.get(cell.strip().lower()) for cell in cells]
    read: Any = int if datatype.kind == "integer" else float
    try:
        values = list(map(read, cells))
    except ValueError:
        return [_number(datatype, cell) for cell in cells]
    # Python accepts 1_000, and parses 1e999 as infinity.
    if "_" in "".join(cells) or inf in values or -inf in values:
        return [_number(datatype, cell) for cell in cells]
    return values


def _number(datatype: Datatype, cell: str) -> int | float | None:
    if "_" in cell:
        return None
    if datatype.kind == "integer":
        return _integer(cell)
    try:
        value = float(cell) if cell.strip() else nan
    except ValueError:
        return None
    return None if value in INFINITE and "inf" not in cell.lower() else value


def _integer(cell: str) -> int | None:
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if is_whole(value) else None
