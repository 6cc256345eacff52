"""Writes a model file without information about the machine on which it was built.

Exporters and quantizers leave stack traces, paths and tool names in metadata and doc strings.
"""

from pathlib import Path

import onnx
from graph import IR_VERSION

PRODUCER = "quantserve"


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without metadata, doc strings and the shapes of inner tensors."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.ir_version = IR_VERSION
    clean.producer_name, clean.producer_version = PRODUCER, ""
    clean.domain, clean.model_version, clean.doc_string = "", 0, ""
    clean.ClearField("metadata_props")
    _strip(clean.graph)
    _keep_used_opsets(clean)
    onnx.checker.check_model(clean)
    return clean


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the stripped model, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stripped(model).SerializeToString(deterministic=True))
    return path


def _strip(graph: onnx.GraphProto) -> None:
    graph.ClearField("value_info")
    values = [*graph.input, *graph.output, *graph.initializer, *graph.node]
    for part in [graph, *values]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _keep_used_opsets(model: onnx.ModelProto) -> None:
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(kept)
