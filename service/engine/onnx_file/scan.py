"""A single pass over the bytes of a model that visits its nodes and tensors.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from re import Pattern
from time import sleep
from typing import NamedTuple

from service.core.errors import LoadFailed
from service.core.graph_limits import (
    MAX_ATTRIBUTES,
    MAX_DENSE_ELEMENTS,
    MAX_DIMS,
    MAX_ELEMENTS,
    MAX_FIELDS,
    MAX_GRAPH_DEPTH,
    Function,
    TooLarge,
    check_nodes,
    elements,
    expanded_nodes,
)
from service.core.magic import HEAD, foreign
from service.engine.onnx_file.classical import DOMAIN
from service.engine.onnx_file.protobuf import (
    NUMBERS,
    WireError,
    fields,
    integers,
    text,
    varint,
    view,
)

MESSAGE = 4
"""Cost of a message, counted in fields; a field takes about a microsecond."""
FIELDS_AT_ONCE = 1_000
PAUSE_SECONDS = 0.0005


def _no_model(message: memoryview, name: str, why: str) -> LoadFailed:
    """Return the error for bytes that are not ONNX. It names their format if that is known."""
    what = foreign(bytes(message[:HEAD]))
    return LoadFailed(f"{name} is not an ONNX model: {f'it is {what}' if what else why}")


def check_head(head: bytes, name: str) -> None:
    """Check that the first bytes of a file may begin a model, before the rest is read, which may be
    gigabytes.

    Raises:
        LoadFailed: the bytes do not begin a model.
    """
    message = memoryview(head)
    try:
        tag, at = varint(message, 0) if head else (0, 0)
    except WireError as error:
        raise _no_model(message, name, str(error)) from None
    if tag >> 3 == 0:
        raise _no_model(message, name, f"a field without a number at byte {at}")
    if foreign(head):
        raise _no_model(message, name, "")


class Node(NamedTuple):
    """An operator with the names of its inputs and outputs, and its integer attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, int]
    domain: str = ""


class Scan:
    """A pass over a model. It calls ``visit``, ``keep``, ``entry``, ``unshaped`` and ``classical``
    for the parts that it finds, and fails at the limits of ``core.graph_limits``."""

    ir_version = 0
    _fields_left = MAX_FIELDS
    _pause_at = MAX_FIELDS - FIELDS_AT_ONCE
    _nodes = _dense = 0

    def read(self, message: memoryview, name: str) -> None:
        """Read the bytes of a model; ``name`` is the name of its file.

        Raises:
            LoadFailed: it is not an ONNX model, or the graph is too large.
        """
        graphs = 0
        self._calls: Counter[Function] = Counter()
        self._functions: dict[Function, Counter[Function]] = {}
        try:
            for number, value in self._fields(message):
                if number == 7:
                    self.graph(view(value))
                    graphs += 1
                elif number == 25:
                    self.function(view(value))
                elif number == 1 and isinstance(value, int):
                    self.ir_version = value
            expanded_nodes(self._calls, self._functions)
        except TooLarge as error:
            raise LoadFailed(f"{name} is refused: {error}") from None
        except ValueError as error:
            raise _no_model(message, name, str(error)) from None
        if graphs != 1:
            raise _no_model(message, name, f"it holds {graphs} graphs")

    def visit(self, node: Node) -> None:
        """Receive a node of a graph or a function."""

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        """Receive a constant tensor. A tensor in a node has the name of the node's output."""

    def entry(self, name: str) -> None:
        """Receive the name of an input of a graph."""

    def unshaped(self, name: str) -> None:
        """Receive the name of an input or output of the model that is declared without a shape."""

    def classical(self, node: Node, attributes: Sequence[memoryview]) -> None:
        """Receive a node of the domain ai.onnx.ml, which has its weights in attributes."""

    def graph(self, message: memoryview, depth: int = 0) -> None:
        """Read a graph of the model, or of a node such as If."""
        if depth > MAX_GRAPH_DEPTH:
            raise TooLarge(f"graphs nested more than {MAX_GRAPH_DEPTH} deep")
        for number, value in self._fields(message):
            if number == 1:
                self.node(view(value), depth)
            elif number == 5:
                self.tensor(view(value))
            elif number in (11, 12):
                name, ranked = self._declaration(view(value))
                if number == 11:
                    self.entry(name)
                if not ranked and depth == 0:
                    self.unshaped(name)
            elif number == 15:
                self.sparse(view(value))

    def function(self, message: memoryview) -> None:
        """Read a function that the file defines."""
        name = domain = ""
        outside, self._calls = self._calls, Counter()
        for number, value in self._fields(message):
            if number == 1:
                name = text(value)
            elif number == 10:
                domain = text(value)
            elif number == 7:
                self.node(view(value), 0)
        key = domain, name  # functions of the same name differ in "overload"; all of them count
        self._functions[key] = self._functions.get(key, Counter()) + self._calls
        self._calls = outside

    def sparse(self, message: memoryview, name: str = "") -> None:
        """Read a sparse tensor: its values and their positions."""
        dims: list[int] = []
        seen: set[int] = set()
        for number, value in self._fields(message):
            if number in (1, 2):
                if number in seen:
                    raise WireError("a sparse tensor with its values twice")
                seen.add(number)
                self.tensor(view(value), name)
            elif number == 3 and len(dims) <= MAX_DIMS:  # more are refused below
                dims += integers(value)
        self._check_dims(name, dims, MAX_DENSE_ELEMENTS)
        self._dense += prod(dims)
        if self._dense > MAX_DENSE_ELEMENTS:
            raise TooLarge(f"sparse tensors make more than {MAX_DENSE_ELEMENTS} elements in all")

    def node(self, message: memoryview, depth: int) -> None:
        """Read a node and its subgraphs."""
        inputs, outputs, operator, domain, attributes = [], [], "", "", []
        self._nodes = check_nodes(self._nodes + 1)
        for number, value in self._fields(message):
            if number == 1:
                inputs.append(text(value))
            elif number == 2:
                outputs.append(text(value))
            elif number == 4:
                operator = text(value)
            elif number == 5:
                attributes.append(view(value))
                if len(attributes) > MAX_ATTRIBUTES:
                    raise TooLarge(f"a node has more than {MAX_ATTRIBUTES} attributes")
            elif number == 7:
                domain = text(value)
        self._calls[domain, operator] += 1
        name = outputs[-1] if outputs else ""
        found = (self.attribute(each, name, depth) for each in attributes)
        integers = dict(filter(None, found))
        node = Node(operator, tuple(inputs), tuple(outputs), integers, domain)
        if domain == DOMAIN:
            self.classical(node, attributes)
        self.visit(node)

    def attribute(self, message: memoryview, output: str, depth: int) -> tuple[str, int] | None:
        """Read an attribute with its tensors and graphs. Return the name and the value of an
        integer attribute, else None."""
        name, integer = "", None
        values = 0
        for number, value in self._fields(message, NUMBERS):
            values += number in (5, 6, 22)
            if values > 1:  # protobuf parsers would merge them
                raise WireError("an attribute with more than one tensor or graph")
            if number == 1:
                name = text(value)
            elif number == 3 and isinstance(value, int):
                integer = value
            elif number in (5, 10):
                self.tensor(view(value), output)
            elif number in (6, 11):
                self.graph(view(value), depth + 1)
            elif number in (22, 23):
                self.sparse(view(value), output)
        return None if integer is None else (name, integer)

    def tensor(self, message: memoryview, name: str = "") -> None:
        """Read a constant tensor, whose data is in the file or beside it."""
        dims: list[int] = []
        datatype = 0
        for number, value in self._fields(message):
            if number == 1 and len(dims) <= MAX_DIMS:  # more are refused below
                dims += integers(value)
            elif number == 2 and isinstance(value, int):
                datatype = value
            elif number == 8:
                name = name or text(value)
        self._check_dims(name, dims)
        self.keep(name, datatype, dims, message)

    def _check_dims(self, tensor: str, dims: list[int], most: int = MAX_ELEMENTS) -> None:
        try:
            elements(dims, most)
        except TooLarge as error:
            raise TooLarge(f"tensor {tensor!r:.200}: {error}") from None

    def _declaration(self, message: memoryview) -> tuple[str, bool]:
        """Return the name of an input or output, and False if it is a tensor without a shape."""
        name, ranked = "", True
        for number, value in self._fields(message):
            if number == 1:
                name = text(value)
            elif number == 2:
                shapes = self._shapes(view(value))
                ranked = all(rank is not None for rank in shapes)
                if any(rank is not None and rank > MAX_DIMS for rank in shapes):
                    raise TooLarge(f"{name!r:.200} has more than {MAX_DIMS} dimensions")
        return name, ranked

    def _shapes(self, message: memoryview) -> list[int | None]:
        """Return the number of dimensions of each tensor in a type; None for a tensor without a
        shape."""
        found = []
        for number, value in self._fields(message):
            if number == 1:
                shape = [part for key, part in self._fields(view(value)) if key == 2]
                rank = sum(1 for part in shape for _ in self._fields(view(part)))
                found.append(rank if shape else None)
        return found

    def _fields(
        self, message: memoryview, skip: Pattern[bytes] | None = None
    ) -> Iterator[tuple[int, int | memoryview]]:
        self._fields_left -= MESSAGE
        for found in fields(message, skip):
            self._fields_left -= 1
            if self._fields_left < self._pause_at:
                self._pause()
            yield found

    def _pause(self) -> None:
        """Release the interpreter lock for the serving threads. Otherwise each of them would wait
        for it up to five milliseconds."""
        if self._fields_left < 0:
            raise TooLarge(f"the graph has more than {MAX_FIELDS} parts")
        self._pause_at = max(0, self._fields_left - FIELDS_AT_ONCE)
        sleep(PAUSE_SECONDS)
