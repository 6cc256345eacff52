"""The headers state the form of an upload; a compressed body is decompressed within the limit."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from service.api.control.upload_forms import FRAMING, STEP, files_of
from service.core.errors import (
    BodyTooLarge,
    MalformedRequest,
    QuantserveError,
    UnsupportedEncoding,
)
from service.engine.storage.publishing import File

TAR = {"content-type": "application/x-tar"}
GZIP = {"content-type": "application/gzip"}
LIMIT = 2**20


def archive(name: str = "w.bin", data: bytes = b"weights") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


async def read(
    body: bytes, headers: dict[str, str], size: int = 10**4
) -> list[File | bytes]:  # fmt: skip
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]
        yield b""

    found = list[File | bytes]()
    async for piece in files_of(headers, chunks(), LIMIT):
        if isinstance(piece, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += piece
        else:
            found.append(piece)
    return found


@pytest.mark.parametrize(
    "kind",
    ["", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain; charset=u"],
)
async def test_any_other_body_is_read_as_a_model(kind: str) -> None:
    assert await read(b"graph", {"content-type": kind}) == [b"graph"]


@pytest.mark.parametrize("size", [1, 100, 10**6])
@pytest.mark.parametrize(
    ("headers", "packed"),
    [
        (TAR, False),
        ({"content-type": "Application/X-Tar; x=y"}, False),
        ({**TAR, "content-encoding": "gzip"}, True),
        ({**TAR, "content-encoding": "X-GZIP"}, True),
        (GZIP, True),
        ({"content-type": "application/x-gzip"}, True),
        ({**GZIP, "content-encoding": "gzip"}, True),
    ],
)
async def test_an_archive_is_unpacked(headers: dict[str, str], packed: bool, size: int) -> None:
    body = gzip.compress(archive()) if packed else archive()
    assert await read(body, headers, size) == [File("w.bin"), b"weights"]


@pytest.mark.parametrize("size", [STEP - 1, STEP, 3 * STEP + 1])
async def test_highly_compressible_files_are_accepted(size: int) -> None:
    """The limit here is only for names and padding; files are counted where they are stored."""
    found = await read(gzip.compress(archive(data=bytes(size))), GZIP, 10**9)
    assert found == [File("w.bin"), bytes(size)]


BOMB = gzip.compress(bytes(LIMIT + FRAMING + 2**20))
BAD: dict[str, tuple[bytes, dict[str, str], type[QuantserveError], str]] = {
    "zeros without end": (BOMB, GZIP, BodyTooLarge, f"more than {LIMIT} bytes"),
    "a file without end": (gzip.compress(archive(data=bytes(LIMIT + FRAMING))), GZIP, BodyTooLarge,
                           f"more than {LIMIT} bytes"),
    "padding without end": (bytes(LIMIT + FRAMING + 1), TAR, BodyTooLarge, "more than"),
    "not gzip": (archive(), GZIP, MalformedRequest, "not gzip"),
    "cut": (gzip.compress(archive())[:-9], GZIP, MalformedRequest, "cut short"),
    "without its checksum": (gzip.compress(archive())[:-8], GZIP, MalformedRequest, "cut short"),
    "another checksum": (gzip.compress(archive())[:-8] + bytes(8), GZIP, MalformedRequest, "gzip"),
    "twice": (gzip.compress(archive()) * 2, GZIP, MalformedRequest, "followed by other"),
    "no archive in it": (gzip.compress(b"x" * 512), GZIP, MalformedRequest, "not a tar archive"),
    "in gzip, not said": (gzip.compress(bytes(range(256)) * 9), TAR, MalformedRequest, "gzip"),
    "a compressed model": (b"", {"content-encoding": "gzip"}, UnsupportedEncoding, "uncompressed"),
    "zstd": (b"", {**TAR, "content-encoding": "zstd"}, UnsupportedEncoding, '"zstd"'),
    "a compressed form": (b"", {"content-type": "multipart/form-data; boundary=b",
                                "content-encoding": "gzip"}, UnsupportedEncoding, "uncompressed"),
    "another multipart": (b"", {"content-type": "multipart/mixed; boundary=b"},
                          UnsupportedEncoding, "expected multipart/form-data"),
    "announced too large": (b"", {**TAR, "content-length": str(LIMIT + FRAMING + 1)}, BodyTooLarge,
                            f"limit is {LIMIT}"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "kind", "text"), BAD.values(), ids=BAD.keys())
async def test_bodies_that_cannot_be_unpacked_are_refused(
    body: bytes, headers: dict[str, str], kind: type[QuantserveError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await read(body, headers)
