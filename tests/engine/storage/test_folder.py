"""A model's folder is read; entries that are not versions or are broken are named."""

import json
from pathlib import Path

import pytest

from service.core.versions import Pin, PolicyKind, VersionPolicy
from service.engine.storage.folder import ModelFolder, read_model
from service.engine.storage.pin_file import write_pin
from service.engine.storage.root import Root
from tests.repositories import golden, put, scale


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        put(tmp_path, "m", number, scale(number))
    return tmp_path / "m"


def seen(folder: Path) -> ModelFolder:
    model = read_model(folder)
    assert model is not None
    return model


@pytest.mark.parametrize("name", [".staging", "0", "-1", "1.5", "01", "latest", "3.tmp", "١"])
def test_only_positive_integers_are_versions(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    assert seen(folder).numbers == (1, 2, 10)


def test_a_file_is_not_a_version(folder: Path) -> None:
    (folder / "3").write_bytes(b"")
    assert seen(folder).numbers == (1, 2, 10)


def test_a_folder_without_version_or_settings_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".hidden/1").mkdir(parents=True)
    assert Root.of(tmp_path).read({}).models == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[versions", "model.toml: "),
        ("[versions]\npolicy = 'newest'", "model.toml: versions.policy"),
        ("[versions]\npolicy = 'specific'", "model.toml: versions.numbers"),
        ("[versions]\nnumbers = [1]", "model.toml: versions.numbers"),
        ("[gate]\nmax_slowdown = 0", "model.toml: gate.max_slowdown"),
        (
            "[gate.outputs.y]\nmin_cosin = 1",
            "model.toml: gate.outputs.y.min_cosin is not a setting",
        ),
    ],
)
def test_unreadable_settings_are_described(folder: Path, text: str, problem: str) -> None:
    (folder / "model.toml").write_text(text)
    assert seen(folder).problem.startswith(problem)


def test_settings_choose_the_loaded_versions(folder: Path) -> None:
    (folder / "model.toml").write_text("[versions]\npolicy = 'specific'\nnumbers = [2, 1]")
    assert seen(folder).policy == VersionPolicy(PolicyKind.SPECIFIC, 1, frozenset({1, 2}))


def test_settings_of_a_client_override_the_file(folder: Path) -> None:
    (folder / "model.toml").write_text("[batching]\nmax_batch_size = 8\ntolerance = 0.5")
    model = read_model(folder, {"batching": {"max_batch_size": 4}})
    assert model is not None
    assert (model.config.batching.max_batch_size, model.config.batching.tolerance) == (4, 0.5)


def test_a_written_pin_is_read_unchanged(folder: Path) -> None:
    for pin in (Pin(1, 2, True, True), Pin(2, v1_outputs=("y", 'a "b"')), Pin(2), None):
        assert write_pin(folder, pin) == ""
        assert seen(folder).pin == pin
    assert not list(folder.glob(".serving*"))


@pytest.mark.parametrize("text", ["", "version = 0", "version = 'x'", "version", "other = 1"])
def test_an_unreadable_pin_is_described(folder: Path, text: str) -> None:
    (folder / "serving.toml").write_text(text)
    model = seen(folder)
    assert model.pin is None and model.pin_problem.startswith("serving.toml")


def test_a_pin_that_cannot_be_written_raises_no_error(tmp_path: Path) -> None:
    assert write_pin(tmp_path / "nowhere", Pin(1)) == (
        "nowhere/serving.toml cannot be written: No such file or directory (ENOENT)"
    )


def test_the_revision_depends_on_files_and_settings_only(
    folder: Path,
) -> None:
    def changed() -> bool:
        nonlocal before
        before, last = seen(folder).revision(1), before
        return before != last

    before = seen(folder).revision(1)
    (folder / "1/report.json").write_text(json.dumps({"recipe": "qdq"}))
    (folder / "model.toml").write_text("[gate]\nmax_slowdown = 2\n[versions]\ncount = 2")
    golden(folder, 1)
    assert not changed()
    (folder / "1/weights.bin").write_bytes(b"1")
    assert changed()
    (folder / "model.toml").write_text("[batching]\nmax_batch_size = 2")
    assert changed()


def test_the_evidence_depends_on_golden_set_gate_settings_and_pin(folder: Path) -> None:
    def evidence() -> str:
        return seen(folder).found()[0].evidence

    kinds = [evidence()]
    golden(folder, 1)
    kinds.append(evidence())
    (folder / "model.toml").write_text("[gate]\nmax_slowdown = 2")
    kinds.append(evidence())
    write_pin(folder, Pin(1, forced=True))
    kinds.append(evidence())
    assert len(set(kinds)) == 4


def test_a_version_whose_files_still_change_is_not_settled(folder: Path) -> None:
    before = seen(folder)
    put(folder.parent, "m", 11, scale(1))
    with (folder / "2/model.onnx").open("ab") as file:
        file.write(b"more")
    assert [each.settled for each in seen(folder).found(before)] == [True, False, True, False]
    assert all(each.settled for each in seen(folder).found(seen(folder)))


def test_the_golden_set_of_a_version_without_a_folder_is_that_of_the_model(tmp_path: Path) -> None:
    flat = tmp_path / "m"
    flat.mkdir()
    (flat / "model.onnx").write_bytes(scale(1))
    assert seen(flat).of_version(1).golden == flat / "golden.npz"
    (flat / "2").mkdir()
    assert seen(flat).of_version(2).golden == flat / "golden.npz"
    (flat / "2/golden.npz").touch()
    assert seen(flat).of_version(2).golden == flat / "2/golden.npz"


def test_the_model_file_is_chosen_by_model_toml(folder: Path) -> None:
    (folder / "2/small.onnx").write_bytes(scale(5))
    assert seen(folder).of_version(2).model.name == "model.onnx"
    before = seen(folder).revision(2)
    (folder / "model.toml").write_text('file = "small.onnx"')
    assert seen(folder).of_version(2).model.name == "small.onnx"
    assert seen(folder).of_version(1).model.name == "model.onnx"
    assert seen(folder).revision(2) != before


@pytest.mark.parametrize(
    "file", ["../x.onnx", "/x.onnx", "a//x.onnx", "./x.onnx", "a/../x.onnx", "x.pt", "a\\\\x.onnx"]
)
def test_a_file_outside_of_the_version_is_refused(folder: Path, file: str) -> None:
    (folder / "model.toml").write_text(f'file = "{file}"')
    expected = "model.toml: file: expected an .onnx file inside the version's folder"
    assert seen(folder).problem.startswith(expected)
