"""Opens a model's file. Pipes, devices and gigabytes of zeros are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.core.errors import FileUnreadable, LoadFailed
from service.core.magic import HEAD
from service.engine.onnx_file.scan import check_head
from service.files import open_regular

MOST_BYTES = 2**31
"""Protobuf's limit for one message; larger models have external data."""


@contextmanager
def open_model(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that begins like an ONNX model, for reading from its start.

    Raises:
        LoadFailed: the file is not such a file, cannot be read, or is larger than ONNX allows.
    """
    try:
        with open_regular(path, MOST_BYTES) as file:
            check_head(file.read(HEAD), path.name)
            file.seek(0)
            yield file
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from None
    except OSError as error:
        raise LoadFailed(f"{path.name} cannot be read: {error.strerror or error}") from error
