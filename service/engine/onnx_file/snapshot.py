"""The files of a version, read once, from which a session is loaded.

A file that other processes may write is never mapped: if it is truncated, the process dies of
SIGBUS; if it is overwritten, the answers change without passing the gate. So a snapshot holds the
model and its external data in private memory. The same bytes are scanned, hashed and passed to ONNX
Runtime. They are released once the session is loaded. For another session of the same version, the
files are read again and compared by digest.
"""

import hashlib
import mmap
import os
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import onnxruntime as ort

from service.core.errors import LoadFailed
from service.engine.host.paths import leads_outside
from service.engine.onnx_file.external import ExternalData
from service.engine.onnx_file.inline import inlined
from service.engine.onnx_file.opening import open_model
from service.files import open_regular, unnamed_file

EXTERNAL = "session.model_external_initializers_file_folder_path"
FROM_MEMORY = "add_external_initializers_from_files_in_memory"
"""A method of ``onnxruntime.SessionOptions`` that older releases do not have."""
BLOCK = 2**20
ANY_SIZE = 2**63
"""Limit for external data, which may be larger than the range that the model uses."""


class Source(Protocol):
    """A model with its external data."""

    @property
    def name(self) -> str:
        """The name of the model's file, for messages."""

    def model(self) -> memoryview:
        """Return the bytes of the model."""

    def beside(self, location: str) -> bytes:
        """Return the bytes of a file that the model names.

        Raises:
            OSError, ValueError: the file cannot be read, or is not a file of the version.
        """

    def replace(self, model: bytes) -> None:
        """Replace the model by a changed one that names the same files. Views of the old model must
        not be used after this call."""

    def give(self, runtime: ort.SessionOptions, model: bytes | None) -> str | bytes:
        """Return the path or bytes that ONNX Runtime opens. ``model`` is a changed model that names
        the same files, or None."""


class ModelFile:
    """A model in a folder of the user, for commands. ONNX Runtime opens and maps the files itself,
    so that large files cost no memory."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._changed: bytes | None = None

    def model(self) -> memoryview:
        """See ``Source``."""
        if self._changed is not None:
            return memoryview(self._changed)
        with open_model(self._path) as file:
            return memoryview(file.read())

    def beside(self, location: str) -> bytes:
        """See ``Source``."""
        return read_beside(self._path.parent, location)

    def replace(self, model: bytes) -> None:
        """See ``Source``."""
        self._changed = model

    def give(self, runtime: ort.SessionOptions, model: bytes | None) -> str | bytes:
        """See ``Source``."""
        model = model or self._changed
        if model is None:
            return str(self._path)
        runtime.add_session_config_entry(EXTERNAL, str(self._path.parent))
        return model


class Snapshot:
    """The files of a version, read into memory of this process.

    ``sha256`` is the digest of the model in hexadecimal; ``bytes`` is the size of all its files.
    """

    def __init__(self, path: Path) -> None:
        """Read the model; its external data follows with ``add``.

        Raises:
            LoadFailed: the model cannot be read, or the file does not begin like a model.
        """
        self.name = path.name
        self._path = path
        self._memory, self.sha256, self.bytes = _copied(path)
        self._sums: dict[str, str] = {}
        self._ends: dict[str, int] = {}
        self._external: dict[str, bytes] = {}
        self._close = weakref.finalize(self, os.close, self._memory)

    def add(self, needed: Iterable[ExternalData]) -> None:
        """Read the files that the model names.

        Raises:
            LoadFailed: a file is shorter than the model says, or the model cannot be loaded from
                memory.
            OSError: a file cannot be read.
        """
        for each in needed:
            # Only the bytes that the tensors need: the rest may be gigabytes.
            with open_regular(self._path.parent / each.location, ANY_SIZE) as file:
                data = file.read(each.end)
            if len(data) < each.end:
                raise LoadFailed(f"external data {each.location!r:.200} was cut short meanwhile")
            self._external[each.location] = data
            self._sums[each.location] = hashlib.sha256(data).hexdigest()
            self._ends[each.location] = each.end
            self.bytes += len(data)
        if self._external:
            self._inline()

    def again(self) -> "Snapshot":
        """Read the same files again.

        Raises:
            LoadFailed: the files have changed.
        """
        try:
            other = Snapshot(self._path)
            changed = other.sha256 != self.sha256
            ends = {} if changed else self._ends
            other.add(ExternalData(name, "", end) for name, end in ends.items())
        except OSError as error:
            raise LoadFailed(f"{self.name} cannot be read again: {error.strerror}") from error
        if changed or other._sums != self._sums:
            raise LoadFailed(f"{self.name} or its external data changed while it was being loaded")
        return other

    def close(self) -> None:
        """Release the memory."""
        self._close()
        self._external = {}

    def model(self) -> memoryview:
        """See ``Source``. External data that ONNX Runtime can only read from files is inside."""
        if not os.fstat(self._memory).st_size:
            return memoryview(b"")
        # The garbage collector closes the map after the last view of it.
        return memoryview(mmap.mmap(self._memory, 0, access=mmap.ACCESS_READ))

    def beside(self, location: str) -> bytes:
        """See ``Source``."""
        if location not in self._external:
            raise ValueError("the model names no such file")
        return self._external[location]

    def replace(self, model: bytes) -> None:
        """See ``Source``; ``sha256`` and ``bytes`` stay those of the file."""
        os.ftruncate(self._memory, 0)
        os.lseek(self._memory, 0, os.SEEK_SET)
        _write(self._memory, model)

    def give(self, runtime: ort.SessionOptions, model: bytes | None) -> str | bytes:
        """See ``Source``."""
        if self._external and hasattr(runtime, FROM_MEMORY):
            data = list(self._external.values())
            add = getattr(runtime, FROM_MEMORY)
            add(list(self._external), data, [len(each) for each in data])
        os.lseek(self._memory, 0, os.SEEK_SET)  # macOS opens a descriptor at its current position
        # A path instead of bytes: from bytes, ONNX Runtime makes a second copy.
        return model or f"{_DESCRIPTORS}/{self._memory}"

    def _inline(self) -> None:
        # ONNX Runtime accepts external data from memory for initializers of the main graph only.
        apart = not hasattr(ort.SessionOptions, FROM_MEMORY)
        model = inlined(self.model(), self._external, everything=apart)
        if model is not None:
            self.replace(model)


_DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"


def read_beside(folder: Path, location: str) -> bytes:
    """Read a file that the model in a folder names.

    Raises:
        OSError: the file cannot be read.
        ValueError: the path leads outside the folder.
    """
    path = folder / location
    if leads_outside(folder, path):
        raise ValueError("the data leads outside the folder of the version")
    return path.read_bytes()


def _copied(path: Path) -> tuple[int, str, int]:
    """Copy a file to private memory. Return its descriptor, SHA-256 and size."""
    memory, sum_, size = unnamed_file(), hashlib.sha256(), 0
    try:
        with open_model(path) as file:
            while block := file.read(BLOCK):
                _write(memory, block)
                sum_.update(block)
                size += len(block)
    except BaseException:
        os.close(memory)
        raise
    return memory, sum_.hexdigest(), size


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
