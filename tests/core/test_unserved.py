"""Reasons why entries are not served, and what to do."""

import pytest

from service.core.unserved import NOT_A_VERSION, file_reason, folder_reason, listed


@pytest.mark.parametrize(
    ("name", "flat", "told"),
    [
        ("README.md", False, ""),
        ("LICENSE", False, ""),
        ("config.pbtxt", False, ""),
        ("model.PT", False, "PyTorch is not served, only ONNX is"),
        ("m.tflite", True, "TensorFlow Lite is not served"),
        ("model.tar.gz", False, "an archive is not served: unpack it"),
        ("3", False, "a version is a folder: put its file at 3/model.onnx"),
        ("weights.data", False, "external data without its .onnx file"),
        ("weights.data", True, ""),
        ("unknown.xyz", False, "not a model: only .onnx files are served"),
    ],
)
def test_reasons_for_unserved_files(name: str, flat: bool, told: str) -> None:
    found = file_reason(name, flat)
    assert told in found if told else found == ""


@pytest.mark.parametrize(
    ("name", "models", "told"),
    [
        ("v2", [], "rename it to 2"),
        ("v1", [], "rename it to 4"),
        ("0", [], "the lowest version is 1: rename it, for example to 4"),
        ("9" * 19, [], "a version has at most 18 digits"),
        ("new", ["model.onnx"], "it holds model.onnx, but a version is named by a number"),
        ("notes", [], NOT_A_VERSION),
    ],
)
def test_reasons_for_unserved_folders(name: str, models: list[str], told: str) -> None:
    assert told in folder_reason(name, models, False, frozenset({1, 3}))


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcde")) == "a, b, c and 2 more"
