"""Inputs without elements are refused before an operator that would end the process."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from service.core.errors import InputRejected
from service.engine.onnx_file.empty import Empty, Fatal, fatal_operator
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import axes_graphs, graphs

ML = "ai.onnx.ml"


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (0, 0, 3)])
def test_a_recurrent_network_refuses_empty_inputs(
    operator: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    model = graphs.save(axes_graphs.recurrent(operator), tmp_path) / "model.onnx"
    served = Session(model, SessionOptions())
    assert served.run((np.ones((2, 2, 3), np.float32),))[0].shape == (2, 4)
    with pytest.raises(InputRejected, match=f"without elements, .*operator {operator} cannot"):
        served.run((np.ones(shape, np.float32),))


def test_the_cache_of_a_decoder_may_be_empty_but_not_its_batch() -> None:
    fatal = fatal_operator({"Add", "GroupQueryAttention"})
    assert fatal == Fatal("GroupQueryAttention", Empty.NO_ROWS)
    fatal.check((np.ones((1, 4)), np.ones((1, 2, 0, 8)), np.ones(())))
    with pytest.raises(InputRejected):
        fatal.check((np.ones((0, 4)),))


def test_the_strictest_operator_decides() -> None:
    assert fatal_operator({"Add", "MatMul"}) is None
    assert fatal_operator({"QAttention", "LSTM"}) == Fatal("LSTM", Empty.ANY_AXIS)


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_pooling_accepts_zero_images_but_no_image_of_size_zero(
    operator: str, tmp_path: Path
) -> None:
    """With blocks of 16 channels ONNX Runtime divides by the size, which is 0 here."""
    pool = graphs.model(
        [graphs.node(operator, "x", to="y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        [graphs.value("x", ["batch", 16, "height", "width"])],
        [graphs.value("y", None)],
    )
    served = Session(graphs.save(pool, tmp_path) / "model.onnx", SessionOptions())
    assert served.run((np.ones((0, 16, 5, 5), np.float32),))[0].shape == (0, 16, 5, 5)
    for shape in ((0, 16, 0, 5), (0, 16, 0, 0)):
        with pytest.raises(InputRejected, match=f"operator {operator} cannot"):
            served.run((np.ones(shape, np.float32),))


def test_features_cannot_be_joined_without_rows(tmp_path: Path) -> None:
    join = graphs.model(
        [
            helper.make_node(
                "FeatureVectorizer", ["a", "b"], ["y"], "", domain=ML, inputdimensions=[2, 3]
            )
        ],
        [graphs.value("a", ["batch", 2]), graphs.value("b", ["batch", 3])],
        [graphs.value("y", ["batch", 5])],
    )
    join.opset_import.append(helper.make_opsetid(ML, 3))
    served = Session(graphs.save(join, tmp_path) / "model.onnx", SessionOptions())
    assert served.run((np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)))[0].shape == (2, 5)
    with pytest.raises(InputRejected, match="operator FeatureVectorizer cannot"):
        served.run((np.ones((0, 2), np.float32), np.ones((0, 3), np.float32)))
