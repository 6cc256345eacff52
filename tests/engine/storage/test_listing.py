"""A listing describes unreadable entries, and reads only the folders that are needed."""

import os
from pathlib import Path

import pytest

from service.core.model_file import Entry, Kind
from service.engine.storage.listing import list_model, list_root, listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("m/1/model.onnx", "m/1/onnx/a.onnx", "m/notes/deep/x.txt", "m/model.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def by_name(entries: tuple[Entry, ...]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


def test_folders_are_listed_only_as_deep_as_model_files_may_be(root: Path) -> None:
    found = by_name(list_model(root / "m", root))
    assert set(found) == {"1", "notes", "model.toml"}
    version = by_name(found["1"].inside)
    assert [entry.name for entry in version["onnx"].inside] == ["a.onnx"]
    assert by_name(found["notes"].inside)["deep"].inside == ()


def test_a_listing_of_the_root_reads_only_version_folders(root: Path) -> None:
    (root / "2").mkdir()
    (root / "2/model.onnx").write_text("")
    found = by_name(list_root(root))
    assert found["m"].inside == () and found["m"].kind is Kind.FOLDER
    assert [entry.name for entry in found["2"].inside] == ["model.onnx"]


def test_unusable_entries_have_a_reason(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "model.onnx"
    outside.write_text("")
    (root / "m/1/link.onnx").symlink_to(outside)
    (root / "m/1/nothing.onnx").symlink_to(root / "gone")
    os.mkfifo(root / "m/1/pipe.onnx")
    found = by_name(listing(root / "m/1", root, lambda *_: True))
    assert found["link.onnx"].problem == "leads outside the model repository"
    assert found["nothing.onnx"].problem == "is a link to nothing"
    assert found["pipe.onnx"].problem == "is not a file or a folder"
    assert found["model.onnx"].problem == ""
