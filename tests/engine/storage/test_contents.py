"""An uploaded version contains its model and the data that the model names, and nothing else."""

from pathlib import Path, PurePosixPath

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import BodyTooLarge, InvalidName, UploadRejected
from service.engine.storage import contents
from service.engine.storage.contents import Arriving, check_contents, find_model, listed
from tests.engine import graphs
from tests.repositories import scale

MODEL = PurePosixPath("model.onnx")


def paths(*names: str) -> list[PurePosixPath]:
    return list(map(PurePosixPath, names))


@pytest.mark.parametrize(
    "name",
    [
        *("model.toml", "a/MODEL.TOML", "golden.npz", "report.json", "data/golden.npz"),
        *("custom.so", "custom.so.1", "hook.py", "hook.pyd", "a.dll", "a.dylib"),
    ],
)
def test_settings_golden_sets_and_code_cannot_be_uploaded(name: str) -> None:
    with pytest.raises(InvalidName, match=f'"{name}" cannot be uploaded'):
        Arriving().begin(name)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "a//b", "", "a\0"])
def test_paths_outside_the_folder_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        Arriving().begin(name)


def test_a_file_sent_twice_is_refused() -> None:
    arriving = Arriving()
    arriving.begin("model.onnx")
    with pytest.raises(UploadRejected, match='two files "model.onnx"'):
        arriving.begin("model.onnx")


@pytest.mark.parametrize("names", [("data", "data/w.bin"), ("data/w.bin", "data")])
def test_a_name_cannot_be_both_a_file_and_a_folder(names: tuple[str, str]) -> None:
    arriving = Arriving()
    arriving.begin(names[0])
    with pytest.raises(InvalidName, match="both as a file and as a folder"):
        arriving.begin(names[1])


def test_the_number_of_files_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FILES", 2)
    arriving = Arriving()
    arriving.begin("a")
    arriving.begin("b")
    with pytest.raises(BodyTooLarge, match="at most 2 files"):
        arriving.begin("c")


PARTS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join)), st.data())
def test_accepted_files_never_conflict(names: list[str], data: st.DataObject) -> None:
    """No file is the folder of another file, so every file can be written."""
    arriving = Arriving()
    for name in names:
        try:
            arriving.begin(name)
        except (InvalidName, UploadRejected):
            continue
    taken = set(arriving.files)
    assert len(taken) == len(arriving.files)
    assert not any(parent in taken for path in taken for parent in path.parents)


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["model.onnx"], "model.onnx"),
        (["other.onnx", "model.onnx", "w.bin"], "model.onnx"),
        (["net.onnx", "w.bin"], "net.onnx"),
        (["NET.ONNX", "sub/part.onnx"], "NET.ONNX"),
    ],
)
def test_the_model_is_found_by_its_name(names: list[str], model: str) -> None:
    assert find_model(paths(*names)) == PurePosixPath(model)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "no model.onnx at the top of the version's files, which are none"),
        (["w.bin"], "which are 'w.bin'$"),
        (["a.onnx", "b.onnx"], "several models: 'a.onnx', 'b.onnx'"),
        (["net/model.onnx", "net/w.bin"], "create the archive inside that folder"),
    ],
)
def test_files_without_one_model_are_refused(names: list[str], why: str) -> None:
    with pytest.raises(UploadRejected, match=why):
        find_model(paths(*names))


def test_a_list_of_names_is_shortened_and_escaped() -> None:
    assert listed(["b", "a\n"]) == "'a\\n', 'b'"
    assert listed(map(str, range(7))) == "'0', '1', '2', '3', '4' and 2 more"
    assert len(listed(["x" * 1000])) <= 200


def save_with_data(folder: Path) -> None:
    """A model that names "data/w.bin", which has 16 bytes."""
    proto = onnx.load_from_string(scale(2))
    proto.graph.initializer[0].CopyFrom(graphs.constant("factor", np.ones(4, np.float32)))
    (folder / "data").mkdir()
    onnx.save(
        proto, folder / "model.onnx", save_as_external_data=True, location="data/w.bin",
        size_threshold=0,
    )  # fmt: skip


def test_a_version_has_the_files_that_its_model_names(tmp_path: Path) -> None:
    save_with_data(tmp_path)
    came = dict.fromkeys(paths("model.onnx", "data/w.bin"))
    assert check_contents(tmp_path, came).external_files == ("data/w.bin",)


@pytest.mark.parametrize(
    ("names", "missing", "why"),
    [
        (["model.onnx"], ("data/w.bin",), "external data 'data/w.bin' is not in the upload"),
        (["model.onnx", "data/w.bin", "x"], (), "has 'x', which the model does not name"),
        (["model.onnx", "w.bin"], ("data/w.bin",), "'data/w.bin' is not in.*has 'w.bin'"),
    ],
)
def test_missing_and_additional_files_are_named(
    tmp_path: Path, names: list[str], missing: tuple[str, ...], why: str
) -> None:
    save_with_data(tmp_path)
    with pytest.raises(UploadRejected, match=why) as error:
        check_contents(tmp_path, dict.fromkeys(paths(*names)))
    assert error.value.missing == missing


def test_data_that_is_too_short_is_refused(tmp_path: Path) -> None:
    save_with_data(tmp_path)
    (tmp_path / "data/w.bin").write_bytes(b"short")
    with pytest.raises(UploadRejected, match="w.bin"):
        check_contents(tmp_path, dict.fromkeys(paths("model.onnx", "data/w.bin")))


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"PK\3\4")
    with pytest.raises(UploadRejected, match="it is a zip archive"):
        check_contents(tmp_path, {MODEL: ""})


def test_text_model_files_are_accepted_only_with_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scale(2))
    beside = paths("config.json", "1_Pooling/config.json", "modules.json")
    check_contents(tmp_path, dict.fromkeys([MODEL, *beside, *paths("tokenizer.json")]))
    with pytest.raises(UploadRejected, match="1_Pooling/config.json.*does not name"):
        check_contents(tmp_path, dict.fromkeys([MODEL, *beside]))
    with pytest.raises(UploadRejected, match="chat_template.jinja"):
        check_contents(
            tmp_path, dict.fromkeys([MODEL, *paths("tokenizer.json", "chat_template.jinja")])
        )


def test_image_model_files_are_accepted_only_with_a_preprocessor_config(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scale(2))
    beside = paths("preprocessor_config.json", "config.json")
    check_contents(tmp_path, dict.fromkeys([MODEL, *beside]))
    with pytest.raises(UploadRejected, match="config.json.*does not name"):
        check_contents(tmp_path, dict.fromkeys([MODEL, *paths("config.json")]))
    with pytest.raises(UploadRejected, match="merges.txt.*does not name"):
        check_contents(tmp_path, dict.fromkeys([MODEL, *beside, *paths("merges.txt")]))
