"""Versions in a folder, and the reasons why other entries are not versions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.layout import ModelLayout, model_layout, root_layout
from service.core.model_file import Entry, Kind, is_hidden, is_model_file
from service.core.names import VERSION
from service.core.unserved import is_harmless

Tree = dict[str, Any]
FILE = None
MODEL = {"model.onnx": FILE}


def entries(tree: Tree) -> tuple[Entry, ...]:
    """Return the entries of a folder. A name maps to None for a file, or to a dict for a folder."""
    return tuple(
        Entry(name) if inside is None else Entry(name, Kind.FOLDER, entries(inside))
        for name, inside in tree.items()
    )


def model(tree: Tree, wanted: str = "") -> ModelLayout:
    return model_layout(entries(tree), wanted)


def served(layout: ModelLayout) -> dict[int, str]:
    return {each.number: each.file for each in layout.versions if not each.problem}


def lines(layout: ModelLayout) -> dict[str, str]:
    return {each.path: each.reason for each in layout.passed_over}


@pytest.mark.parametrize(
    ("tree", "wanted", "files"),
    [
        ({"1": MODEL, "12": MODEL}, "", {1: "1/model.onnx", 12: "12/model.onnx"}),
        (MODEL, "", {1: "model.onnx"}),
        ({"resnet.onnx": FILE}, "", {1: "resnet.onnx"}),
        ({"1": {"model_quantized.onnx": FILE}}, "", {1: "1/model_quantized.onnx"}),
        ({"1": {"M.ONNX": FILE}}, "", {1: "1/M.ONNX"}),
        ({"1": {"a.onnx": FILE, "model.onnx": FILE}}, "", {1: "1/model.onnx"}),
        ({"1": {"a.onnx": FILE, "model.onnx": FILE}}, "a.onnx", {1: "1/a.onnx"}),
        ({"1": {"a.onnx": FILE, "b.onnx": FILE}}, "b.onnx", {1: "1/b.onnx"}),
        ({"1": {"model.onnx": MODEL | {"w": FILE}}}, "", {1: "1/model.onnx/model.onnx"}),
        ({"1": {"model.onnx": {"net.onnx": FILE}}}, "", {1: "1/model.onnx/net.onnx"}),
        ({"model.onnx": MODEL}, "", {1: "model.onnx/model.onnx"}),
        ({"onnx": MODEL, "config.json": FILE}, "", {1: "onnx/model.onnx"}),
        ({"onnx": MODEL | {"q.onnx": FILE}}, "q.onnx", {1: "onnx/q.onnx"}),
        ({"onnx": MODEL | {"q.onnx": FILE}}, "onnx/q.onnx", {1: "onnx/q.onnx"}),
        ({"3": {"onnx": MODEL}}, "", {3: "3/onnx/model.onnx"}),
        (MODEL | {"2": MODEL}, "", {1: "model.onnx", 2: "2/model.onnx"}),
        (MODEL | {"1": MODEL}, "", {1: "1/model.onnx"}),
        ({"1": MODEL}, "model_int8.onnx", {1: "1/model.onnx"}),
    ],
)
def test_versions_are_found_in_each_layout(tree: Tree, wanted: str, files: dict[int, str]) -> None:
    assert served(model(tree, wanted)) == files


@pytest.mark.parametrize(
    ("tree", "wanted", "problem"),
    [
        ({"1": {}}, "", "there is no model.onnx in the folder of the version"),
        ({"1": {"model.pt": FILE}}, "", "it holds model.pt (PyTorch is not served, only ONNX is"),
        ({"1": {"a.onnx": FILE, "b.onnx": FILE}}, "", "several .onnx files, none named model.onnx"),
        ({"1": {"a.onnx": FILE, "b.onnx": FILE}}, "", 'a.onnx, b.onnx; name one in model.toml'),
        ({"1": {"a.onnx": FILE}}, "c.onnx", 'says file = "c.onnx", which is not here: a.onnx'),
        ({"1": {"model.onnx": {}}}, "", "model.onnx is a folder, and there is no .onnx file in it"),
        ({"1": {"model.onnx": {"a.onnx": FILE, "b.onnx": FILE}}}, "", "is a folder, and several"),
        ({"encoder.onnx": FILE, "decoder.onnx": FILE}, "", "decoder.onnx, encoder.onnx; name one"),
    ],
)  # fmt: skip
def test_reasons_for_a_version_without_a_file(tree: Tree, wanted: str, problem: str) -> None:
    (version,) = model(tree, wanted).versions
    assert problem in version.problem


@pytest.mark.parametrize(
    ("name", "inside", "reason"),
    [
        ("v2", MODEL, "named by its number alone: rename it to 2"),
        ("v1", MODEL, "named by its number alone: rename it to 2"),  # 1 is taken
        ("01", MODEL, "rename it to 2"),
        ("²", MODEL, "rename it to 2"),
        ("1.0", MODEL, "rename it to 2"),
        ("9" * 20, MODEL, "at most 18 digits: rename it, for example to 2"),
        ("0", MODEL, "the lowest version is 1"),
        ("-1", MODEL, "the lowest version is 1"),
        (
            "latest",
            MODEL,
            "it holds model.onnx, but a version is named by a number: rename it to 2",
        ),
        ("assets", {}, "not a version: those are folders named 1, 2, 3"),
        ("2", FILE, "a version is a folder: put its file at 2/model.onnx"),
        ("model.onnx", FILE, "the folder 1 is version 1: move it to 2/model.onnx"),
        ("model.safetensors", FILE, "safetensors is not served, only ONNX is"),
        ("model.tflite", FILE, "TensorFlow Lite is not served"),
        ("saved_model.pb", FILE, "TensorFlow is not served"),
        ("model.tar.gz", FILE, "unpack it"),
        ("weights.bin", FILE, "external data without its .onnx file"),
        ("what", FILE, "not a model: only .onnx files are served"),
    ],
)
def test_reasons_for_unserved_entries_beside_versions(name: str, inside: Any, reason: str) -> None:
    layout = model({"1": MODEL, name: inside})
    assert served(layout) == {1: "1/model.onnx"}
    assert reason in lines(layout)[name]


@pytest.mark.parametrize(
    "name",
    [
        ".git", "..data", ".upload-0", "lost+found", "README.md", "LICENSE", "model.toml",
        "serving.toml", "golden.npz", "example.json", "report.html", "tokenizer.model", "vocab.txt",
    ],
)  # fmt: skip
def test_unrelated_entries_are_not_listed(name: str) -> None:
    assert lines(model({"1": MODEL, name: FILE})) == {}
    root = root_layout(entries({"m": {"1": MODEL}, name: FILE}))
    told = {each.path for each in (*root.passed_over, *root.own.passed_over)}
    assert told <= {"model.toml", "serving.toml", "golden.npz"}


def test_external_data_beside_a_flat_model_is_part_of_it() -> None:
    assert lines(model(MODEL | {"model.onnx_data": FILE, "w": {"0": FILE}})) == {}


def test_files_passed_over_for_another_are_listed() -> None:
    found = lines(model({"1": MODEL | {"fp16.onnx": FILE}}))
    why = "model.onnx is served instead; file in model.toml chooses another"
    assert found == {"1/fp16.onnx": why}


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (
            {},
            "as in 1/model.onnx or model.onnx; it is empty",
        ),
        ({"model.pt": FILE}, "it holds model.pt (PyTorch is not served, only ONNX is"),
        ({"a": {"1": {}}, "b": MODEL}, "it holds models (a, b): give this folder as --models"),
        (
            {"v1": MODEL},
            "as in 1/model.onnx or model.onnx; it holds v1",
        ),
        ({".upload-1": {}}, ""),  # being uploaded
    ],
)
def test_reasons_for_a_folder_that_is_not_a_model(tree: Tree, reason: str) -> None:
    layout = model(tree)
    assert layout.versions == ()
    assert reason in layout.reason and bool(reason) == bool(layout.reason)


@pytest.mark.parametrize(
    ("tree", "own", "folders"),
    [
        ({"m": MODEL}, {}, ("m",)),
        (MODEL | {"m": MODEL}, {1: "model.onnx"}, ("m",)),
        ({"resnet.onnx": FILE}, {1: "resnet.onnx"}, ()),
        ({"model.onnx": MODEL | {"w": FILE}}, {1: "model.onnx/model.onnx"}, ()),
        ({"1": MODEL, "2": MODEL}, {1: "1/model.onnx", 2: "2/model.onnx"}, ()),
        ({"7": {"1": MODEL}}, {}, ("7",)),
        ({"yolo.onnx": {"1": MODEL}}, {}, ("yolo.onnx",)),
        ({"a.onnx": FILE, "b.onnx": FILE}, {}, ()),
    ],
)
def test_models_of_the_root_are_found(
    tree: Tree, own: dict[int, str], folders: tuple[str, ...]
) -> None:
    layout = root_layout(entries(tree))
    assert (served(layout.own), layout.folders) == (own, folders)


@pytest.mark.parametrize(
    ("name", "inside", "reason"),
    [
        ("my model", {"1": MODEL}, "cannot be the name of a model (ASCII letters, digits"),
        ("my model", {"1": MODEL}, "rename it to my_model"),
        ("modèle", {"1": MODEL}, "rename it to modele"),
        ("-rf", {}, "rename it to rf"),
        ("模型", {}, "or '-'): rename it"),
        ("model.pt", FILE, "PyTorch is not served"),
        ("model.toml", FILE, "it belongs in the folder of a model"),
        ("a.onnx", FILE, "one of several .onnx files here: move it to a/model.onnx"),
    ],
)
def test_reasons_for_unserved_entries_of_the_root(name: str, inside: Any, reason: str) -> None:
    layout = root_layout(entries({"b.onnx": FILE, "c.onnx": FILE, name: inside}))
    told = {each.path: each.reason for each in (*layout.passed_over, *layout.own.passed_over)}
    assert reason in told[name]


NAMES = st.sampled_from([
    "1", "2", "01", "v2", "²", "0", "latest", "onnx", "model.onnx", "a.onnx", "b.onnx", "model.pt",
    "README.md", ".git", "w.bin", "my model", "model.toml", "lost+found", "config.pbtxt", "x",
])  # fmt: skip
TREES = st.recursive(
    st.none(), lambda inside: st.dictionaries(NAMES, inside, max_size=4), max_leaves=12
).map(lambda tree: tree or {})


@given(TREES, st.sampled_from(["", "a.onnx", "onnx/a.onnx", "x/y.onnx"]))
def test_every_entry_is_served_or_listed_or_harmless(tree: Tree, wanted: str) -> None:
    """No entry is skipped without a reason, whatever the folder contains."""
    layout = model(tree, wanted)
    told = lines(layout)
    flat = next((v for v in layout.versions if not VERSION.fullmatch(v.file.split("/")[0])), None)
    for name, inside in tree.items():
        number = int(name) if VERSION.fullmatch(name) and inside is not None else None
        if number is not None:
            assert number in {version.number for version in layout.versions}
        elif flat and (flat.file.split("/")[0] == name or not flat.file):
            assert flat.number == 1
        elif is_model_file(name) or not (flat or is_hidden(name) or is_harmless(name)):
            assert told[name]


@given(TREES, st.sampled_from(["", "a.onnx", "onnx/a.onnx"]))
def test_served_files_exist(tree: Tree, wanted: str) -> None:
    for layout in (model(tree, wanted), root_layout(entries(tree), wanted).own):
        for version in layout.versions:
            at: Any = tree
            for part in version.file.split("/") if not version.problem else ():
                at = at[part]
            assert version.problem or at is None
