"""Nodes, names and unread constants of a graph and of its nested graphs."""

from collections.abc import Iterator

import onnx

STANDARD = ("", "ai.onnx")
"""The domains of ONNX's own operators."""


def opset_of(model: onnx.ModelProto) -> int:
    """Return the opset version of ONNX's own operators."""
    return max((o.version for o in model.opset_import if o.domain in STANDARD), default=1)


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the graphs inside it."""
    yield graph
    for node in graph.node:
        for inner in graphs_of(node):
            yield from all_graphs(inner)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, each followed by those of the graphs inside it."""
    for node in graph.node:
        yield node
        for inner in graphs_of(node):
            yield from all_nodes(inner)


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all nodes and tensors."""
    names: set[str] = set()
    for each in all_graphs(graph):
        names |= {value.name for value in (*each.input, *each.output, *each.initializer)}
        names |= {name for node in each.node for name in (node.name, *node.output)}
    return names


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all tensors that a node reads or a graph returns."""
    names: set[str] = set()
    for each in all_graphs(graph):
        names |= {value.name for value in each.output}
        names |= {name for node in each.node for name in node.input}
    return names


def drop_unread_constants(graph: onnx.GraphProto) -> None:
    """Remove initializers and Constant nodes that are not read."""
    read = names_read(graph)
    # Nested graphs first: extending a list of nodes copies them.
    for each in reversed(list(all_graphs(graph))):
        constants = [tensor for tensor in each.initializer if tensor.name in read]
        nodes = [n for n in each.node if n.op_type != "Constant" or n.output[0] in read]
        del each.initializer[:]
        each.initializer.extend(constants)
        del each.node[:]
        each.node.extend(nodes)
