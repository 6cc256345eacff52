"""Only changes of the files that a version is loaded from change its digest."""

from pathlib import Path

import pytest

from tests.engine.storage.test_folder import seen
from tests.repositories import put, scale


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A model without a version folder; its version is 1."""
    (tmp_path / "m/weights").mkdir(parents=True)
    (tmp_path / "m/model.onnx").write_bytes(scale(1))
    return tmp_path / "m"


@pytest.mark.parametrize(
    "name",
    ["serving.toml", "golden.npz", "report.json", "README.md", ".hidden", "2/model.onnx"],
)
def test_unrelated_files_do_not_change_the_revision(flat: Path, name: str) -> None:
    before = seen(flat).revision(1)
    (flat / name).parent.mkdir(exist_ok=True)
    (flat / name).write_text("version = 1" if name == "serving.toml" else "")
    assert seen(flat).revision(1) == before


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.onnx.data", "weights/0", "1/model.onnx", "weights.bin"]
)
def test_its_file_and_external_data_change_the_revision(flat: Path, name: str) -> None:
    before = seen(flat).revision(1)
    (flat / name).parent.mkdir(exist_ok=True)
    (flat / name).write_bytes(b"other")
    assert seen(flat).revision(1) != before


def test_a_version_that_links_outside_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(1))
    folder = tmp_path / "m"
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (folder / "9").symlink_to(outside)
    before = seen(folder).files[9]
    (outside / "large").touch()
    assert seen(folder).files[9] == before
