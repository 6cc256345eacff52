"""Copies a model that ends in ZipMap, so that it returns its probabilities as a tensor.

By default, skl2onnx and onnxmltools end a classifier with ZipMap. It returns a list with a map from
class to probability for each row, which the protocol cannot encode. The maps contain only the
values of the tensor before ZipMap, and the names of the classes, which are in the node.

Operator: https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from service.core.graph_limits import MAX_FIELDS, SIGN
from service.engine.onnx_file.classical import DOMAIN
from service.engine.onnx_file.protobuf import WireError, encode, fields, integers, text, view

ZIPMAP = "ZipMap"
STANDARD = ("", "ai.onnx")
OPSET = 13
"""Version of the standard operators for a file that imports none."""
FLOAT = 1
"""onnx.proto, TensorProto.DataType."""
NODE, OUTPUT, VALUE = 1, 12, 13
"""Fields of a GraphProto; VALUE is value_info, with the types of the inner tensors."""
MOST_SHOWN = 3
Labels = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Unzipped:
    """A model without ZipMap. ``labels`` are the classes of each output that a ZipMap made, in the
    order of its last axis."""

    model: bytes
    labels: Labels

    @property
    def note(self) -> str:
        """The change, for people."""
        outputs = [
            f'output "{name:.80}" is FP32 [-1, {len(labels)}], labels {_shown(labels)}'
            for name, labels in self.labels.items()
        ]
        more = len(outputs) - MOST_SHOWN
        rest = [f"and {more} more"] if more > 0 else []
        return f"ZipMap was removed: {'; '.join(outputs[:MOST_SHOWN] + rest)}"


def unzipped(model: memoryview) -> Unzipped | None:
    """Return the model with each ZipMap output replaced by an FP32 tensor [-1, classes] of the same
    name; None if there is no such output. A ZipMap is not replaced if it has no classes, or if an
    operator other than Identity reads its maps.

    ``model`` must have been scanned: its nodes are within ``core.graph_limits``.
    """
    try:
        parts = list(fields(model))
        graph = [pair for number, value in parts if number == 7 for pair in fields(view(value))]
        labels = _tensors(graph)
        outputs = {_name(value) for number, value in graph if number == OUTPUT}
        if not outputs & labels.keys():
            return None
        rest = b"".join(encode(*pair) for pair in parts if pair[0] != 7)
        plain = rest + _opset(parts) + encode(7, b"".join(_plain(graph, labels)))
    except WireError:
        return None
    return Unzipped(plain, {name: labels[name] for name in labels if name in outputs})


class _Node(NamedTuple):
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[memoryview, ...]


def _tensors(graph: list[tuple[int, int | memoryview]]) -> dict[str, tuple[str, ...]]:
    """Return the classes of each list of maps that becomes a tensor: outputs of ZipMap, and copies
    of them."""
    nodes = [_node(view(value)) for number, value in graph if number == NODE]
    found = {
        node.outputs[0]: classes
        for node in nodes
        if node.operator == ZIPMAP and node.inputs and node.outputs and (classes := _classes(node))
    }
    readers: dict[str, list[_Node]] = {}
    for node in nodes if found else ():
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for name in list(found):
        copies = _copies(name, readers)
        if copies is None:
            del found[name]
        else:
            found |= dict.fromkeys(copies, found[name])
    return found


def _copies(name: str, readers: Mapping[str, list[_Node]]) -> list[str] | None:
    """Return the tensors that are copies of this one; None if an operator other than Identity reads
    it."""
    known, at = [name], 0
    while at < len(known):
        for node in readers.get(known[at], ()):
            if node.operator != "Identity":
                return None
            known += [output for output in node.outputs if output not in known]
        at += 1
    return known[1:]


def _node(message: memoryview) -> _Node:
    """Read a node. The operators of other domains get the domain as a prefix of their name."""
    inputs, outputs, attributes, operator, domain = [], [], [], "", ""
    for number, value in fields(message):
        if number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 4:
            operator = text(value)
        elif number == 5:
            attributes.append(view(value))
        elif number == 7:
            domain = text(value)
    own = (DOMAIN,) if operator == ZIPMAP else STANDARD
    known = operator if domain in own else f"{domain}.{operator}"
    # Only the attributes of ZipMap are read: those of other operators may be gigabytes.
    wanted = tuple(attributes) if known == ZIPMAP else ()
    return _Node(known, tuple(inputs), tuple(outputs), wanted)


def _classes(node: _Node) -> tuple[str, ...]:
    """Return the classes in the order of the columns; () unless exactly one attribute has them."""
    found: list[tuple[str, ...]] = []
    for message in node.attributes:
        name, classes = "", list[str]()
        for number, value in fields(message):
            if number == 1:
                name = text(value)
            elif number == 8:
                classes += map(_signed, integers(value, MAX_FIELDS))
            elif number == 9:
                classes.append(text(value))
        if name in ("classlabels_int64s", "classlabels_strings") and classes:
            found.append(tuple(classes))
    return found[0] if len(found) == 1 else ()


def _signed(value: int) -> str:
    return str(value - 2 * SIGN if value >= SIGN else value)


def _plain(graph: list[tuple[int, int | memoryview]], labels: Labels) -> Iterator[bytes]:
    """Yield the fields of the graph, with Identity in place of ZipMap, and tensors in place of its
    maps."""
    for number, value in graph:
        if number == NODE:
            node = _node(view(value))
            if node.operator == ZIPMAP and node.outputs and node.outputs[0] in labels:
                yield _identity(node)
                continue
        elif number in (OUTPUT, VALUE) and (name := _name(value)) in labels:
            if number == OUTPUT:
                yield encode(OUTPUT, _tensor(name, len(labels[name])))
            continue
        yield encode(number, value)


def _identity(node: _Node) -> bytes:
    """Encode an Identity in place of a ZipMap. ONNX Runtime removes it."""
    names = encode(1, node.inputs[0]) + encode(2, node.outputs[0])
    return encode(NODE, names + encode(4, "Identity"))


def _tensor(name: str, classes: int) -> bytes:
    """Encode a ValueInfoProto of FP32 [-1, classes]."""
    shape = encode(1, b"") + encode(1, encode(1, classes))
    tensor = encode(1, FLOAT) + encode(2, shape)
    return encode(1, name) + encode(2, encode(1, tensor))


def _name(value: int | memoryview) -> str:
    """Return the name of a ValueInfoProto."""
    return next((text(part) for number, part in fields(view(value)) if number == 1), "")


def _opset(parts: list[tuple[int, int | memoryview]]) -> bytes:
    """Return an import of the standard operators, to which Identity belongs, if the file imports
    only other operators; else b""."""
    imports = [dict(fields(view(value))) for number, value in parts if number == 8]
    domains = [text(each.get(1, memoryview(b""))) for each in imports]
    if not domains or any(domain in STANDARD for domain in domains):
        return b""
    return encode(8, encode(2, OPSET))


def _shown(labels: tuple[str, ...]) -> str:
    more = len(labels) - MOST_SHOWN
    shown = ", ".join(f"{label:.40}" for label in labels[:MOST_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
