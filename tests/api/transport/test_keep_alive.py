"""A connection without a request is closed after the keep-alive time, and not before."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from service.app import Server
from tests import tiny_models
from tests.inprocess import connect, serve
from tests.system.wire import get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 5
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
PREDICTION = post("/v2/models/same_fp32/infer", json.dumps({"inputs": [TENSOR]}).encode())
REQUESTS = [PREDICTION, get("/v2/health/live")]


@dataclass
class Timer:
    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Hours:
    """The running event loop with a time of its own, which stands still until it is told."""

    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(self.now + seconds, call))
        return timer

    def go_on(self, seconds: float) -> None:
        """Call what is due by then, each at its time."""
        end = self.now + seconds
        while due := [t for t in self.timers if t.at <= end and not t.cancelled]:
            timer = min(due, key=lambda each: each.at)
            self.timers.remove(timer)
            self.now = timer.at
            timer.call()
        self.now = end

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)


@dataclass
class Idle:
    """A connection whose keep-alive time is read off ``hours``."""

    server: Server
    hours: Hours = field(default_factory=Hours)

    def __post_init__(self) -> None:
        self.protocol, self.wire = connect(self.server, self.hours, timeout_keep_alive=SECONDS)

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for its answer."""
        self.protocol.data_received(request)
        while not self.protocol.cycle.response_complete:
            await asyncio.sleep(0)

    @property
    def timers(self) -> list[Timer]:
        return [timer for timer in self.hours.timers if not timer.cancelled]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("idle")
    tiny_models.identity(folder, "FP32")
    async with serve(folder) as served:
        yield served.server


@pytest.mark.parametrize("request_", REQUESTS)
async def test_an_idle_connection_is_closed_when_its_time_is_over(
    server: Server, request_: bytes
) -> None:
    idle = Idle(server)
    await idle.ask(request_)
    idle.hours.go_on(SECONDS - 0.1)
    assert not idle.wire.closed
    idle.hours.go_on(0.1)
    assert idle.wire.closed


@pytest.mark.parametrize("request_", REQUESTS)
async def test_the_time_begins_anew_with_every_answer(server: Server, request_: bytes) -> None:
    idle = Idle(server)
    for _ in range(4):
        await idle.ask(request_)
        idle.hours.go_on(SECONDS - 1)
        assert not idle.wire.closed
    assert len(idle.timers) == 1
    idle.hours.go_on(1)
    assert idle.wire.closed


async def test_a_connection_with_a_request_under_way_is_not_idle(server: Server) -> None:
    idle = Idle(server)
    await idle.ask(PREDICTION)
    idle.protocol.data_received(PREDICTION[:-1])
    idle.hours.go_on(3 * SECONDS)
    assert not idle.wire.closed
    await idle.ask(PREDICTION[-1:])
    idle.hours.go_on(SECONDS)
    assert idle.wire.closed


async def test_a_connection_that_is_lost_leaves_no_timer(server: Server) -> None:
    idle = Idle(server)
    await idle.ask(PREDICTION)
    idle.protocol.connection_lost(None)
    assert not idle.timers
