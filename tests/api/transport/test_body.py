"""Bodies within a limit of bytes, and their compression."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.offload.lanes import Elsewhere
from service.api.transport import body as module
from service.api.transport.body import (
    MOST_PER_BYTE,
    PIECE,
    ClientGone,
    decompress,
    decompressed,
    deflated,
    read_body,
    swallow,
    wanted_encoding,
)
from service.core.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

PACKERS = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"identity": bytes}
RANDOM = bytes(range(256)) * 40


def receiver(*messages: Any) -> Any:
    waiting = [
        {"type": "http.request", "body": each, "more_body": True} if type(each) is bytes else each
        for each in messages
    ]

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def test_a_body_is_read_to_its_end_and_told_as_it_grows() -> None:
    sizes: list[int] = []
    read = await read_body({}, receiver(b"ab", b"c"), 3, lambda body: sizes.append(len(body)))
    assert bytes(read) == b"abc" and sizes[-1] == 3 and sizes == sorted(sizes)


@pytest.mark.parametrize("headers", [{}, {b"content-length": b"4"}])
async def test_one_past_the_limit_is_refused(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(BodyTooLarge):
        await read_body(headers, receiver(b"ab", b"cd"), 3, lambda _: None)


async def test_another_transfer_coding_is_named() -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip"):
        await read_body({b"transfer-encoding": b"gzip"}, receiver(), 3, lambda _: None)


async def test_a_client_that_leaves_is_told_apart() -> None:
    for before in ((), (b"a",)):
        with pytest.raises(ClientGone):
            gone = receiver(*before, {"type": "http.disconnect"})
            await read_body({}, gone, 3, lambda _: None)


@given(st.binary(max_size=5000), st.sampled_from(sorted(PACKERS)))
def test_what_was_packed_comes_out(content: bytes, encoding: bytes) -> None:
    assert bytes(decompress(PACKERS[encoding](content), encoding.upper(), 5000)) == content


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"no gzip", "the body is not gzip"),
        (gzip.compress(RANDOM)[:-9], "cut short"),
        (b"", "cut short"),
        (gzip.compress(RANDOM) + b"more", "followed by other bytes"),
    ],
)
def test_what_is_broken_is_told(sent: bytes, told: str) -> None:
    with pytest.raises(MalformedRequest, match=told):
        decompress(sent, b"gzip", 2**20)


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = zlib.compress(bytes(2**24), 9)
    assert len(bomb) * MOST_PER_BYTE > 2**24
    with pytest.raises(BodyTooLarge, match="decompressed"):
        decompress(bomb, b"deflate", 2**16)


def test_another_encoding_is_named() -> None:
    with pytest.raises(UnsupportedEncoding, match='"br"'):
        decompress(b"", b"br", 1)


async def test_a_long_body_is_decompressed_elsewhere_and_told_as_it_grows() -> None:
    elsewhere, sizes = Elsewhere(), list[int]()
    content = RANDOM * 100
    headers = {b"content-encoding": b"gzip"}
    plain = await decompressed(
        gzip.compress(content), headers, 2**24, elsewhere, lambda body: sizes.append(len(body))
    )
    elsewhere.close()
    assert bytes(plain) == content
    assert sizes[-1] == len(content) and all(
        b - a <= PIECE for a, b in zip(sizes, sizes[1:], strict=False)
    )


@pytest.mark.parametrize(
    ("accepts", "size", "encoding"),
    [
        (b"gzip", 2**20, b"gzip"),
        (b"br, deflate", 2**20, b"deflate"),
        (b"gzip;q=0, deflate", 2**20, b"deflate"),
        (b"gzip; q=0.00", 2**20, None),
        (b"GZIP;q=0.5", 2**20, b"gzip"),
        (b"br", 2**20, None),
        (b"gzip", 10, None),
        (None, 2**20, None),
    ],
)
def test_an_answer_is_compressed_as_the_client_accepts(
    accepts: bytes | None, size: int, encoding: bytes | None
) -> None:
    headers = {} if accepts is None else {b"accept-encoding": accepts}
    assert wanted_encoding(headers, size) == encoding


def test_parts_are_deflated_as_one() -> None:
    for encoding in (b"gzip", b"deflate"):
        packed = bytes(deflated((RANDOM, memoryview(RANDOM)), encoding))
        assert bytes(decompress(packed, encoding, 2**20)) == RANDOM * 2


async def test_what_a_refused_sender_still_sends_is_dropped_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await swallow(receiver(b"a", b"b"))
    monkeypatch.setattr(module, "LINGER", 0.01)

    async def never() -> Any:
        await asyncio.Event().wait()

    await asyncio.wait_for(swallow(never), 20)
