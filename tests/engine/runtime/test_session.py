"""One graph on ONNX Runtime: all datatypes as inputs and outputs, errors with a reason, no side
effects."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantFormat

from service.core.errors import InputRejected, LoadFailed
from service.core.tensors import DATATYPES, Overriding
from service.engine.cpu.kernels import Kernels
from service.engine.runtime.session import Session, SessionOptions
from tests.engine import axes_graphs, graphs, quantizers
from tests.tiny_models import DATATYPES as KINDS


def session(model: onnx.ModelProto, folder: Path, threads: int = 1) -> Session:
    return Session(graphs.save(model, folder) / "model.onnx", SessionOptions(threads))


def identity(kind: int, shape: graphs.Shape = ("batch", 3)) -> onnx.ModelProto:
    ends = (graphs.value("x", shape, kind), graphs.value("y", shape, kind))
    return graphs.model([graphs.node("Identity", "x", to="y")], ends[:1], ends[1:])


def test_tests_cover_all_datatypes_of_the_protocol() -> None:
    assert KINDS.keys() == DATATYPES.keys()


@pytest.mark.parametrize("name", KINDS)
def test_tensors_of_every_datatype_are_returned_unchanged(name: str, tmp_path: Path) -> None:
    served = session(identity(KINDS[name]), tmp_path)
    (spec,) = served.signature.inputs
    assert (spec.datatype.name, spec.shape) == (name, ("batch", 3))
    if name == "BYTES":
        given = np.array([["a", "", "é\0z"], ["b", "😀", " "]], object)
    else:
        given = np.array([[0, 1, 2], [3, 100, 1]]).astype(DATATYPES[name].dtype)
    (answer,) = served.run((given,))
    assert answer.dtype == given.dtype and answer.tolist() == given.tolist()


def test_the_graph_computes_with_bfloat16(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    cast = graphs.node("Cast", "x", to="f")
    cast.attribute.append(onnx.helper.make_attribute("to", TensorProto.FLOAT))
    model = graphs.model(
        [cast, graphs.node("Neg", "f", to="y")],
        [graphs.value("x", ["batch"], kind)],
        [graphs.value("y", ["batch"]), graphs.value("x", ["batch"], kind)],
    )
    model.graph.output.pop()
    bits = np.array([0x3F80, 0xC000, 0x4049, 0x0000], np.uint16)
    every_second = np.repeat(bits, 2)[::2]  # not contiguous
    assert session(model, tmp_path).run((every_second,))[0].tolist() == [-1.0, 2.0, -3.140625, -0.0]


def test_empty_and_scalar_tensors_are_accepted(tmp_path: Path) -> None:
    served = session(identity(TensorProto.BFLOAT16), tmp_path)
    assert served.run((np.zeros((0, 3), np.uint16),))[0].shape == (0, 3)
    scalar = session(identity(TensorProto.FLOAT, ()), tmp_path)
    assert scalar.run((np.array(2.0, np.float32),))[0] == 2


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_any_memory_order_are_accepted(order: str, tmp_path: Path) -> None:
    given = np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order)  # type: ignore[call-overload]
    answer = session(identity(TensorProto.FLOAT), tmp_path).run((given[::-1],))
    assert answer[0].tolist() == given[::-1].tolist()


def test_unnamed_axes_have_unknown_lengths(tmp_path: Path) -> None:
    shapes = {(-1, 3): (None, 3), (None, 3): (None, 3), ("", 3): (None, 3), ("n", 3): ("n", 3)}
    for declared, read in shapes.items():
        served = session(identity(TensorProto.FLOAT, declared), tmp_path)
        assert served.signature.inputs[0].shape == read


def test_only_requested_outputs_are_computed(tmp_path: Path) -> None:
    served = session(graphs.attention(), tmp_path)
    ids = np.ones((2, 4), np.int64)
    assert [a.shape for a in served.run((ids, ids))] == [(2, 4, 16), (2, 16)]
    assert [a.shape for a in served.run((ids, ids), (1,))] == [(2, 16)]


def test_values_that_the_graph_refuses_are_input_errors(tmp_path: Path) -> None:
    served = session(graphs.attention(vocabulary=10), tmp_path)
    ids = np.full((1, 4), 10, np.int64)
    with pytest.raises(InputRejected, match='values: Gather "e": .*idx=10 must') as caught:
        served.run((ids, ids))
    assert "onnxruntime" not in str(caught.value) and ".cc:" not in str(caught.value)


def test_a_length_that_the_graph_refuses_is_an_input_error(tmp_path: Path) -> None:
    served = session(graphs.eights(), tmp_path)
    with pytest.raises(InputRejected, match='Reshape "cut": .*: input "x" has 7 on axis') as caught:
        served.run((np.zeros((1, 7), np.float32),))
    assert "/" not in str(caught.value)


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


def test_types_that_the_protocol_lacks_are_named(tmp_path: Path) -> None:
    model = graphs.model(
        [graphs.node("SequenceConstruct", "x", to="y")],
        [graphs.value("x", ["batch"])],
        [onnx.helper.make_tensor_sequence_value_info("y", graphs.FLOAT, None)],
    )
    with pytest.raises(LoadFailed, match=r'output "y" is a seq\(tensor\(float\)\)'):
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


def test_one_session_runs_in_several_threads_at_once(tmp_path: Path) -> None:
    served, answers = session(graphs.linear(), tmp_path), {}

    def work(value: float) -> None:
        rows = np.full((4, 32), value, np.float32)
        answers[value] = [served.run((rows,))[0] for _ in range(20)]

    threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for value, found in answers.items():
        expected = served.run((np.full((4, 32), value, np.float32),))[0]
        assert all((answer == expected).all() for answer in found)


def test_a_copy_may_have_more_threads(tmp_path: Path) -> None:
    one = session(graphs.linear(), tmp_path)
    two, row = one.copy(threads=2), np.ones((1, 32), np.float32)
    assert (one.options.threads, two.options.threads, one.copy().options.threads) == (1, 2, 1)
    assert two.run((row,))[0] == pytest.approx(one.run((row,))[0])


def python(program: str, home: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(home), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_telemetry_is_off_before_onnx_runtime_is_imported(tmp_path: Path) -> None:
    program = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import service.engine.runtime.session
"""
    assert python(program, tmp_path, ORT_DISABLE_TELEMETRY="") == "1\n"
    assert list(tmp_path.iterdir()) == []  # no device id under the home folder


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


def test_a_default_that_may_be_overridden_is_optional(tmp_path: Path) -> None:
    served = session(axes_graphs.with_defaults(), tmp_path)
    assert [spec.name for spec in served.signature.inputs] == ["x"]
    assert [str(spec) for spec in served.signature.optional] == ["FP32 [4, 3]", "FP32 []"]
    x = np.ones((2, 4), np.float32)
    (usual,) = served.run((x,))
    (doubled,) = served.run(Overriding((x,), {"k": np.array(4, np.float32)}))
    assert np.allclose(doubled, 2 * usual)


def test_weights_listed_as_inputs_by_old_files_cannot_be_overridden(tmp_path: Path) -> None:
    old = axes_graphs.with_defaults()
    old.ir_version = 3
    signature = session(old, tmp_path).signature
    assert [spec.name for spec in signature.inputs] == ["x"] and signature.optional == ()


def test_bfloat16_defaults_can_be_overridden(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    one = onnx.helper.make_tensor("k", kind, [1], [1.0])
    model = graphs.model(
        [graphs.node("Identity", "k", to="y"), graphs.node("Identity", "x", to="z")],
        [graphs.value("x", ["n"]), graphs.value("k", [1], kind)],
        [graphs.value("y", [1], kind), graphs.value("z", ["n"])],
        [one],
    )
    served = session(model, tmp_path)
    given = Overriding((np.ones(2, np.float32),), {"k": np.array([0x4000], np.uint16)})
    assert served.run(given)[0].tolist() == [0x4000]
    assert served.run((np.ones(2, np.float32),))[0].tolist() == [0x3F80]


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
