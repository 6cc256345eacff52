"""Times ONNX Runtime's kernels on this CPU: one matrix product in each number format.

CPU features alone do not show which formats are fast.
"""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from service.core.tensors import Array
from service.engine.cpu.kernels import Kernels, kernels_for, saturates
from service.engine.cpu.machine import read_machine
from service.engine.onnx_file.snapshot import ModelFile
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session

ROWS, WIDTH = 64, 512
ROUNDS = 40


def hardware(timed: bool = True) -> dict[str, Any]:
    """Return CPU features, limits and advice, with measured kernels if the onnx package is
    installed."""
    machine = read_machine()
    found = asdict(machine) | {"advice": list(machine.advice), "kernels": None}
    if timed and find_spec("onnx") is not None:
        found["kernels"] = measure_kernels()
    return found


def hardware_text(found: dict[str, Any]) -> str:
    """Return the result of ``hardware`` as text."""
    quota = found["cpu_quota"]
    limit = found["memory_limit"]
    lines = [
        f"{found['cpu']} ({found['architecture']})",
        f"cores    {found['cores']} usable, " + (f"quota {quota:g}" if quota else "no quota"),
        f"memory   {found['memory_bytes'] / 1e9:.1f} GB, "
        + (f"limit {limit / 1e9:.1f} GB" if limit else "no limit"),
        "",
        *(f"{'yes' if f['present'] else 'no ':3}  {f['name']:12} {f['meaning']}"
          for f in found["features"]),
        "",
        *found["advice"],
    ]  # fmt: skip
    return "\n".join([*lines, *_kernel_lines(found["kernels"])])


def _kernel_lines(kernels: dict[str, Any] | None) -> list[str]:
    if kernels is None:
        return ["", "kernels were not timed"]
    lines = [f"     {name:40} {ratio:5.2f} x" for name, ratio in kernels["speed"].items()]
    saturating = "no: the default kernels of ONNX Runtime are used"
    if kernels["u8s8_saturates"]:
        saturating = "yes, in ONNX Runtime's default kernels; 8-bit weights use its exact kernels"
    head = (
        f"measured as served, one thread, [{ROWS}, {WIDTH}] times [{WIDTH}, {WIDTH}], against FP32:"
    )
    return ["", head, *lines, f"     U8S8 sums saturate: {saturating}"]


def measure_kernels() -> dict[str, Any]:
    """Return the speed of each format relative to FP32, and whether ONNX Runtime's default kernels
    return wrong U8S8 sums on this CPU.

    A format is measured with the kernels that serving uses. It is also measured with the other
    kernels if ONNX Runtime's optimised graphs differ.
    """
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, WIDTH), np.float32)
    w = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 50
    with TemporaryDirectory() as folder:
        sessions: dict[str, Session] = {}
        for number, (name, model) in enumerate(_models(w).items()):
            path = Path(folder, f"{number}.onnx")
            path.write_bytes(model)
            sessions |= _sessions(name, path)
        times = _in_turns(sessions, x)
    base = times["FP32 MatMul"]
    speed = {name: float(np.median(base / taken)) for name, taken in times.items()}
    return {"speed": speed, "u8s8_saturates": saturates()}


def _models(w: Array) -> dict[str, bytes]:
    models = {"FP32 MatMul": _float(w)}
    for name, activations, weights, top in (
        ("INT8 U8S8 (static QDQ)", np.uint8, np.int8, 127),
        ("INT8 U8S8, 7-bit weights", np.uint8, np.int8, 63),
        ("INT8 U8U8 (static QDQ)", np.uint8, np.uint8, 127),
        ("INT8 S8S8 (static QDQ)", np.int8, np.int8, 127),
    ):
        models[name] = _qdq(w, activations, weights, top)
    models["INT8 U8S8 (dynamic)"] = _dynamic(w, 127)
    models["INT8 U8S8 (dynamic), 7-bit weights"] = _dynamic(w, 63)
    models["FP16"] = _half(w)
    return models


def _sessions(name: str, path: Path) -> dict[str, Session]:
    """Return sessions by name: one with the kernels of serving, and one with the other kernels if
    the optimised graphs differ."""
    written = {kernels: path.with_suffix(f".{kernels}") for kernels in Kernels}
    sessions = {
        kernels: Session(path, SessionOptions(1, optimised, kernels))
        for kernels, optimised in written.items()
    }
    graphs = [optimised.read_bytes() for optimised in written.values()]
    served = kernels_for(ModelFile(path))
    found = {name: sessions.pop(served)}
    if len(set(graphs)) > 1:
        found |= {f"{name}, {kernels} kernels": other for kernels, other in sessions.items()}
    return found


def _in_turns(sessions: dict[str, Session], x: Array) -> dict[str, Array]:
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            started = perf_counter()
            session.run((x,))
            times[name].append(perf_counter() - started)
    return {name: np.array(taken[5:]) for name, taken in times.items()}


def _model(nodes: list[Any], constants: dict[str, Any], width: tuple[int, int]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", width[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _float(w: Array) -> bytes:
    from onnx import helper

    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": w}, w.shape)


def _half(w: Array) -> bytes:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["g"]),
        helper.make_node("Cast", ["g"], ["y"], to=TensorProto.FLOAT),
    ]
    return _model(nodes, {"w": w.astype(np.float16)}, w.shape)


def _qdq(w: Array, activations: Any, weights: Any, top: int) -> bytes:
    """Return a product between Q/DQ nodes, with weights of magnitude ``top`` at most."""
    from onnx import helper

    weight_scale = float(np.abs(w).max()) / top
    middle = 0 if weights is np.int8 else 128
    x_zero = 0 if activations is np.uint8 else -128
    constants = {
        "w8": (np.round(w / weight_scale) + middle).astype(weights),
        "ws": np.float32(weight_scale), "wz": np.array(middle, weights),
        "xs": np.float32(1 / 255), "xz": np.array(x_zero, activations),
        "ys": np.float32(64 / 255), "yz": np.array(x_zero, activations),
    }  # fmt: skip
    constants = {name: np.asarray(value) for name, value in constants.items()}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "xs", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w8", "ws", "wz"], ["wf"]),
        helper.make_node("MatMul", ["xf", "wf"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "ys", "yz"], ["y8"]),
        helper.make_node("DequantizeLinear", ["y8", "ys", "yz"], ["y"]),
    ]
    return _model(nodes, constants, w.shape)


def _dynamic(w: Array, top: int) -> bytes:
    from onnx import helper

    scale = np.float32(np.abs(w).max() / top)
    constants = {
        "w8": np.round(w / scale).astype(np.int8), "ws": np.asarray(scale),
        "wz": np.zeros((), np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["x8", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["x8", "w8", "xz", "wz"], ["p"]),
        helper.make_node("Mul", ["xs", "ws"], ["s"]),
        helper.make_node("Cast", ["p"], ["f"], to=1),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    return _model(nodes, constants, w.shape)
