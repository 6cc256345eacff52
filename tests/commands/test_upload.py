"""The command finds the external data beside a model, and never sends files from elsewhere."""

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto

from service.commands.upload import find_files
from service.core.errors import ConfigError


def model(path: Path, *locations: str) -> Path:
    graph = ModelProto()
    graph.graph.name = "g"
    for place in locations:
        tensor = graph.graph.initializer.add(name="w", dims=[1], data_type=1)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
    path.write_bytes(graph.SerializeToString())
    return path


def test_external_data_is_found_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("w", "data/v"):
        (tmp_path / name).write_bytes(bytes(4))
    net = model(tmp_path / "net.onnx", "./w", "data/v")
    found = {"model.onnx": net, "w": tmp_path / "w", "data/v": tmp_path / "data/v"}
    assert find_files(net, []) == found
    assert find_files(net, [tmp_path / "data/v"]) == found


def test_data_files_in_other_folders_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    net, weights = model(tmp_path / "a/net.onnx", "w"), tmp_path / "w"
    weights.write_bytes(bytes(4))
    assert find_files(net, [weights])["w"] == weights


def test_a_cache_of_links_is_followed(tmp_path: Path) -> None:
    """As in Hugging Face's cache: the names link to blobs in another folder."""
    (tmp_path / "blob").write_bytes(bytes(4))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/w").symlink_to(tmp_path / "blob")
    net = model(tmp_path / "snapshot/net.onnx", "w")
    assert find_files(net, [])["w"] == tmp_path / "snapshot/w"


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", ".ssh", "a b"])
def test_a_model_cannot_name_files_outside_its_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "m").mkdir()
    with pytest.raises(ConfigError, match="servers do not accept"):
        find_files(model(tmp_path / "m/net.onnx", location), [])


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'w', which is not next to it"):
        find_files(model(tmp_path / "net.onnx", "w"), [])


@pytest.mark.parametrize("name", ["model.onnx", "w"])
def test_two_files_with_the_same_name_are_refused(tmp_path: Path, name: str) -> None:
    net = model(tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match="would both be"):
        find_files(net, [Path("/a", name), Path("/b", name)])


def test_a_file_that_is_no_model_is_sent_anyway(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    assert find_files(tmp_path / "x", []) == {"model.onnx": tmp_path / "x"}
