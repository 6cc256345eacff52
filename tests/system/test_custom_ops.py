"""A server with a model that uses a custom operator: with --allow-custom-ops, and without it."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from tests.engine import graphs
from tests.parts import OPERATORS
from tests.system.process import running
from tests.system.wire import get, post


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model of strings, with the library of its operator beside its model.toml."""
    package = importlib.util.find_spec("onnxruntime_extensions")
    OPERATORS.need(package)
    assert package is not None and package.origin is not None
    ends = [graphs.value(name, ["batch"], TensorProto.STRING) for name in ("x", "y")]
    upper = helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")
    model = graphs.model([upper], ends[:1], ends[1:])
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    graphs.save(model, tmp_path / "shout")
    shutil.copy(
        next(Path(package.origin).parent.glob("_extensions_pydll*.so")), tmp_path / "shout/lib.so"
    )
    (tmp_path / "shout/model.toml").write_text('[session]\ncustom_ops = "lib.so"\n')
    return tmp_path


def test_a_custom_operator_runs_with_the_flag(models: Path) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2], "data": ["abc", "d"]}
    with running(models, "--allow-custom-ops") as server:
        answer = server.ask(
            post("/v2/models/shout/infer", json.dumps({"inputs": [tensor]}).encode())
        )
        assert answer.json["outputs"][0]["data"] == ["ABC", "D"]


def test_without_the_flag_the_error_names_it(models: Path) -> None:
    with running(models) as server:
        assert "start it with --allow-custom-ops" in server.told
        answer = server.ask(get("/v2/models/shout"))
        assert answer.status == 503 and "--allow-custom-ops" in answer.error
