"""Answers do not depend on how the network cuts a stream of requests into pieces. The streams
hold complete, interrupted and malformed requests of all kinds, and bytes that are not HTTP.
"""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import Server
from tests import tiny_models
from tests.inprocess import Wire, connect, serve
from tests.system.wire import chunked, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v2/models/same_fp32/infer"
TURNS = 60
"""Iterations of the event loop after which nothing more is expected to happen."""


def body(number: int) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [number, 2]}
    return json.dumps({"id": str(number), "inputs": [tensor]}).encode()


ANSWER = b"HTTP/1.1 "
WHOLE = {
    "direct": post(PATH, body(1)),
    "chunked": chunked(PATH, body(2), size=7),
    "not JSON": post(PATH, b"{"),
    "empty": post(PATH, b""),
    "expecting": post(PATH, body(3), Expect="100-continue"),
    "compressed": post(PATH, gzip.compress(body(4)), Content_Encoding="gzip"),
    "twice": post(PATH, body(5), Accept="a\r\nAccept: b"),
    "upgrade": post(PATH, body(6), Connection="Upgrade, HTTP2-Settings", Upgrade="h2c"),
    "trailers": chunked(PATH, body(7))[:-2] + b"X: y\r\n\r\n",
    "V1": post("/v1/models/same_fp32:predict", b'{"instances": [[1]]}'),
    "nobody": post("/v2/models/nobody/infer", body(8)),
    "control": get("/v2/health/live"),
    "method": get(PATH, "DELETE"),
    "options": get(PATH, "OPTIONS"),
    "nowhere": get("/nowhere"),
    "slow": post("/v2/models/counting/infer", b'{"inputs": [{"name": "n", "datatype": "INT64",'
                 b' "shape": [1], "data": [2000]}]}'),
}  # fmt: skip
LAST = {
    "nothing": b"",
    "closing": post(PATH, body(9), Connection="close"),
    "HTTP/1.0": post(PATH, body(10)).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "too large": post(PATH, bytes(2000)),
    "too large in chunks": chunked(PATH, bytes(2000), size=100),
    "too large, the other way": chunked(PATH, bytes(2000), size=100, Expect="100-continue"),
    "half a head": post(PATH, body(11))[:60],
    "half a body": post(PATH, body(12))[:-9],
    "a wrong chunk": chunked(PATH, body(13), size=20).replace(b"14\r\n", b"1x\r\n", 1),
    "two lengths": post(PATH, body(14), Content_length="5"),
    "no HTTP": b"nonsense\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
}


@dataclass(frozen=True)
class Answering:
    """A server without a socket."""

    server: Server

    async def answers(self, pieces: list[bytes]) -> bytes:
        """Return the answers to a stream that arrives in these pieces."""
        protocol, wire = connect(self.server)
        for piece in pieces:
            await self._settle(wire, reading=True)
            if wire.closed:
                break
            protocol.data_received(piece)
        await self._settle(wire)
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        return bytes(wire.written)

    async def _settle(self, wire: Wire, reading: bool = False) -> None:
        """Wait until nothing happens any more, or until the server reads again."""
        batchers = [self.server.repository.version(n).batcher for n in ("same_fp32", "counting")]
        quiet, before = 0, -1
        while quiet < TURNS and not (reading and not wire.paused):
            busy = any(each is not None and each.in_flight for each in batchers)
            quiet = quiet + 1 if len(wire.written) == before and not busy else 0
            before = len(wire.written)
            await asyncio.sleep(0.0005 if busy else 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answering(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Answering]:
    folder = tmp_path_factory.mktemp("split")
    tiny_models.identity(folder, "FP32")
    tiny_models.counting(folder)
    async with serve(folder, max_body_bytes=1024) as served:
        with pytest.MonkeyPatch.context() as patch:
            # Work in a thread would not show in iterations of the event loop.
            patch.setattr("service.api.transport.body.OFF_THE_LOOP", 1 << 40)
            yield Answering(served.server)


def plain(answers: bytes) -> bytes:
    """Remove what may differ: ids of the server, 100 Continue, and the order of headers."""
    without_ids = re.sub(rb"x-request-id: [^\r]+", b"x-request-id", answers)
    asked = without_ids.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    return re.sub(rb"(?s)(HTTP/1.1 \d+ [^\r]*\r\n)(.*?\r\n)\r\n", _sorted, asked)


def _sorted(head: re.Match[bytes]) -> bytes:
    return head[1] + b"".join(sorted(head[2].splitlines(keepends=True))) + b"\r\n"


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    places = draw(st.lists(st.integers(0, len(stream)), max_size=12, unique=True))
    cuts = [0, *sorted(places), len(stream)]
    return [stream[a:b] for a, b in zip(cuts, cuts[1:], strict=False) if a < b]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    whole = draw(st.lists(st.sampled_from(sorted(WHOLE)), max_size=5))
    last = draw(st.sampled_from(sorted(LAST)))
    stream = b"".join(WHOLE[each] for each in whole) + LAST[last]
    if draw(st.integers(0, 3)) == 0 and stream:
        at = draw(st.integers(0, len(stream) - 1))
        stream = stream[:at] + bytes([draw(st.integers(0, 255))]) + stream[at + 1 :]
    return stream, draw(pieces(stream))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(streams())
async def test_answers_do_not_depend_on_the_pieces(
    answering: Answering, drawn: tuple[bytes, list[bytes]]
) -> None:
    stream, cut = drawn
    in_parts = plain(await answering.answers(cut)).split(ANSWER)
    at_once = plain(await answering.answers([stream])).split(ANSWER)
    if in_parts != at_once:
        # A body that is too large and broken is refused for the problem that is found first.
        assert {in_parts[-1][:3], at_once[-1][:3]} == {b"413", b"400"}
        assert in_parts[:-1] == at_once[:-1]


async def test_a_body_that_is_refused_gets_no_second_answer(answering: Answering) -> None:
    stream = chunked(PATH, bytes(2000), size=100).replace(b"\r\n0\r\n", b"no chunk")
    found = await answering.answers([stream[:1900], stream[1900:]])
    assert found.count(ANSWER) == 1 and found.startswith(ANSWER + b"413")


@pytest.mark.parametrize("name", WHOLE)
async def test_a_stream_may_arrive_byte_by_byte(answering: Answering, name: str) -> None:
    stream = WHOLE[name] + WHOLE["direct"]
    found = plain(await answering.answers([stream[i : i + 1] for i in range(len(stream))]))
    assert found == plain(await answering.answers([stream]))
    assert found.count(b"HTTP/1.1 ") == 2
