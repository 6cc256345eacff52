"""Anything other than a model file is refused at once, with its kind."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.core.errors import LoadFailed
from service.engine.onnx_file.opening import MOST_BYTES, open_model
from tests.parts import LINUX
from tests.repositories import scale

Put = Callable[[Path], object]


def large(path: Path) -> None:
    path.write_bytes(scale(2))
    os.truncate(path, MOST_BYTES + 1)


OTHERS: dict[str, tuple[Put, str]] = {
    "nothing": (lambda path: None, "model.onnx cannot be read: No such file"),
    "folder": (Path.mkdir, "model.onnx is not a file"),
    "pipe": (os.mkfifo, "model.onnx is not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
    "loop": (lambda path: path.symlink_to(path), "model.onnx.* symbolic links"),
    "empty": (Path.touch, "is not an ONNX model: it is empty"),
    "zeros": (lambda path: path.write_bytes(bytes(99)), "a field without a number at byte 1"),
    "zip": (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), "it is a zip archive"),
    "text": (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "it is a web page"),
    "more than ONNX allows": (large, "model.onnx.*2147483648 bytes"),
}


@LINUX.unless(sys.platform == "linux")
@pytest.mark.parametrize(("put", "why"), OTHERS.values(), ids=OTHERS.keys())
def test_files_that_are_not_a_model_are_refused_with_their_kind(
    put: Put, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    put(path)
    with pytest.raises(LoadFailed, match=why), open_model(path):
        pass


def test_a_model_is_opened_at_its_start_and_closed_afterwards(tmp_path: Path) -> None:
    path, link = tmp_path / "model.onnx", tmp_path / "link.onnx"
    path.write_bytes(scale(2))
    link.symlink_to(path)
    for each in (path, link):
        with open_model(each) as file:
            assert file.read() == scale(2)
        assert file.closed


def test_read_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(scale(2))
    with (
        pytest.raises(LoadFailed, match="model.onnx cannot be read: Input/output"),
        open_model(path),
    ):
        raise OSError(5, os.strerror(5))
