"""How ONNX Runtime opens a model: kernels, threads, and the reasons of rejected files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantFormat

from service.core.errors import LoadFailed
from service.engine.cpu.kernels import Kernels
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs, quantizers
from tests.engine.sessions import python, session


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (graphs.model([graphs.node("Nope", "x", to="y")], [graphs.value("x", [1])], []), "Nope"),
        (graphs.model([], [graphs.value("x", [1])], [graphs.value("y", [1])]), "rejects"),
    ],
)
def test_a_file_that_onnx_runtime_rejects_fails_the_load(
    model: onnx.ModelProto, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed, match=f"ONNX Runtime rejects model.onnx: .*{reason}|{reason}"):
        session(model, tmp_path)


def test_eight_bit_sums_do_not_saturate_on_any_cpu(tmp_path: Path) -> None:
    """With the default kernels, x86 without VNNI returns half of this."""
    model = graphs.model(
        [graphs.node("MatMulInteger", "x", "w", to="y")],
        [graphs.value("x", ["batch", 64], TensorProto.UINT8)],
        [graphs.value("y", ["batch", 8], TensorProto.INT32)],
        [graphs.constant("w", np.full((64, 8), 127, np.int8))],
    )
    (answer,) = session(model, tmp_path).run((np.full((4, 64), 255, np.uint8),))
    assert (answer == 64 * 255 * 127).all()


def test_models_with_signed_activations_load(tmp_path: Path) -> None:
    quantized = quantizers.static(graphs.linear(), tmp_path, QuantFormat.QOperator)
    row = np.ones((1, 32), np.float32)
    exact = session(graphs.linear(), tmp_path / "exact").run((row,))[0]
    assert session(quantized, tmp_path).run((row,))[0] == pytest.approx(exact, abs=0.2)


def test_kernels_that_fail_on_a_model_are_not_reported(tmp_path: Path) -> None:
    quantized = quantizers.static(graphs.linear(), tmp_path, QuantFormat.QOperator)
    path = graphs.save(quantized, tmp_path) / "model.onnx"
    served = Session(path, SessionOptions(kernels=Kernels.EXACT))
    # On Arm the two sets are the same, and load the same.
    assert (served.kernels is Kernels.EXACT) == (served.kernels_note == "")
    assert served.copy().kernels is served.kernels


def test_waiting_threads_do_not_spin(tmp_path: Path) -> None:
    """Threads that spin while they wait for work would use a core all the time."""
    folder = graphs.save(graphs.linear(1024, 1024), tmp_path)
    program = f"""
import time
from pathlib import Path
import numpy as np
from service.engine.runtime.session import Session, SessionOptions
served = Session(Path({str(folder)!r}) / "model.onnx", SessionOptions(threads=2))
rows = np.ones((64, 1024), np.float32)
spent = 0.0
for _ in range(20):
    served.run((rows,))
    before = time.process_time()
    time.sleep(0.02)
    spent += time.process_time() - before
print(spent / 0.4)
"""
    assert float(python(program, tmp_path)) < 0.3
