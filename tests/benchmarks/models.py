"""The four models: two built here, one from the repository, one from its script.

Each has a separate model repository, so that a server's memory is that of one model.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from tests.benchmarks.protocol import Tensors
from tests.benchmarks.servers import ROOT

SEQUENCE = 32
LAYERS = {"tiny": (32, 64, 10), "mlp": (256, 1024, 1024, 256, 1)}
NAMES = ("tiny", "mlp", "digits", "encoder")
DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}


class ModelError(Exception):
    """A model of this repository is missing or could not be built."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model in its own repository: `<repository>/<name>/<version>/model.onnx`."""

    workload: str
    name: str
    repository: Path
    graph: Path

    @property
    def batches(self) -> bool:
        """True if rows may share a run; with dynamic scales they would change each other."""
        nodes = onnx.load(self.graph, load_external_data=False).graph.node
        return not any(node.op_type in DYNAMIC for node in nodes)


def prepare(workload: str, cache: Path) -> Served:
    repository = cache / "repositories" / workload
    if workload in LAYERS:
        _build(workload, LAYERS[workload], repository)
        return _served(workload, workload, repository)
    if workload == "digits":
        _copy(ROOT / "models" / "digits", repository)
        return _served(workload, "digits", repository)
    _run_script(ROOT / "scripts" / "models" / "sentence_encoder.py", repository)
    return _served(workload, "sentence-encoder", repository)


def inputs(source: Path, seed: int) -> Tensors:
    """Return one row of input: images and features in [0, 1), token ids, a mask without padding."""
    rng = np.random.default_rng(seed)
    graph = onnx.load(source, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    tensors: Tensors = {}
    for value in graph.input:
        if value.name in weights:
            continue
        dims = value.type.tensor_type.shape.dim
        shape = [1] + [dim.dim_value or SEQUENCE for dim in dims[1:]]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            tensors[value.name] = rng.random(shape, np.float32)
        elif "mask" in value.name:
            tensors[value.name] = np.ones(shape, np.int64)
        else:
            tensors[value.name] = rng.integers(1000, 10_000, shape, np.int64)
    return tensors


def _served(workload: str, name: str, repository: Path) -> Served:
    versions = list((repository / name).glob("*/model.onnx"))
    if not versions:
        raise ModelError(f"no model.onnx under {repository / name}")
    newest = max(versions, key=lambda path: int(path.parent.name))
    return Served(workload, name, repository, newest)


def _copy(source: Path, repository: Path) -> None:
    if not source.is_dir():
        raise ModelError(f"{source.relative_to(ROOT)} is not there")
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(source, repository / source.name)


def _run_script(script: Path, repository: Path) -> None:
    if not script.is_file():
        raise ModelError(f"{script.relative_to(ROOT)} is not there")
    command = [sys.executable, str(script), str(repository)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"{script.relative_to(ROOT)} failed: {done.stderr.strip()[-500:]}")


def _build(name: str, widths: tuple[int, ...], repository: Path) -> None:
    """Build a multilayer perceptron with seeded weights, quantized to static INT8 (QDQ, U8S8)."""
    shutil.rmtree(repository, ignore_errors=True)
    target = repository / name / "1" / "model.onnx"
    target.parent.mkdir(parents=True)
    exact, ready = target.with_suffix(".fp32"), target.with_suffix(".ready")
    onnx.save(perceptron(name, widths), exact)
    quant_pre_process(exact, ready, skip_symbolic_shape=True)
    quantize_static(
        ready,
        target,
        _Calibration(widths[0]),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        reduce_range=True,  # sums do not saturate on x86 without VNNI, so all answers are the same
    )
    exact.unlink()
    ready.unlink()


def perceptron(name: str, widths: tuple[int, ...]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "input"
    for layer, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
        matrix = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"w{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(fan_out, np.float32), f"b{layer}"))
        last = layer == len(widths) - 2
        output = "output" if last else f"sum{layer}"
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [output]))
        if not last:
            nodes.append(helper.make_node("Relu", [output], [f"relu{layer}"]))
            value = f"relu{layer}"
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", width])
        for end, width in (("input", widths[0]), ("output", widths[-1]))
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class _Calibration(CalibrationDataReader):
    def __init__(self, width: int) -> None:
        self._rows: Iterator[np.ndarray] = iter(
            np.random.default_rng(1).random((64, 1, width), np.float32)
        )

    def get_next(self) -> Tensors | None:
        row = next(self._rows, None)
        return None if row is None else {"input": row}
