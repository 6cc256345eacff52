"""The signatures of opened graphs: types, shapes, and graphs that cannot be served."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.core.errors import InputRejected, LoadFailed
from tests.engine import axes_graphs, graphs
from tests.engine.sessions import identity, session


def test_unnamed_axes_have_unknown_lengths(tmp_path: Path) -> None:
    shapes = {(-1, 3): (None, 3), (None, 3): (None, 3), ("", 3): (None, 3), ("n", 3): ("n", 3)}
    for declared, read in shapes.items():
        served = session(identity(TensorProto.FLOAT, declared), tmp_path)
        assert served.signature.inputs[0].shape == read


def test_types_that_the_protocol_lacks_are_named(tmp_path: Path) -> None:
    model = graphs.model(
        [graphs.node("SequenceConstruct", "x", to="y")],
        [graphs.value("x", ["batch"])],
        [onnx.helper.make_tensor_sequence_value_info("y", graphs.FLOAT, None)],
    )
    with pytest.raises(LoadFailed, match=r'output "y" is a seq\(tensor\(float\)\)'):
        session(model, tmp_path)


def test_an_input_without_a_shape_accepts_any(tmp_path: Path) -> None:
    served = session(axes_graphs.without_shape(), tmp_path)
    (x,), (y,) = served.signature.inputs, served.signature.outputs
    assert not x.ranked and not y.ranked
    for shape in ((5,), (2, 5), (2, 3, 5), (0, 5)):
        (answer,) = served.run((np.ones(shape, np.float32),))
        assert answer.shape == (*shape[:-1], 3)
    with pytest.raises(InputRejected, match=r'these inputs, "x" \[2, 4\]: MatMul'):
        served.run((np.ones((2, 4), np.float32),))


def test_a_scalar_stays_a_scalar(tmp_path: Path) -> None:
    model = graphs.model(
        [graphs.node("Neg", "x", to="y")], [graphs.value("x", [])], [graphs.value("y", [])]
    )
    (spec,) = session(model, tmp_path).signature.inputs
    assert spec.ranked and spec.shape == ()


def test_weights_listed_as_inputs_by_old_files_cannot_be_overridden(tmp_path: Path) -> None:
    old = axes_graphs.with_defaults()
    old.ir_version = 3
    signature = session(old, tmp_path).signature
    assert [spec.name for spec in signature.inputs] == ["x"] and signature.optional == ()


@pytest.mark.parametrize("name", ["", "?", "-1", "None"])
def test_placeholders_for_unknown_lengths_are_not_names(name: str, tmp_path: Path) -> None:
    (spec,) = session(identity(TensorProto.FLOAT, (name, 3)), tmp_path).signature.inputs
    assert spec.shape == (None, 3)


def test_a_negative_length_is_unknown_and_zero_is_zero(tmp_path: Path) -> None:
    found = session(identity(TensorProto.FLOAT, (-1, 3)), tmp_path / "a").signature.inputs[0]
    assert found.shape == (None, 3)
    served = session(identity(TensorProto.FLOAT, (0, 3)), tmp_path / "b")
    assert served.signature.inputs[0].shape == (0, 3)
    assert served.run((np.ones((0, 3), np.float32),))[0].shape == (0, 3)


def test_a_graph_without_an_output_is_refused(tmp_path: Path) -> None:
    model = identity(TensorProto.FLOAT)
    model.graph.output.pop()
    with pytest.raises(LoadFailed, match="model.onnx has no output"):
        session(model, tmp_path)


def test_inputs_that_are_not_tensors_are_refused_by_name(tmp_path: Path) -> None:
    float_ = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    kinds = {
        "SequenceLength": (onnx.helper.make_sequence_type_proto(float_), r"seq\(tensor\(float\)\)"),
        "OptionalHasElement": (
            onnx.helper.make_optional_type_proto(float_),
            r"optional\(tensor\(float\)\)",
        ),
    }
    for operator, (kind, shown) in kinds.items():
        output = TensorProto.INT64 if operator == "SequenceLength" else TensorProto.BOOL
        model = graphs.model(
            [graphs.node(operator, "x", to="y")],
            [onnx.helper.make_value_info("x", kind)],
            [graphs.value("y", [], output)],
        )
        with pytest.raises(LoadFailed, match=f'input "x" is a {shown}, which the protocol'):
            session(model, tmp_path / operator)
