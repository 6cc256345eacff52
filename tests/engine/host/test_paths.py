"""No name and no link leads outside the model repository."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import InvalidName
from service.engine.host.paths import check_model_name, check_version, leads_outside, version_file

ROOT = Path("/repository")
BAD_NAMES = [
    "", ".", "..", ".hidden", "-rf", "a/b", "a\\b", "../a", "a\0", "a\n", "a b", "a" * 129,
    "%2e%2e", "ａ", "modеl", "a‮b", "é", "a:b", "a;b", "~", "CON ",
]  # fmt: skip
"""Including a full-width a, a Cyrillic e, and a character that reverses the text direction."""
BAD_FILES = [
    "model.onnx", "1", "1/", "1//model.onnx", "/1/model.onnx", "0/model.onnx", "01/model.onnx",
    "-1/model.onnx", "١/model.onnx", "1/../2/model.onnx", "1/./model.onnx", "1/..", "../1/a.onnx",
    "1\\model.onnx", "1/a\\..\\b", "1/\0", "1/.hidden", "a/model.onnx", "1/" + "a/" * 9 + "b",
    "1/" + "a" * 200, "1/m\n", "9" * 19 + "/model.onnx", "1/c:/x",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_model_name(name)


@pytest.mark.parametrize("name", ["digits", "a", "_", "MiniLM-L6_v2.int8", "a" * 128, "7"])
def test_a_valid_name_is_accepted(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize("number", [0, -1, 10**18])
def test_a_version_is_a_positive_integer_of_bounded_length(number: int) -> None:
    with pytest.raises(InvalidName):
        check_version(number)


@pytest.mark.parametrize("path", BAD_FILES)
def test_an_invalid_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidName):
        version_file(path)


def test_a_file_in_a_folder_of_a_version_is_accepted() -> None:
    number, path = version_file("12/data/weights.bin")
    assert (number, str(path)) == (12, "data/weights.bin")


parts = st.sampled_from(["..", ".", "", "a", "1", "\\", "\0", "%2e", "/", "~", "a.b"])
anything = st.one_of(st.text(max_size=20), st.lists(parts, max_size=6).map("/".join))


@given(anything)
def test_every_accepted_name_is_a_folder_of_the_repository(name: str) -> None:
    try:
        check_model_name(name)
    except InvalidName:
        return
    assert (ROOT / name).resolve().parent == ROOT and name.isascii() and name.isprintable()


@given(anything)
def test_every_accepted_file_is_in_the_folder_of_its_version(path: str) -> None:
    try:
        number, inside = version_file(f"1/{path}")
    except InvalidName:
        return
    home = ROOT / "model" / str(number)
    assert home in (home / inside).resolve().parents and "\\" not in str(inside)


def test_links_are_checked_by_their_target(tmp_path: Path) -> None:
    """The root is a link, as in a mounted volume; its folders are links, as in a ConfigMap."""
    real, outside = tmp_path / "real", tmp_path / "outside"
    (real / "..2024" / "model" / "1").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "root").symlink_to(real)
    root = tmp_path / "root"
    (root / "..data").symlink_to("..2024")
    (root / "model").symlink_to("..data/model")
    (root / "away").symlink_to(outside)
    (root / "..2024/model/2").symlink_to("../../../outside")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert not leads_outside(root, root / "model")
    assert not leads_outside(root, root / "model/1")
    assert leads_outside(root, root / "away")
    assert leads_outside(root, root / "model/2")
    assert leads_outside(root, root / "loop")
    assert leads_outside(root, root / "dangling")
    assert leads_outside(root, root / "model/../../..")
    assert leads_outside(root, root / "a\0b")
