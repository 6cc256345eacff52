"""Detects GELU in a graph: the operator, or its decomposition with Erf."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from service.quantization.graphs.products import Constants

LOWEST = 0.17
"""The minimum of GELU is -0.16997, at -0.7518."""
FACTORS = 4
"""The maximum depth of nested multiplications."""

Makers = Mapping[str, onnx.NodeProto]


def is_gelu(value: str, makers: Makers, constants: Constants) -> bool:
    """Return True if a tensor is the output of GELU: x / 2 * (1 + erf(x / sqrt(2))) for some x."""
    node = makers.get(value)
    if node is None:
        return False
    if node.op_type in ("Gelu", "FastGelu", "BiasGelu"):
        return True
    if node.op_type != "Mul":
        return False
    factors = list(_factors(value, makers, FACTORS))
    numbers = [_number(name, constants) for name in factors if name in constants]
    others = [name for name in factors if name not in constants]
    if not np.isclose(np.prod([n for n in numbers if n is not None]), 0.5) or None in numbers:
        return False
    if len(others) != 2:
        return False
    return any(_one_plus_erf_of(b, a, makers, constants) for a, b in (others, others[::-1]))


def _factors(value: str, makers: Makers, depth: int) -> Iterator[str]:
    node = makers.get(value)
    if node is None or node.op_type != "Mul" or not depth:
        yield value
        return
    for name in node.input:
        yield from _factors(name, makers, depth - 1)


def _one_plus_erf_of(value: str, x: str, makers: Makers, constants: Constants) -> bool:
    plus = makers.get(value)
    if plus is None or plus.op_type != "Add":
        return False
    for one, rest in (plus.input, reversed(plus.input)):
        erf = makers.get(rest)
        if _number(one, constants) != 1 or erf is None or erf.op_type != "Erf":
            continue
        scaled = makers.get(erf.input[0])
        if scaled is None or x not in scaled.input:
            return False
        numbers = [_number(name, constants) for name in scaled.input if name != x]
        if len(numbers) != 1 or numbers[0] is None:
            return False
        if scaled.op_type == "Mul":
            return bool(np.isclose(numbers[0], np.sqrt(0.5), rtol=1e-3))
        return scaled.op_type == "Div" and bool(np.isclose(numbers[0], np.sqrt(2), rtol=1e-3))
    return False


def _number(name: str, constants: Constants) -> float | None:
    """Return the value of a constant with one element; None for other tensors."""
    if name not in constants:
        return None
    values = constants.array(name)
    return float(values.reshape(-1)[0]) if values.size == 1 else None
