"""Limits on the size of a graph, checked before the graph is processed.

A few bytes can cause a lot of work: a tensor of 100,000 dimensions, whose product takes half a
minute, or nested function calls that expand one node to a million nodes. The limits are far above
the sizes that exporters write. Pure.
"""

from collections.abc import Iterable, Mapping
from math import prod

MAX_DIMS = 64
"""Dimensions of a tensor; numpy has no more."""
MAX_ELEMENTS = 2**48
MAX_DENSE_ELEMENTS = 2**28
"""Elements of a sparse tensor, which ONNX Runtime stores as a dense one."""
MAX_NAME_BYTES = 2**16
MAX_NODES = 100_000
"""In all graphs and functions together."""
MAX_CALLED_NODES = 20_000
"""Nodes to which function calls expand. ONNX Runtime takes seconds for this number, and a minute
for five times as many."""
MAX_ATTRIBUTES = 1_000
"""Attributes of one node."""
MAX_FIELDS = 1_000_000
"""Protobuf fields to read. So many take a second or two; a node has about ten to twenty fields."""
MAX_GRAPH_DEPTH = 32
MAX_CALL_DEPTH = 32
SIGN = 2**63
"""Integers in a file are unsigned; values of at least this stand for negative numbers."""
Function = tuple[str, str]
"""Domain and name."""
Calls = Mapping[Function, int]


class TooLarge(ValueError):
    """A value in the file exceeds a limit; the text names both."""


def elements(dims: Iterable[int], most: int = MAX_ELEMENTS) -> int:
    """Return the number of elements of a tensor.

    Raises:
        TooLarge: there are more than ``most``, or a dimension is negative.
    """
    given = tuple(dims)
    if len(given) > MAX_DIMS:
        raise TooLarge(f"more than {MAX_DIMS} dimensions")
    if bad := [dim for dim in given if not 0 <= dim < SIGN]:
        raise TooLarge(f"dimension {bad[0] - 2 * SIGN if bad[0] > 0 else bad[0]} is negative")
    count = prod(given)
    if count > most:
        raise TooLarge(f"dimensions {list(given[:8])} make more than {most} elements")
    return count


def expanded_nodes(nodes: Calls, functions: Mapping[Function, Calls]) -> int:
    """Return the number of nodes that replace the function calls. ``nodes`` counts how often the
    graph uses each operator or function, ``functions`` how often each function does.

    Raises:
        TooLarge: there are too many nodes, or calls are nested too deep, for example because a
            function calls itself.
    """
    known: dict[Function, int] = {}

    def size(each: Function, depth: int) -> int:
        if depth > MAX_CALL_DEPTH:
            raise TooLarge(
                f"calls of function {each[1]!r:.80} are nested more than {MAX_CALL_DEPTH} deep"
            )
        if each not in known:
            known[each] = total(functions[each], depth + 1)
        return known[each]

    def total(calls: Calls, depth: int) -> int:
        called = calls.keys() & functions.keys()
        count = sum(calls.values()) if depth > 1 else 0
        count += sum(calls[each] * size(each, depth) for each in called)
        if count > MAX_CALLED_NODES:
            raise TooLarge(f"calls of functions make more than {MAX_CALLED_NODES} nodes")
        return count

    return total(nodes, 1)


def check_nodes(count: int) -> int:
    """Return the number of nodes, if a model may have so many.

    Raises:
        TooLarge: there are too many.
    """
    if count > MAX_NODES:
        raise TooLarge(f"the graph has more than {MAX_NODES} nodes")
    return count
