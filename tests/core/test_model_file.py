"""The choice of the model file in a folder."""

import pytest

from service.core.model_file import Choice, Entry, Kind, choose, is_hidden, is_model_file


def files(*names: str) -> list[Entry]:
    return [Entry(name) for name in names]


@pytest.mark.parametrize(
    ("entries", "wanted", "file"),
    [
        (files("model.onnx"), "", "model.onnx"),
        (files("model.onnx", "other.onnx"), "", "model.onnx"),
        (files("net.ONNX", "config.json"), "", "net.ONNX"),
        (files("a.onnx", "b.onnx"), "b.onnx", "b.onnx"),
        (files("model.onnx"), "b.onnx", "model.onnx"),
        ([Entry("model.onnx", Kind.FOLDER, (Entry("m.onnx"),))], "", "model.onnx/m.onnx"),
        ([Entry("onnx", Kind.FOLDER, (Entry("model.onnx"),))], "", "onnx/model.onnx"),
        ([Entry("onnx", Kind.FOLDER, (*files("a.onnx", "b.onnx"),))], "onnx/b.onnx", "onnx/b.onnx"),
        (files(".model.onnx", "lost+found"), "", ""),
    ],
)
def test_the_model_file_is_chosen(entries: list[Entry], wanted: str, file: str) -> None:
    found = choose(entries, wanted)
    assert (found.file, found.problem) == (file, "")


def test_files_not_chosen_are_listed() -> None:
    assert choose(files("model.onnx", "a.onnx")) == Choice("model.onnx", "", ("a.onnx",))


@pytest.mark.parametrize(
    ("entries", "wanted", "problem"),
    [
        (files("a.onnx", "b.onnx"), "", "several .onnx files, none named model.onnx"),
        (files("a.onnx"), "b.onnx", 'file = "b.onnx", which is not here'),
        ([Entry("m.onnx", problem="is a link to nothing")], "", "m.onnx is a link to nothing"),
        ([Entry("m.onnx", Kind.FOLDER)], "", "m.onnx is a folder, and there is no .onnx file"),
    ],
)
def test_a_problem_names_the_files_found(entries: list[Entry], wanted: str, problem: str) -> None:
    assert problem in choose(entries, wanted).problem


def test_entries_of_file_systems_are_hidden() -> None:
    assert all(map(is_hidden, (".git", "..data", "lost+found", "__MACOSX")))
    assert not is_model_file(".onnx") and is_model_file("x.onnx")
