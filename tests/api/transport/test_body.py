"""A body is read within its limit, and decompressed within the same limit."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.offload.lanes import Elsewhere
from service.api.transport import body as module
from service.api.transport.body import (
    MOST_PER_BYTE,
    OFF_THE_LOOP,
    PIECE,
    WORTH_COMPRESSING,
    ClientGone,
    Receive,
    compress,
    decompress,
    decompressed,
    deflated,
    read_body,
    swallow,
    wanted_encoding,
)
from service.core.errors import BodyTooLarge, MalformedRequest, MemoryFull, UnsupportedEncoding

LIMIT = 100
Coder = Callable[[bytes], bytes]
CODERS: dict[bytes, Coder] = {b"gzip": gzip.compress, b"deflate": zlib.compress}
PATIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def free(_: object) -> None:
    """Accept a body of any size."""


def pieces(*parts: bytes, gone: bool = False) -> Receive:
    """A client that sends these pieces, and then disconnects or is done."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": gone or at < len(parts) - 1}
        for at, part in enumerate(parts)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


@pytest.fixture(scope="module")
def far() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


class TestReading:
    """The pieces of a body are joined."""

    @given(st.lists(st.binary(max_size=9), min_size=1, max_size=8))
    def test_a_body_is_joined_from_its_pieces(self, parts: list[bytes]) -> None:
        assert asyncio.run(read_body({}, pieces(*parts), LIMIT, free)) == b"".join(parts)

    @pytest.mark.parametrize("parts", [[b"x" * LIMIT], [b"x" * 60, b"x" * 40]])
    async def test_the_limit_is_exact(self, parts: list[bytes]) -> None:
        assert len(await read_body({}, pieces(*parts), LIMIT, free)) == LIMIT
        with pytest.raises(BodyTooLarge, match="more than the 100 bytes"):
            await read_body({}, pieces(*parts, b"x"), LIMIT, free)
        with pytest.raises(BodyTooLarge, match="more than the 100 bytes"):
            await read_body({}, pieces(b"x" * 101), LIMIT, free)

    async def test_an_announced_length_past_the_limit_is_refused_unread(self) -> None:
        with pytest.raises(BodyTooLarge, match="the body has 101 bytes, at most 100 are allowed"):
            await read_body({b"content-length": b"101"}, pieces(gone=True), LIMIT, free)

    async def test_the_growth_callback_may_refuse_the_rest_of_a_body(self) -> None:
        seen: list[int] = []

        def grown(body: Sequence[int]) -> None:
            seen.append(len(body))
            if len(body) > 3:
                raise MemoryFull("no room")

        with pytest.raises(MemoryFull):
            await read_body({}, pieces(b"ab", b"cd", b"ef"), LIMIT, grown)
        assert seen == [2, 4]

    @pytest.mark.parametrize("parts", [[], [b"ab"], [b"ab", b"cd"]])
    async def test_a_disconnect_during_the_body_is_reported(self, parts: list[bytes]) -> None:
        with pytest.raises(ClientGone):
            await read_body({}, pieces(*parts, gone=True), LIMIT, free)

    async def test_chunked_is_the_only_accepted_transfer_encoding(self) -> None:
        headers = {b"transfer-encoding": b" Chunked "}
        assert await read_body(headers, pieces(b"x"), LIMIT, free) == b"x"
        with pytest.raises(UnsupportedEncoding, match='"gzip, chunked", expected chunked'):
            await read_body({b"transfer-encoding": b"gzip, chunked"}, pieces(b"x"), LIMIT, free)

    async def test_the_rest_of_a_refused_body_is_discarded_for_a_limited_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = 0

        async def receive() -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return {"type": "http.request", "body": b"x", "more_body": asked < 5}

        await swallow(receive)
        assert asked == 5
        await swallow(pieces(b"x", gone=True))
        monkeypatch.setattr(module, "LINGER", 0.01)
        await swallow(asyncio.Event().wait)  # type: ignore[arg-type]


class TestDecompression:
    """gzip and deflate, within the limit."""

    @given(st.binary(max_size=60), st.sampled_from(sorted(CODERS)))
    def test_compressed_bodies_are_decompressed(self, body: bytes, encoding: bytes) -> None:
        assert decompress(CODERS[encoding](body), encoding, LIMIT) == body
        assert decompress(CODERS[encoding](body), b" " + encoding.upper(), LIMIT) == body
        assert decompress(body, b"identity", LIMIT) == body

    @given(st.binary(max_size=50))
    def test_any_bytes_are_read_or_refused(self, body: bytes) -> None:
        for encoding in CODERS:
            try:
                decompress(body, encoding, LIMIT)
            except (MalformedRequest, BodyTooLarge) as error:
                assert str(error)

    @pytest.mark.parametrize("encoding", sorted(CODERS))
    def test_the_limit_applies_to_the_decompressed_size(self, encoding: bytes) -> None:
        assert len(decompress(CODERS[encoding](bytes(PIECE + 1)), encoding, PIECE + 1)) == PIECE + 1
        with pytest.raises(BodyTooLarge, match="the decompressed body has more than"):
            decompress(CODERS[encoding](bytes(100 * PIECE)), encoding, PIECE)

    @pytest.mark.parametrize("encoding", sorted(CODERS))
    def test_truncated_bodies_and_trailing_bytes_are_refused(self, encoding: bytes) -> None:
        whole = CODERS[encoding](b"hello" * 10)
        for cut in range(len(whole)):
            with pytest.raises(MalformedRequest, match="is cut short"):
                decompress(whole[:cut], encoding, LIMIT)
        with pytest.raises(MalformedRequest, match="is followed by other bytes"):
            decompress(whole + b"x", encoding, LIMIT)
        with pytest.raises(MalformedRequest, match=f"the body is not {encoding.decode()}"):
            decompress(b"hello, world", encoding, LIMIT)

    @pytest.mark.parametrize("encoding", sorted(CODERS))
    def test_no_encoding_compresses_more_than_the_assumed_maximum(self, encoding: bytes) -> None:
        assert len(CODERS[encoding](bytes(2**22))) * MOST_PER_BYTE > 2**22

    def test_bytes_after_the_end_are_found_in_a_later_piece(self) -> None:
        noise = zlib.compress(bytes(range(256)) * 3, 0)
        body = noise + b"x" * PIECE
        with pytest.raises(MalformedRequest, match="is followed by other bytes"):
            decompress(body, b"deflate", 2**20)

    def test_unsupported_encodings_are_named_in_the_error(self) -> None:
        with pytest.raises(UnsupportedEncoding, match='"br", expected gzip or deflate'):
            decompress(b"", b"br", LIMIT)

    async def test_a_long_body_is_decompressed_in_a_thread_with_size_checks(
        self, far: Elsewhere
    ) -> None:
        plain, seen = bytes(3 * PIECE), list[int]()
        headers = {b"content-encoding": b"gzip"}
        found = await decompressed(
            gzip.compress(plain), headers, 2**20, far, lambda body: seen.append(len(body))
        )
        assert found == plain and seen[-1] == len(plain)
        assert all(b - a <= PIECE for a, b in zip([0, *seen], seen, strict=False))
        assert await decompressed(b"x", {}, 1, far, free) == b"x"


class TestCompression:
    """An answer is compressed with an encoding that the client accepts."""

    @pytest.mark.parametrize(
        ("accepts", "encoding"),
        [
            (None, None),
            (b"gzip", b"gzip"),
            (b"deflate, gzip", b"gzip"),
            (b"GZIP;q=0, deflate;q=0.5", b"deflate"),
            (b"gzip; q=0.000, deflate; q = 0", None),
            (b"gzip;q=0.001", b"gzip"),
            (b"br, zstd", None),
            (b"x-gzip", None),
        ],
    )
    def test_the_encoding_follows_accept_encoding(
        self, accepts: bytes | None, encoding: bytes | None
    ) -> None:
        headers = {} if accepts is None else {b"accept-encoding": accepts}
        assert wanted_encoding(headers, WORTH_COMPRESSING) == encoding
        assert wanted_encoding(headers, WORTH_COMPRESSING - 1) is None

    @PATIENT
    @given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(sorted(CODERS)))
    def test_compressed_answers_can_be_decompressed(
        self, parts: list[bytes], encoding: bytes
    ) -> None:
        whole = b"".join(parts)
        assert decompress(deflated(parts, encoding), encoding, 1000) == whole

    @pytest.mark.parametrize("size", [10, OFF_THE_LOOP])
    async def test_a_long_answer_is_compressed_in_a_thread(self, far: Elsewhere, size: int) -> None:
        parts = [bytes(size), memoryview(b"end")]
        found = await compress(parts, size, b"gzip", far, None)
        assert gzip.decompress(found) == bytes(size) + b"end"
