import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from service.quantization.language.tables import own_tables, tables_in_eight_bits
from tests.engine.graphs import INT64, constant, model, node, value

ROWS, WIDTH = 200, 48
WEIGHTS = np.random.default_rng(0).standard_normal((WIDTH, ROWS)).astype(np.float32)
TOKENS = np.array([[3, 0, 199], [7, 7, 8]])


def tied(**attributes: object) -> onnx.ModelProto:
    """Rows of the weights' transpose, and their products with the weights."""
    nodes = [
        helper.make_node("Transpose", ["weights"], ["table"], name="turn", **attributes),
        node("Gather", "table", "tokens", to="rows"),
        node("MatMul", "rows", "weights", to="scores"),
    ]
    return model(
        nodes,
        [value("tokens", ["n", "length"], INT64)],
        [value("scores", ["n", "length", ROWS])],
        [constant("weights", WEIGHTS)],
    )


def scores(graph: onnx.ModelProto) -> object:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"tokens": TOKENS})[0]


@pytest.mark.parametrize("attributes", [{}, {"perm": [1, 0]}])
def test_a_transpose_becomes_a_table_of_eight_bits(attributes: dict[str, object]) -> None:
    graph = tied(**attributes)
    wanted = scores(graph)
    own_tables(graph)
    assert [each.op_type for each in graph.graph.node] == ["Gather", "MatMul"]
    assert np.array_equal(scores(graph), wanted)
    tables_in_eight_bits(graph)
    kinds = {each.name: each.data_type for each in graph.graph.initializer}
    assert sorted(kinds.values()) == [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT8]
    assert "table" not in kinds and kinds["weights"] == TensorProto.FLOAT
    assert np.allclose(scores(graph), wanted, atol=0.2)


def test_transposes_of_activations_stay() -> None:
    graph = model(
        [
            node("Transpose", "x", to="turned"),
            node("Gather", "turned", "first", to="y"),
        ],
        [value("x", ["n", 8])],
        [value("y", ["n"])],
        [constant("first", 0, np.int64)],
    )
    before = graph.SerializeToString()
    own_tables(graph)
    assert graph.SerializeToString() == before
