"""Models encoded without the ``onnx`` package can be read by ``onnx``."""

import struct

import onnx
from onnx import TensorProto, checker, numpy_helper

from service.engine.onnx_file.writing import FLOAT, model_of, node, tensor, value


def test_an_encoded_model_is_valid_for_onnx() -> None:
    parts = (
        value(11, "x", FLOAT, ("n", 2)),
        value(12, "y", FLOAT, ("n", 3)),
        tensor("w", FLOAT, (2, 3), struct.pack("<6f", *range(6))),
        node("MatMul", ("x", "w"), "z"),
        node("Softmax", ("z",), "y", {"axis": 1}),
    )
    model = onnx.ModelProto.FromString(model_of("trial", parts, 17))
    checker.check_model(model, full_check=True)
    assert (model.graph.name, model.opset_import[0].version) == ("trial", 17)
    assert [each.op_type for each in model.graph.node] == ["MatMul", "Softmax"]
    assert [(a.name, a.i) for a in model.graph.node[1].attribute] == [("axis", 1)]
    (weights,) = model.graph.initializer
    assert numpy_helper.to_array(weights).tolist() == [[0, 1, 2], [3, 4, 5]]
    shape = model.graph.input[0].type.tensor_type
    assert shape.elem_type == TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in shape.shape.dim] == ["n", 2]
