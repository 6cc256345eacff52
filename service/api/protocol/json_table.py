"""From tables in JSON to the tensors of a model: rows, columns, or names and rows apart. No I/O."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from service.api.protocol import columns
from service.api.protocol.json_tensors import kind
from service.api.protocol.nested import nested_tensor
from service.api.protocol.pace import Paced
from service.core.errors import MalformedRequest
from service.core.misnamed import misnamed
from service.core.padding import Padding
from service.core.tensors import Signature, Tensor

FORMS = ("instances", "inputs", "dataframe_split", "dataframe_records")
Tensors = tuple[Tensor, ...]
Record = dict[str, Any]


class Taker(NamedTuple):
    """The target of the table. ``padding`` pads rows of different lengths. Long work calls ``pace``
    regularly."""

    signature: Signature
    padding: Padding | None
    pace: Paced


def read(message: dict[str, Any], taker: Taker) -> Tensors:
    """Return the tensors of the table in a message, in the order of the signature.

    Raises:
        MalformedRequest: there is not exactly one table, or the table does not fit the model.
    """
    form = next(iter(message)) if len(message) == 1 else ""  # nearly always
    if form not in FORMS:
        form = _form(message)
    table = message[form]
    if form == "dataframe_split":
        return _split(table, taker)
    if form == "inputs" and type(table) is dict:
        return _tensors(list(table), list(table.values()), taker)
    if type(table) is not list or not table:
        one = "instance" if form == "instances" else "row"
        more = ", or an object with columns" if form == "inputs" else ""
        raise MalformedRequest(f'"{form}" must be a list of at least one {one}{more}')
    return _rows(table, form, taker)


def _form(message: dict[str, Any]) -> str:
    """Return the name of the only table in a message."""
    given = [name for name in FORMS if name in message]
    if len(given) != 1:
        came = " and ".join([f'"{name}"' for name in given]) or "none of them"
        listed = ", ".join([f'"{name}"' for name in FORMS])
        raise MalformedRequest(f"the body must have one of {listed}; got {came}")
    return given[0]


def _rows(rows: list[Any], form: str, taker: Taker) -> Tensors:
    inputs = taker.signature.inputs
    if type(rows[0]) is dict:
        return _records(rows, form, taker)
    if form == "dataframe_records" or len(inputs) != 1:
        names = ", ".join([f'"{spec.name}"' for spec in inputs])
        one = "instance" if form == "instances" else "row"
        raise MalformedRequest(f"each {one} must be an object with {names}, got {kind(rows[0])}")
    fill = taker.padding.fills[0] if taker.padding is not None else None
    return (nested_tensor(inputs[0], rows, fill, taker.pace),)


def _records(rows: list[Record], form: str, taker: Taker) -> Tensors:
    first = rows[0].keys()
    if "datatype" in first and "shape" in first and _are_tensors(first, taker.signature):
        raise MalformedRequest(
            f'"{form}" has tensors of the v2 protocol: send them to /v2/models/NAME/infer'
        )
    for place, row in enumerate(rows):
        if type(row) is not dict:
            raise MalformedRequest(f"row {place} is {kind(row)}, expected an object")
        if row.keys() != first:
            raise _unlike_first(place, row, list(first), taker.signature)
    names = list(first)
    return _tensors(names, [[row[name] for row in rows] for name in names], taker)


def _are_tensors(names: Collection[str], signature: Signature) -> bool:
    """Return True if an object is a v2 tensor, and not a row with columns of these names."""
    return all([spec.name not in names for spec in signature.inputs])


def _unlike_first(
    place: int, row: Record, first: list[str], signature: Signature
) -> MalformedRequest:
    """Return the error for a row whose columns differ from those of the first row."""
    wanted = [spec.name for spec in signature.inputs]
    nested = any([type(value) is list for value in row.values()])
    if columns.joint_input(first, signature, nested) is not None:
        return MalformedRequest(f"row {place}: {misnamed('column', list(row), first)}")
    problem = misnamed("column", list(row), wanted)
    return MalformedRequest(f"row {place}: {problem}; the model takes {signature.takes}")


def _split(table: Any, taker: Taker) -> Tensors:
    if type(table) is not dict:
        raise MalformedRequest(
            f'"dataframe_split" must be an object with "columns" and "data", got {kind(table)}'
        )
    rows = table.get("data")
    if type(rows) is not list or not rows:
        raise MalformedRequest('"data" of "dataframe_split" must be a list of at least one row')
    names = _split_names(table.get("columns"), rows[0], taker.signature)
    for place, row in enumerate(rows):
        if type(row) is not list or len(row) != len(names):
            came = f"{len(row)} values" if type(row) is list else kind(row)
            raise MalformedRequest(
                f'row {place} of "dataframe_split" is {came}, expected {len(names)} values'
            )
    return _tensors(names, [list(column) for column in zip(*rows, strict=True)], taker)


def _split_names(given: Any, row: Any, signature: Signature) -> list[str]:
    """Return the names of the columns; pandas numbers columns without names."""
    if given is None:
        return columns.default_names(len(row) if type(row) is list else 0, signature)
    if type(given) is not list or not all([type(name) in (str, int) for name in given]):
        raise MalformedRequest('"columns" of "dataframe_split" must be a list of names')
    return [str(name) for name in given]


def _tensors(names: list[str], given: Sequence[Any], taker: Taker) -> Tensors:
    if not given or [] in given:
        raise MalformedRequest(
            f"the table has no rows, or no columns; the model takes {taker.signature.takes}"
        )
    return columns.tensors(names, given, taker.signature, taker.padding, taker.pace)
