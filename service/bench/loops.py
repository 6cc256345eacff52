"""The two kinds of load.

Closed loop: each of a number of clients sends its next request when it has its answer. Measures
throughput. Open loop: requests are due at fixed times, independent of answers, and latency counts
from the due time, so that it includes the wait for a stalled server. Measures latency at a rate.
"""

import asyncio
import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event, Thread
from time import perf_counter, process_time

from service.bench.wire import Answer, Lane, Server

TIMEOUT = "timeout"
"""The error kind of requests that have no answer when the wait after the end of a run is over."""
OK = "200"
Ended = Callable[[Lane, Answer], None]
Release = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Load:
    """The requests to send, and the duration. ``patience`` is how long to wait for outstanding
    answers after the end of a run. Times are in seconds."""

    server: Server
    requests: Sequence[bytes]
    seconds: float
    patience: float


@dataclass(slots=True)
class Observed:
    """The observations of a run.

    ``latencies`` of answers with status 200 are in seconds. ``errors`` counts other answers by
    kind, ``reasons`` has the first text of each kind. ``seconds`` is the duration of the run,
    ``client_cpu`` the share of one core that the client used.
    """

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    client_cpu: float = 0.0

    def add(self, answer: Answer, latency: float) -> None:
        """Count an answer."""
        if answer.kind == OK:
            self.latencies.append(latency)
        else:
            self.errors[answer.kind] += 1
            self.reasons.setdefault(answer.kind, answer.text)


async def closed_loop(load: Load, concurrency: int) -> Observed:
    """Run ``concurrency`` clients.

    Raises:
        OSError: a connection cannot be opened at the start.
    """
    seen, requests = Observed(), cycle(load.requests)
    finished = asyncio.Event()
    left = concurrency

    def ended(lane: Lane, answer: Answer) -> None:
        nonlocal left
        now = perf_counter()
        seen.add(answer, now - lane.due)
        if now < end:
            lane.ask(next(requests), now)
            return
        left -= 1
        if not left:
            finished.set()

    lanes = await _opened(load.server, concurrency, ended)
    with _timed(seen):
        end = perf_counter() + load.seconds
        for lane in lanes:
            lane.ask(next(requests), perf_counter())
        await _finish(finished, load.seconds + load.patience)
    _give_up(seen, lanes, 0)
    return seen


async def open_loop(load: Load, rate: float, connections: int) -> Observed:
    """Send ``rate`` requests per second over at most ``connections`` connections. If all are busy,
    due requests wait, and the wait counts as latency.

    Raises:
        OSError: a connection cannot be opened at the start.
    """
    seen, requests = Observed(), cycle(load.requests)
    finished, waiting = asyncio.Event(), deque[float]()
    free: list[Lane] = []
    left = total = max(1, int(rate * load.seconds))

    def ended(lane: Lane, answer: Answer) -> None:
        nonlocal left
        seen.add(answer, perf_counter() - lane.due)
        left -= 1
        if waiting:
            lane.ask(next(requests), waiting.popleft())
        else:
            free.append(lane)
        if not left:
            finished.set()

    def release(due: float) -> None:
        if free:
            free.pop().ask(next(requests), due)
        else:
            waiting.append(due)

    lanes = await _opened(load.server, connections, ended)
    free += lanes
    with _timed(seen), _paced(rate, total, release):
        await _finish(finished, load.seconds + load.patience)
    _give_up(seen, lanes, left)
    return seen


async def ask_each(load: Load) -> Answer | None:
    """Send each request once. Returns the first answer without status 200, or None.

    Raises:
        OSError: a connection cannot be opened.
    """
    found: list[Answer] = []
    came = asyncio.Event()

    def ended(lane: Lane, answer: Answer) -> None:
        found.append(answer)
        came.set()

    (lane,) = await _opened(load.server, 1, ended)
    try:
        for request in load.requests:
            came.clear()
            lane.ask(request, 0.0)
            await _finish(came, load.patience)
            if not came.is_set():
                return Answer(TIMEOUT, f"no answer within {load.patience:g} s".encode())
            if found[-1].kind != OK:
                return found[-1]
    finally:
        lane.close()
    return None


async def _opened(server: Server, count: int, ended: Ended) -> list[Lane]:
    lanes = [Lane(server, ended) for _ in range(count)]
    try:
        await asyncio.gather(*(lane.open() for lane in lanes))
    except OSError:
        for lane in lanes:
            lane.close()
        raise
    return lanes


async def _finish(finished: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(finished.wait(), seconds)
    except TimeoutError:
        return


def _give_up(seen: Observed, lanes: Sequence[Lane], left: int) -> None:
    """Count requests without an answer: ``left`` in an open loop, otherwise those in flight."""
    missing = left or sum(lane.busy for lane in lanes)
    for lane in lanes:
        lane.close()
    if missing:
        seen.errors[TIMEOUT] += missing
        seen.reasons.setdefault(TIMEOUT, b"no answer within --timeout after the end of the run")


@contextmanager
def _timed(seen: Observed) -> Iterator[None]:
    """Measure the duration and CPU time of a run."""
    # Pauses of the garbage collector would count as latency of the server.
    gc.collect()
    gc.disable()
    cpu, start = process_time(), perf_counter()
    try:
        yield
    finally:
        seen.seconds = perf_counter() - start
        seen.client_cpu = (process_time() - cpu) / max(seen.seconds, 1e-9)
        gc.enable()


@contextmanager
def _paced(rate: float, total: int, release: Release) -> Iterator[None]:
    """Call ``release`` in the event loop when each request is due, with the due time."""
    # A thread keeps the times, since event loops round their timers up to milliseconds.
    loop, stopped = asyncio.get_running_loop(), Event()
    start = perf_counter() + 0.01

    def pace() -> None:
        for number in range(total):
            due = start + number / rate
            wait = due - perf_counter()
            if (wait > 0 and stopped.wait(wait)) or stopped.is_set():
                return
            loop.call_soon_threadsafe(release, due)

    thread = Thread(target=pace, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
