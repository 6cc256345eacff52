"""A classifier that ends in ZipMap is served with its probabilities as a tensor."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.engine.loading.loader import load
from service.engine.onnx_file.zipmap import unzipped
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import classifiers, graphs
from tests.engine.classifiers import ML, maps, zipmap

X = np.random.default_rng(5).standard_normal((7, classifiers.WIDTH)).astype(np.float32)
INTS, STRINGS = [-3, 0, 7], ["cat", "dog", "ünïcode"]


def session(model: onnx.ModelProto, folder: Path) -> Session:
    return Session(graphs.save(model, folder) / "model.onnx", SessionOptions())


@pytest.mark.parametrize("classes", [INTS, STRINGS, [0, 1], ["no", "yes"]])
def test_the_tensor_has_the_name_and_values_of_the_maps(
    classes: classifiers.Classes, tmp_path: Path
) -> None:
    nodes, outputs = classifiers.linear(classes)
    served = session(classifiers.model(nodes, outputs), tmp_path)
    label, spec = served.signature.outputs
    assert (label.name, spec.name, str(spec)) == (
        "label", "probabilities", f"FP32 [-1, {len(classes)}]"
    )  # fmt: skip
    assert served.labels == {"probabilities": tuple(map(str, classes))}
    labels, shares = served.run((X,))
    wanted = classifiers.probabilities(len(classes), X)
    np.testing.assert_allclose(shares, wanted, rtol=1e-5)
    assert labels.tolist() == [classes[i] for i in wanted.argmax(1)]
    assert f'output "probabilities" is FP32 [-1, {len(classes)}]' in served.outputs_note


def test_a_forest_with_string_labels(tmp_path: Path) -> None:
    served = session(classifiers.model(*classifiers.forest(STRINGS)), tmp_path)
    labels, shares = served.run((X,))
    below = X[:, :3] <= 0
    wanted = np.stack(
        [(below[:, 0] + 0.0 + below[:, 2]) / 3, below[:, 1] / 3, (~below).sum(1) / 3], 1
    )
    np.testing.assert_allclose(shares, wanted, rtol=1e-5)
    assert labels.tolist() == [STRINGS[i] for i in wanted.argmax(1)]


def test_each_of_several_outputs_has_its_own_classes(tmp_path: Path) -> None:
    (nodes, outputs), (more, others) = (
        classifiers.linear(INTS, "a_"), classifiers.linear(STRINGS[:2], "b_", seed=1)
    )  # fmt: skip
    served = session(classifiers.model(nodes + more, outputs + others), tmp_path)
    assert served.labels == {"a_probabilities": ("-3", "0", "7"), "b_probabilities": ("cat", "dog")}
    _, first, _, second = served.run((X,))
    np.testing.assert_allclose(first, classifiers.probabilities(3, X), rtol=1e-5)
    np.testing.assert_allclose(second, classifiers.probabilities(2, X, seed=1), rtol=1e-5)


def test_a_copy_of_the_maps_becomes_a_copy_of_the_tensor(tmp_path: Path) -> None:
    nodes, outputs = classifiers.linear(INTS)
    nodes.append(graphs.node("Identity", "probabilities", to="copy"))
    outputs.append(maps("copy", INTS))
    served = session(classifiers.model(nodes, outputs, {ML: 1, "": 17}), tmp_path)
    assert served.labels == dict.fromkeys(("probabilities", "copy"), ("-3", "0", "7"))
    _, shares, copy = served.run((X,))
    assert copy.tolist() == shares.tolist()


def test_the_scores_may_be_used_by_other_nodes(tmp_path: Path) -> None:
    nodes, outputs = classifiers.linear(INTS)
    top = graphs.node("ArgMax", "shares", to="top", axis=1, keepdims=0)
    outputs += [
        graphs.value("top", [None], TensorProto.INT64), graphs.value("shares", [None, 3])
    ]  # fmt: skip
    served = session(classifiers.model([*nodes, top], outputs, {ML: 1, "": 17}), tmp_path)
    _, shares, top_class, same = served.run((X,))
    assert top_class.tolist() == shares.argmax(1).tolist() and same.tolist() == shares.tolist()


def test_nodes_that_read_the_maps_are_refused_with_advice(tmp_path: Path) -> None:
    nodes, outputs = classifiers.linear(INTS)
    first = helper.make_node("Constant", [], ["first"], value_int=0)
    at = graphs.node("SequenceAt", "probabilities", "first", to="row")
    row = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    outputs[-1] = helper.make_value_info("row", helper.make_map_type_proto(TensorProto.INT64, row))
    model = classifiers.model([*nodes, first, at], outputs, {ML: 1, "": 17})
    with pytest.raises(LoadFailed, match="SequenceAt.*convert it with zipmap=False"):
        session(model, tmp_path)


def test_other_sequence_outputs_are_refused_with_advice(tmp_path: Path) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model = graphs.model(
        [graphs.node("SequenceConstruct", "x", "x", to="y")],
        [graphs.value("x", ["n", 2])],
        [helper.make_value_info("y", kind)],
    )
    with pytest.raises(LoadFailed, match='"y" is a seq.*make each of its tensors an output'):
        session(model, tmp_path)


def test_an_operator_named_zipmap_in_another_domain_is_kept() -> None:
    node = zipmap("x", "y", INTS)
    node.domain = "com.example"
    model = classifiers.model([node], [maps("y", INTS)], {"com.example": 1})
    assert unzipped(memoryview(model.SerializeToString())) is None


@pytest.mark.parametrize("more", [{}, {"classlabels_int64s": [1], "classlabels_strings": ["a"]}])
def test_a_zipmap_without_valid_classes_is_kept(more: dict[str, list[object]]) -> None:
    node = classifiers.ml("ZipMap", ["x"], ["y"], **more)
    model = classifiers.model([node], [maps("y", INTS)])
    assert unzipped(memoryview(model.SerializeToString())) is None


def test_the_digest_is_of_the_original_file(tmp_path: Path) -> None:
    version = graphs.save(classifiers.model(*classifiers.linear(INTS)), tmp_path / "m")
    loaded = load(version, ModelConfig(), cores=1)
    data = (version / "model.onnx").read_bytes()
    assert loaded.sha256 == hashlib.sha256(data).hexdigest() and loaded.file_bytes == len(data)
    assert loaded.labels == {"probabilities": ("-3", "0", "7")}
    assert loaded.notes[0] == (
        'ZipMap was removed: output "probabilities" is FP32 [-1, 3], labels -3, 0, 7'
    )


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 3]])
def test_a_number_of_classes_other_than_of_columns_is_refused(
    classes: list[int], tmp_path: Path
) -> None:
    nodes, outputs = classifiers.linear(INTS)
    nodes[-1] = zipmap("shares", "probabilities", classes)
    version = graphs.save(classifiers.model(nodes, outputs), tmp_path / "m")
    why = f'"probabilities" has 3 columns, and the file\'s ZipMap names {len(classes)} classes'
    with pytest.raises(LoadFailed, match=why):
        load(version, ModelConfig(), cores=1)


@given(
    classes=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20, unique=True)
    | st.lists(st.text(max_size=20), min_size=1, max_size=20, unique=True)
)
def test_classes_are_read_as_they_were_written(classes: classifiers.Classes) -> None:
    model = classifiers.model([zipmap("x", "y", classes)], [maps("y", classes)])
    found = unzipped(memoryview(model.SerializeToString()))
    assert found is not None and found.labels == {"y": tuple(map(str, classes))}
    plain = onnx.load_from_string(found.model)
    onnx.checker.check_model(plain)
    assert [node.op_type for node in plain.graph.node] == ["Identity"]


@given(data=st.data())
def test_damaged_bytes_raise_no_error(data: st.DataObject) -> None:
    whole = bytearray(classifiers.model(*classifiers.linear(STRINGS)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = unzipped(memoryview(whole[: data.draw(st.integers(0, len(whole)))]))
    assert found is None or found.labels


@pytest.mark.parametrize("snapshot", [True, False])
def test_weights_may_be_in_a_file_beside_the_model(snapshot: bool, tmp_path: Path) -> None:
    proto = classifiers.network(INTS)
    (wanted,) = session(proto, tmp_path / "whole").run((X,), (1,))
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    onnx.save_model(
        proto, version / "model.onnx", save_as_external_data=True, location="it.data",
        size_threshold=0,
    )  # fmt: skip
    if snapshot:
        (instance,) = load(version, ModelConfig(), cores=1).instances
        run = instance.run
    else:
        run = Session(version / "model.onnx", SessionOptions()).run
    np.testing.assert_allclose(run((X,), (1,))[0], wanted, rtol=1e-5)
