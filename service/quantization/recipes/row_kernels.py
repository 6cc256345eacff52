"""Tests whether MatMulIntegerToFloat supports one scale per row in this build of ONNX Runtime. Its
schema documents scalars and per-column scales only."""

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from service.engine.cpu.trial_session import trial_session

ROWS, WIDTH, COLUMNS = 6, 32, 24


@cache
def takes_row_scales() -> bool:
    """Return True if a matrix product and a batched product equal numpy's results. Runs once per
    process."""
    rng = np.random.default_rng(0)
    q = rng.integers(0, 256, (2, ROWS, WIDTH)).astype(np.uint8)
    scale = rng.random((2, ROWS, 1)).astype(np.float32) + 0.1
    weight = rng.integers(-64, 65, (WIDTH, COLUMNS)).astype(np.int8)
    columns = rng.random(COLUMNS).astype(np.float32) + 0.1
    want = ((q.astype(np.int32) - 128) @ weight.astype(np.int32)) * scale * columns
    try:
        model = _model({"weight": weight, "columns": columns, "zero": np.uint8(128)})
        session = trial_session(model)
        got = session.run(None, {"q": q, "scale": scale})[0]
        flat = session.run(None, {"q": q[0], "scale": scale[0]})[0]
    except Exception:  # a build without the operator, or with one that rejects such scales
        return False
    return bool(np.allclose(got, want, rtol=1e-4) and np.allclose(flat, want[0], rtol=1e-4))


def _model(constants: dict[str, object]) -> bytes:
    node = helper.make_node(
        "MatMulIntegerToFloat", ["q", "weight", "scale", "columns", "zero"], ["y"],
        domain="com.microsoft",
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "rows",
        [helper.make_tensor_value_info("q", TensorProto.UINT8, None),
         helper.make_tensor_value_info("scale", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data
