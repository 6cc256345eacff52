"""Messages name shapes that the signature allows but the graph may refuse."""

import numpy as np
import pytest

from service.core.shapes import doubtful_shapes
from service.core.tensors import DATATYPES, Overriding, Signature, TensorSpec

FP32 = DATATYPES["FP32"]


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, FP32, shape)


@pytest.mark.parametrize(
    ("specs", "shapes", "told"),
    [
        ((spec("x", "n", 2),), [(3, 2)], ""),
        ((spec("x", "n", 2),), [(0, 2)], 'input "x" without elements, [0, 2]'),
        ((spec("x", "n", "s"), spec("y", "n", "s")), [(2, 3), (2, 4)], 'these inputs, "x" [2, 3]'),
        ((spec("x", "n", "s"), spec("y", "n", "s")), [(2, 3), (2, 3)], ""),
        ((TensorSpec("x", FP32, (), ranked=False),), [(5,)], 'these inputs, "x" [5]'),
    ],
)
def test_doubtful_shapes_are_named(
    specs: tuple[TensorSpec, ...], shapes: list[tuple[int, ...]], told: str
) -> None:
    arrays = tuple(np.zeros(shape, np.float32) for shape in shapes)
    found = doubtful_shapes(Signature(specs, ()), arrays)
    assert found.startswith(told) if told else not found


def test_an_overridden_default_of_any_length_is_doubtful() -> None:
    signature = Signature((spec("x", "n", 2),), (), (spec("w", "m"),))
    given = Overriding((np.zeros((1, 2), np.float32),), {"w": np.zeros(3, np.float32)})
    assert '"w" [3]' in doubtful_shapes(signature, given)
