"""Recognition of files that are not ONNX models."""

import io
import pickle
import tarfile
import zipfile

import pytest

from service.core.magic import foreign


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"0")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return file.getvalue()[:512]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "git lfs pull"),
        (_zip(), "a zip archive"),
        (_tar(), "a tar archive"),
        (pickle.dumps({"weights": 1}), "a pickle"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x1c\0\0\0ORTM", "ONNX Runtime's own format"),
        (b"\n  <!DOCTYPE html><html>", "a web page"),
    ],
)
def test_a_file_of_another_format_is_named(head: bytes, said: str) -> None:
    assert said in foreign(head)


@pytest.mark.parametrize("head", [b"\x08", b"\x08\x08\x12\x07pytorch", b"\x3a\x05"])
def test_possible_onnx_files_are_not_named_as_another_format(head: bytes) -> None:
    assert foreign(head) == ""
