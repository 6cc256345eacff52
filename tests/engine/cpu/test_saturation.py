"""The saturation trial: exact arithmetic returns the expected sums, 16-bit arithmetic less."""

import numpy as np
import onnx
from onnx import checker, numpy_helper
from onnx.reference import ReferenceEvaluator

from service.engine.cpu.saturation import ACTIVATION, CHANNELS, LENGTHS, Case, cases, model


def answers(case: Case) -> list[np.ndarray]:
    """Return the outputs of the reference implementation, which adds in 32 bits."""
    full = {name: np.full(shape, ACTIVATION, np.uint8) for name, shape in case.inputs}
    return list(ReferenceEvaluator(onnx.load_from_string(model())).run(None, full))


def test_the_model_is_valid() -> None:
    checker.check_model(onnx.load_from_string(model()), full_check=True)


def test_exact_arithmetic_returns_the_expected_sums() -> None:
    for case in cases():
        for array, expected in zip(answers(case), case.sums, strict=True):
            assert array.size and (array == expected).all()


def test_every_output_changes_if_16_bit_sums_saturate() -> None:
    """The sum of two products in 16 bits is at most 32767."""
    proto = onnx.load_from_string(model())
    for weights in map(numpy_helper.to_array, proto.graph.initializer):
        if weights.dtype == np.int8 and weights.size > 1:
            pairs = ACTIVATION * weights.astype(np.int32).ravel() * 2
            assert (pairs > np.iinfo(np.int16).max).all()


def test_the_trial_covers_batch_sizes_lengths_and_operators() -> None:
    found = list(cases())
    assert {dict(case.inputs)[f"x{LENGTHS[0]}"][0] for case in found} >= {1}
    assert any(dict(case.inputs)[f"x{LENGTHS[0]}"][0] > 1 for case in found)
    operators = [node.op_type for node in onnx.load_from_string(model()).graph.node]
    assert operators.count("MatMulInteger") == 2 * len(LENGTHS)
    assert operators.count("QLinearConv") == len(CHANNELS)
