"""A body is read within its limit, and its compression is taken off whatever it grows to."""

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
    """Takes any size."""


def pieces(*parts: bytes, gone: bool = False) -> Receive:
    """A client that sends these, and leaves or is done."""
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
    """What comes in pieces is put together."""

    @given(st.lists(st.binary(max_size=9), min_size=1, max_size=8))
    def test_a_body_is_its_pieces(self, parts: list[bytes]) -> None:
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

    async def test_growth_is_told_and_may_refuse_the_rest(self) -> None:
        seen: list[int] = []

        def grown(body: Sequence[int]) -> None:
            seen.append(len(body))
            if len(body) > 3:
                raise MemoryFull("no room")

        with pytest.raises(MemoryFull):
            await read_body({}, pieces(b"ab", b"cd", b"ef"), LIMIT, grown)
        assert seen == [2, 4]

    @pytest.mark.parametrize("parts", [[], [b"ab"], [b"ab", b"cd"]])
    async def test_a_client_that_leaves_is_told_apart(self, parts: list[bytes]) -> None:
        with pytest.raises(ClientGone):
            await read_body({}, pieces(*parts, gone=True), LIMIT, free)

    async def test_chunked_is_the_only_coding_of_transfer(self) -> None:
        headers = {b"transfer-encoding": b" Chunked "}
        assert await read_body(headers, pieces(b"x"), LIMIT, free) == b"x"
        with pytest.raises(UnsupportedEncoding, match='"gzip, chunked", expected chunked'):
            await read_body({b"transfer-encoding": b"gzip, chunked"}, pieces(b"x"), LIMIT, free)

    async def test_what_a_refused_client_sends_is_swallowed_for_a_moment(
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
    def test_a_body_comes_back(self, body: bytes, encoding: bytes) -> None:
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
    def test_the_limit_holds_for_what_a_body_grows_to(self, encoding: bytes) -> None:
        assert len(decompress(CODERS[encoding](bytes(PIECE + 1)), encoding, PIECE + 1)) == PIECE + 1
        with pytest.raises(BodyTooLarge, match="the decompressed body has more than"):
            decompress(CODERS[encoding](bytes(100 * PIECE)), encoding, PIECE)

    @pytest.mark.parametrize("encoding", sorted(CODERS))
    def test_a_body_that_is_cut_or_followed_by_others_is_refused(self, encoding: bytes) -> None:
        whole = CODERS[encoding](b"hello" * 10)
        for cut in range(len(whole)):
            with pytest.raises(MalformedRequest, match="is cut short"):
                decompress(whole[:cut], encoding, LIMIT)
        with pytest.raises(MalformedRequest, match="is followed by other bytes"):
            decompress(whole + b"x", encoding, LIMIT)
        with pytest.raises(MalformedRequest, match=f"the body is not {encoding.decode()}"):
            decompress(b"hello, world", encoding, LIMIT)

    @pytest.mark.parametrize("encoding", sorted(CODERS))
    def test_no_encoding_packs_more_than_is_said(self, encoding: bytes) -> None:
        assert len(CODERS[encoding](bytes(2**22))) * MOST_PER_BYTE > 2**22

    def test_bytes_after_the_end_are_found_in_a_later_piece(self) -> None:
        noise = zlib.compress(bytes(range(256)) * 3, 0)
        body = noise + b"x" * PIECE
        with pytest.raises(MalformedRequest, match="is followed by other bytes"):
            decompress(body, b"deflate", 2**20)

    def test_another_encoding_is_named(self) -> None:
        with pytest.raises(UnsupportedEncoding, match='"br", expected gzip or deflate'):
            decompress(b"", b"br", LIMIT)

    async def test_a_long_body_is_read_elsewhere_and_looked_at_as_it_grows(
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
    """An answer takes the form that the client accepts."""

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
    def test_the_client_chooses(self, accepts: bytes | None, encoding: bytes | None) -> None:
        headers = {} if accepts is None else {b"accept-encoding": accepts}
        assert wanted_encoding(headers, WORTH_COMPRESSING) == encoding
        assert wanted_encoding(headers, WORTH_COMPRESSING - 1) is None

    @PATIENT
    @given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(sorted(CODERS)))
    def test_what_is_deflated_comes_back(self, parts: list[bytes], encoding: bytes) -> None:
        whole = b"".join(parts)
        assert decompress(deflated(parts, encoding), encoding, 1000) == whole

    @pytest.mark.parametrize("size", [10, OFF_THE_LOOP])
    async def test_a_long_answer_is_the_same_elsewhere(self, far: Elsewhere, size: int) -> None:
        parts = [bytes(size), memoryview(b"end")]
        found = await compress(parts, size, b"gzip", far, None)
        assert gzip.decompress(found) == bytes(size) + b"end"
