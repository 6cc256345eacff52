"""External data of tensors in nodes and subgraphs is moved into the model; nothing else changes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.core.errors import LoadFailed
from service.engine.onnx_file import inline
from service.engine.onnx_file.inline import inlined
from tests.engine import graphs
from tests.engine.graphs import constant, node, value

DATA = np.arange(12, dtype=np.float32)
FILES = {"w.bin": b"\0" * 8 + DATA.tobytes() + b"\1" * 8}


def outside(
    name: str, kind: int = TensorProto.FLOAT, dims: tuple[int, ...] = (3, 4)
) -> TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=(3, 4))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="offset", value="8")
    return tensor


def holding(tensor: TensorProto, *weights: TensorProto) -> onnx.ModelProto:
    """A model with a tensor in a node, beside attributes of every other kind."""
    held = node("Constant", to="c", value=tensor)
    other = node("Odd", "x", to="y", f=1.5, i=-3, s="text", fs=[0.5, 2.5], ns=[1, -1], ss=["a"])
    return graphs.model([held, other], [value("x", [3, 4])], [value("y", [3, 4])], weights)


def test_external_data_of_a_node_is_moved_into_the_model() -> None:
    model = holding(outside("t"))
    found = inlined(memoryview(model.SerializeToString()), FILES)
    assert found is not None
    after = onnx.ModelProto.FromString(found)
    (tensor,) = (each.t for each in after.graph.node[0].attribute)
    assert not tensor.external_data and tensor.data_location == TensorProto.DEFAULT
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), DATA.reshape(3, 4))
    assert after.graph.node[1] == model.graph.node[1]
    assert after.graph.input == model.graph.input and after.opset_import == model.opset_import


def test_initializers_of_the_main_graph_stay_external_by_default() -> None:
    model = holding(constant("t", DATA), outside("w")).SerializeToString()
    assert inlined(memoryview(model), FILES) is None
    found = inlined(memoryview(model), FILES, everything=True)
    assert found is not None
    (weight,) = onnx.ModelProto.FromString(found).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), DATA.reshape(3, 4))


def test_external_data_of_functions_and_branches_is_moved() -> None:
    inner = helper.make_graph([], "branch", [], [], [outside("v")])
    model = holding(constant("t", DATA))
    model.graph.node.append(node("If", "x", to="z", then_branch=inner, else_branch=inner))
    body = [node("Constant", to="y", value=outside("k"))]
    model.functions.append(helper.make_function("d", "f", [], ["y"], body, []))
    found = inlined(memoryview(model.SerializeToString()), FILES)
    assert found is not None and b"w.bin" not in found


def test_entries_of_a_tensor_that_is_not_external_are_ignored() -> None:
    tensor = constant("t", DATA)
    tensor.external_data.add(key="location", value="w.bin")
    assert inlined(memoryview(holding(tensor).SerializeToString()), FILES) is None


@pytest.mark.parametrize(("kind", "size"), [(TensorProto.INT4, 6), (TensorProto.INT8, 12)])
def test_types_of_fewer_bits_use_fewer_bytes(kind: int, size: int) -> None:
    found = inlined(memoryview(holding(outside("t", kind)).SerializeToString()), FILES)
    assert found is not None
    tensor = onnx.ModelProto.FromString(found).graph.node[0].attribute[0].t
    assert tensor.raw_data == FILES["w.bin"][8 : 8 + size]


def test_a_model_too_large_for_protobuf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "MOST_BYTES", 100)
    with pytest.raises(LoadFailed, match="export these as initializers of the main graph"):
        inlined(memoryview(holding(outside("t")).SerializeToString()), FILES)
