"""One graph on ONNX Runtime: all datatypes as inputs and outputs, errors with a reason, no side
effects."""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.core.errors import InputRejected
from service.core.tensors import DATATYPES, Overriding
from tests.engine import axes_graphs, graphs
from tests.engine.sessions import identity, python, session
from tests.tiny_models import DATATYPES as KINDS


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


def test_a_default_that_may_be_overridden_is_optional(tmp_path: Path) -> None:
    served = session(axes_graphs.with_defaults(), tmp_path)
    assert [spec.name for spec in served.signature.inputs] == ["x"]
    assert [str(spec) for spec in served.signature.optional] == ["FP32 [4, 3]", "FP32 []"]
    x = np.ones((2, 4), np.float32)
    (usual,) = served.run((x,))
    (doubled,) = served.run(Overriding((x,), {"k": np.array(4, np.float32)}))
    assert np.allclose(doubled, 2 * usual)


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
