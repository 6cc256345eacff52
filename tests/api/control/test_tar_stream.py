"""Archives of common writers are read in pieces; links, devices and bombs are refused."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.control.tar_stream import TarReader
from service.core.errors import (
    BodyTooLarge,
    InvalidName,
    MalformedRequest,
    QuantserveError,
    UploadRejected,
)
from service.engine.storage.publishing import File
from tests.parts import TAR

LONG = "/".join(["a" * 90] * 3)
FILES = {"model.onnx": b"graph", "data/w.bin": bytes(1300), "empty": b"", LONG: b"long"}


def archive(
    files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, **headers: str
) -> bytes:  # fmt: skip
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), headers
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


def entry(kind: bytes, name: str = "x", size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


def read(chunks: Iterable[bytes]) -> dict[str, bytes]:
    reader, files, name = TarReader(), dict[str, bytes](), ""
    for chunk in chunks:
        for piece in reader.feed(chunk):
            if isinstance(piece, File):
                name = piece.name
                assert name not in files
                files[name] = b""
            else:
                files[name] += piece
    reader.close()
    return files


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 10**6])
def test_every_tar_format_is_read_in_pieces_of_any_size(form: int, size: int) -> None:
    files = {name: data for name, data in FILES.items() if form != tarfile.USTAR_FORMAT or
             len(name) < 100}  # fmt: skip
    assert read(cut(archive(files, form), size)) == files


@pytest.mark.parametrize("flags", [[], ["--format=v7"], ["--format=posix"], ["--format=ustar"],
                                   ["--format=gnu"]])  # fmt: skip
def test_archives_of_the_tar_command_are_read(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "data/w.bin").write_bytes(bytes(9))
    command = ["tar", *flags, "-C", str(tmp_path), "-cf", "-", "."]
    TAR.need(shutil.which("tar"))
    made = subprocess.run(command, capture_output=True, check=True).stdout
    assert read([made]) == {"model.onnx": b"graph", "data/w.bin": bytes(9)}


def test_a_size_in_an_extended_header_counts() -> None:
    """For example for files of more than 8 GB."""
    data = archive({"w": b"abc"}, size="3", mtime="1.5", comment="none")
    assert read([data]) == {"w": b"abc"}


END = bytes(1024)
SPARSE = archive({"w": b""}, **{"GNU.sparse.major": "1", "GNU.sparse.name": "../x"})
GLOBAL = tarfile.TarInfo.create_pax_global_header({"path": "../x"}) + entry(b"0") + END
BAD: dict[str, tuple[bytes, type[QuantserveError], str]] = {
    "a symbolic link": (entry(b"2", link="/etc/passwd"), UploadRejected, "'x' .* symbolic link"),
    "a hard link": (entry(b"1", link="/etc/passwd"), UploadRejected, "a hard link"),
    "a character device": (entry(b"3"), UploadRejected, "a device"),
    "a block device": (entry(b"4"), UploadRejected, "a device"),
    "a pipe": (entry(b"6"), UploadRejected, "a named pipe"),
    "a contiguous file": (entry(b"7"), UploadRejected, "of type b'7'"),
    "another volume": (entry(b"M"), UploadRejected, "of type b'M'"),
    "a long link": (entry(b"K", size=4), UploadRejected, "of type b'K'"),
    "GNU's sparse file": (entry(b"S"), UploadRejected, "a sparse file"),
    "POSIX's sparse file": (SPARSE, UploadRejected, "a sparse file"),
    "a path for all": (GLOBAL, UploadRejected, "for all of its entries"),
    "a folder elsewhere": (entry(b"5", "../x"), InvalidName, "'..'"),
    "a folder at the root": (entry(b"5", "/x"), InvalidName, "''"),
    "a hidden folder": (entry(b"5", ".git"), InvalidName, "expected"),
    "a long extended header": (entry(b"x", size=2**31), BodyTooLarge, "2147483648 bytes"),
    "a long name": (entry(b"L", size=2**16 + 1), BodyTooLarge, "65537 bytes"),
    "a broken extended header": (entry(b"x", size=9) + b"9 a=b\nxxx".ljust(512),
                                 MalformedRequest, "extended header"),
    "a record without end": (entry(b"x", size=9) + b"99 path=x".ljust(512),
                             MalformedRequest, "extended header"),
    "a record of no length": (entry(b"x", size=9) + b"0 path=x\n".ljust(512),
                              MalformedRequest, "extended header"),
    "a size that is none": (archive({"w": b""}, size="-1"), MalformedRequest, "'-1' bytes"),
    "a huge size": (archive({"w": b""}, size="9" * 30), MalformedRequest, "bytes"),
    "a negative size": (entry(b"0", size=-512), MalformedRequest, "-512 bytes"),
    "a size beyond the end": (entry(b"0", size=600) + bytes(512), MalformedRequest, "88 bytes of"),
    "a size that is short": (entry(b"0", size=1) + b"a" * 1024, MalformedRequest, "of entry 2"),
    "no end": (entry(b"0", size=1) + b"a".ljust(512, b"\0"), MalformedRequest, "its end"),
    "half a header": (entry(b"0")[:300], MalformedRequest, "cut short"),
    "two archives": (archive(FILES) * 2, MalformedRequest, "followed by other bytes"),
    "nothing": (b"", MalformedRequest, "empty"),
    "no tar": (b"x" * 512, MalformedRequest, "not a tar archive"),
    "gzip": (b"\x1f\x8b".ljust(512, b"x"), MalformedRequest, "application/gzip"),
    "a million entries": (entry(b"5", "d") * 20_000, BodyTooLarge, "16384 entries"),
    "a million extended headers": (entry(b"x") * 20_000, BodyTooLarge, "16384 entries"),
}  # fmt: skip


@pytest.mark.parametrize("chunked", [lambda data: [data], lambda data: cut(data, 500)])
@pytest.mark.parametrize(("data", "kind", "text"), BAD.values(), ids=BAD.keys())
def test_entries_that_are_not_files_are_refused(
    data: bytes, kind: type[QuantserveError], text: str,
    chunked: Callable[[bytes], list[bytes]],
) -> None:  # fmt: skip
    with pytest.raises(kind, match=text):
        read(chunked(data))


@pytest.mark.parametrize("at", range(0, len(archive(FILES).rstrip(b"\0")) + 97, 97))
def test_a_truncated_archive_is_always_refused(at: int) -> None:
    with pytest.raises(MalformedRequest):
        read([archive(FILES).rstrip(b"\0")[:at]])


@given(st.data())
def test_a_damaged_archive_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(archive(FILES, data.draw(st.sampled_from([1, 2]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(QuantserveError):
        read(cut(bytes(whole), data.draw(st.integers(100, 5000))))
