"""Tables as CSV, as in RFC 4180: one row per line, values between commas, names in the first line.
No I/O.

An empty cell is NaN for a float, an empty string for BYTES, and an error for other datatypes. Some
thousand rows are parsed at a time, because text needs several times the memory of the arrays.
"""

import csv
from collections.abc import Iterator, Sequence
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from typing import Literal

import numpy as np

from service.api.protocol.cells import cells_array
from service.api.protocol.columns import default_names, joint_input, joint_shape
from service.api.protocol.json_tensors import Bytes, show
from service.api.protocol.nested import one_a_row
from service.core.datatypes import Array
from service.core.errors import MalformedRequest
from service.core.sizes import MAX_JSON_VALUES
from service.core.tensors import Signature, Tensor
from service.core.whereabouts import Labels

BodyFormat = Literal["json", "csv", "csv without header"]
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
CELLS = 2**16
"""The maximum number of cells that are in memory as text at the same time, unless one row has
more."""


def body_format(content_type: bytes | None) -> BodyFormat:
    """Return the format of a V1 body by its Content-Type. All formats other than CSV are JSON.

    Raises:
        MalformedRequest: the CSV has a charset other than UTF-8.
    """
    if content_type is None or content_type == b"application/json":  # nearly always
        return "json"
    kind, *rest = content_type.decode("latin-1").lower().split(";")
    if kind.strip() != "text/csv":
        return "json"
    pairs = [part.partition("=") for part in rest]
    parameters = {name.strip(): value.strip(' "') for name, _, value in pairs}
    if (charset := parameters.get("charset", "utf-8")) not in CHARSETS:
        raise MalformedRequest(f'the CSV has the charset "{charset:.40}", expected utf-8')
    return "csv without header" if parameters.get("header") == "absent" else "csv"


def check_size(body: Bytes) -> None:
    """Refuse CSV with too many cells, before it is parsed.

    Raises:
        MalformedRequest: there are too many cells; the message says what to send instead.
    """
    lines = max(body.count(b"\n"), body.count(b"\r"))
    if (found := body.count(b",") + lines) > MAX_JSON_VALUES:
        raise MalformedRequest(
            f"the CSV has {found} commas and line ends, at most {MAX_JSON_VALUES} are allowed:"
            " send fewer rows, or binary tensor data"
        )


def decode(body: Bytes, signature: Signature, header: bool) -> tuple[Tensor, ...]:
    """Return the tensors of a table. With ``header``, its first line has the names of the columns.

    Raises:
        MalformedRequest: the message names the row and the column.
    """
    rows = _rows(body)
    first = next(rows, None)
    if first is None:
        raise MalformedRequest(f"the CSV is empty; the model takes {signature.takes}")
    if header:
        names = [name.strip() for name in first]
        # A first column without a name is the index written by pandas.
        skipped = 1 if len(names) > 1 and not names[0] else 0
        names = names[skipped:]
        _check_header(names, signature)
    else:
        names, skipped = default_names(len(first), signature), 0
        rows = chain([first], rows)
    columns = _Columns(names, signature)
    count, most = 0, max(1, CELLS // len(first))
    while part := list(islice(rows, most)):
        for place, row in enumerate(part, count):
            if len(row) != len(first):
                raise MalformedRequest(
                    f"row {place} of the CSV has {len(row)} values, expected {len(first)}"
                )
        columns.add([row[skipped:] for row in part] if skipped else part, count)
        count += len(part)
    if not count:
        raise MalformedRequest("the CSV has no row after the line with the names of the columns")
    return columns.tensors()


def _rows(body: Bytes) -> Iterator[list[str]]:
    """Yield the lines that are not blank. The text is decoded piece by piece."""
    with TextIOWrapper(BytesIO(body), "utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            yield from filter(None, reader)
        except csv.Error as error:
            raise MalformedRequest(f"line {reader.line_num} is not CSV: {error}") from None
        except UnicodeDecodeError:
            line = reader.line_num
            raise MalformedRequest(f"the CSV is not UTF-8, after line {line}") from None


def _check_header(names: Sequence[str], signature: Signature) -> None:
    """Refuse a first line of numbers: it is probably a row, which would be lost as names."""
    if names == [str(place) for place in range(len(names))]:
        return  # as pandas numbers columns
    known = {spec.name for spec in signature.inputs}
    if all(map(_is_number, names)) and known.isdisjoint(names):
        raise MalformedRequest(
            f"the first line of the CSV must name the columns, got {show(','.join(names))};"
            " for CSV without names the Content-Type is text/csv; header=absent"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _Columns:
    """The rows that have been parsed so far, as arrays of some rows each."""

    def __init__(self, names: Sequence[str], signature: Signature) -> None:
        self._names = names
        self._joint = joint_input(names, signature)
        self._specs = signature.inputs
        self._arrays: list[list[Array]] = [[] for _ in self._specs]

    def add(self, rows: list[list[str]], first: int) -> None:
        """Parse further rows; the first of them is row ``first`` of the table."""
        if (spec := self._joint) is not None:
            shape = joint_shape(spec, len(rows), len(self._names))
            cells = list(chain.from_iterable(rows))
            self._arrays[0].append(cells_array(spec, shape, cells, Labels(self._names, first)))
            return
        columns = dict(zip(self._names, zip(*rows, strict=True), strict=True))
        for spec, arrays in zip(self._specs, self._arrays, strict=True):
            shape = [len(rows), *[1] * (len(spec.shape) - 1)] if one_a_row(spec) else [len(rows)]
            arrays.append(cells_array(spec, shape, columns[spec.name], Labels(first=first)))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all rows as tensors."""
        made = []
        for spec, arrays in zip(self._specs, self._arrays, strict=True):
            made.append(Tensor(spec.name, spec.datatype, np.concatenate(arrays)))
            arrays.clear()
        return tuple(made)
