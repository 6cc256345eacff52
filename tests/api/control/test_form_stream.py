"""Forms of real clients are read in pieces of any size; parts that are not files are refused."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service.api.control.form_stream import form_files
from service.core.errors import BodyTooLarge, InvalidName, MalformedRequest, QuantserveError
from service.engine.storage.publishing import File

TYPE = 'multipart/form-data; boundary="b"'


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    yield b""
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(body: bytes, size: int = 10**6, kind: str = TYPE) -> list[tuple[File, bytes]]:
    files = list[tuple[File, bytes]]()
    async for piece in form_files(kind, chunks(body, size)):
        if isinstance(piece, File):
            files.append((piece, b""))
        else:
            files[-1] = (files[-1][0], files[-1][1] + piece)
    return files


def part(*headers: str, body: bytes = b"x") -> bytes:
    return b"--b\r\n" + "".join(f"{each}\r\n" for each in headers).encode() + b"\r\n" + body


def named(name: str) -> str:
    return f'Content-Disposition: form-data; name="file"; filename="{name}"'


@pytest.mark.parametrize("size", [1, 2, 3, 50, 10**6])
async def test_the_form_of_a_client_is_read_in_pieces_of_any_size(size: int) -> None:
    weights = b"\r\n--b\r\n--" * 40 + bytes(range(256))
    files = [("file", ("m.onnx", b"graph")), ("file", ("data/w.bin", weights)),
             ("other", ("empty", b""))]  # fmt: skip
    request = httpx.Request("POST", "http://server", files=files)
    got = await read(request.read(), size, request.headers["content-type"])
    assert got == [(File(name), data) for _, (name, data) in files]


async def test_a_part_may_announce_its_digest() -> None:
    body = part(named("w"), "x-content-sha256: abc") + b"\r\n--b--\r\n"
    assert await read(body) == [(File("w", "abc"), b"x")]


@pytest.mark.parametrize("end", [b"--", b"--\r\n", b"--\r\n\r\nepilogue"])
@pytest.mark.parametrize("size", [1, 10**6])
async def test_bytes_after_the_end_of_the_form_are_ignored(end: bytes, size: int) -> None:
    body = b"preamble\r\n" + part(named("w")) + b"\r\n--b" + end
    assert await read(body, size) == [(File("w"), b"x")]


END = b"\r\n--b--"
BAD: dict[str, tuple[bytes, type[QuantserveError], str]] = {
    "nothing": (b"", MalformedRequest, "end"),
    "no boundary in it": (b"x" * 1000, MalformedRequest, "end"),
    "no end": (part(named("w")), MalformedRequest, "end"),
    "half an end": (part(named("w")) + b"\r\n--b", MalformedRequest, "end"),
    "cut in a header": (part(named("w"))[:20], MalformedRequest, "end"),
    "a field": (part('Content-Disposition: form-data; name="version"') + END, MalformedRequest,
                "'version' .* has no filename; .* curl -F file=@FILE"),
    "a name in another charset": (
        part("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''..%2fx") + END,
        MalformedRequest, "no filename"),
    "no disposition": (part("X: y") + END, MalformedRequest, "Content-Disposition"),
    "an attachment": (part('Content-Disposition: attachment; filename="w"') + END,
                      MalformedRequest, "Content-Disposition"),
    "a backslash": (part(named("a\\w")) + END, InvalidName, "backslash"),
    "a Windows path": (part(named("C:\\\\x\\\\w")) + END, InvalidName, "backslash"),
    "a header of a megabyte": (part(named("w"), "X: " + "y" * 2**20) + END, BodyTooLarge, "header"),
    "a header without end": (b"--b\r\nX: " + b"y" * 2**20, BodyTooLarge, "header"),
    "many headers": (part(named("w"), *["X: y"] * 20) + END, BodyTooLarge, "header"),
    "a header in no charset": (b"--b\r\nX: \xff\r\n\r\n" + END, MalformedRequest, "decode"),
    "a header that is none": (part("hello") + END, MalformedRequest, "header"),
    "bytes after a boundary": (part(named("w")) + b"\r\n--bad" + END, MalformedRequest, "boundary"),
    "another length": (part(named("w"), "Content-Length: 5") + END, MalformedRequest, "size"),
}  # fmt: skip


@pytest.mark.parametrize("size", [7, 2**16])
@pytest.mark.parametrize(("body", "kind", "text"), BAD.values(), ids=BAD.keys())
async def test_malformed_parts_are_refused(
    body: bytes, kind: type[QuantserveError], text: str, size: int
) -> None:
    with pytest.raises(kind, match=text):
        await read(body, size)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; b=",
             "multipart/form-data; boundary=" + "b" * 300]
)  # fmt: skip
async def test_a_form_without_a_usable_boundary_is_refused(kind: str) -> None:
    with pytest.raises(MalformedRequest, match="boundary"):
        await read(b"--\r\n\r\n", kind=kind)


async def test_a_form_inside_a_file_is_stored_as_the_file() -> None:
    inner = b'--c\r\nContent-Disposition: form-data; name="a"; filename="../x"\r\n\r\ny\r\n--c--'
    outer = part(named("w"), "Content-Type: multipart/mixed; boundary=c", body=inner) + END
    assert await read(outer) == [(File("w"), inner)]
