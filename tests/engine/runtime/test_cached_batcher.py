"""Equal requests run once, and each keeps its own deadline and outputs."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batching import BatchPolicy
from service.core.errors import DeadlineExceeded, ExecutionFailed, QueueFull, ShuttingDown
from service.core.events import BatchExecuted, CacheLookup, Event
from service.core.requests import Terms
from service.core.response_cache import ResponseCache
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.cached_batcher import CachedBatcher
from service.engine.runtime.execution import Instance

POISON = -1.0
POLICY = BatchPolicy(max_rows=8, preferred_rows=8, max_queue=16)


class Served:
    """A model that doubles its rows, behind a cache. Records the runs and the lookups."""

    def __init__(self, policy: BatchPolicy = POLICY, limit: int = 100_000) -> None:
        self.events: list[Event] = []
        inner = DynamicBatcher(("m", 1), policy, [Instance(_twice, policy)], self.events.append)
        self.cache = ResponseCache(limit)
        self.batcher = CachedBatcher(
            ("m", 1), inner, self.cache, self.events.append,
            timeout=policy.timeout, limit=policy.max_queue,
        )  # fmt: skip

    def ask(self, value: float, terms: Terms = Terms()) -> "asyncio.Future[Arrays]":  # noqa: B008
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        self.batcher.submit((np.full((1, 2), value, np.float32),), 1, terms, reply)
        return reply

    @property
    def ran(self) -> int:
        """The rows that were run."""
        return sum(event.rows for event in self.events if isinstance(event, BatchExecuted))

    @property
    def hits(self) -> list[bool]:
        return [event.hit for event in self.events if isinstance(event, CacheLookup)]


def _twice(inputs: Arrays, *_: object) -> Arrays:
    if (inputs[0] == POISON).any():
        raise ExecutionFailed("poisoned")
    return (inputs[0] * 2,)


async def test_a_repeated_request_is_answered_from_the_cache() -> None:
    served = Served()
    first = await served.ask(3)
    again = served.ask(3)
    assert again.done() and np.array_equal(again.result()[0], first[0])
    assert served.ran == 1 and served.hits == [False, True]


async def test_equal_requests_in_progress_run_once() -> None:
    served = Served()
    replies = [served.ask(3) for _ in range(5)] + [served.ask(4)]
    assert served.batcher.in_flight == 6
    assert served.batcher.waiting == 5  # the first runs
    found = await asyncio.gather(*replies)
    assert [float(outputs[0][0, 0]) for outputs in found] == [6, 6, 6, 6, 6, 8]
    assert served.ran == 2 and served.batcher.in_flight == 0


async def test_other_outputs_are_another_request() -> None:
    served = Served()
    await served.ask(3)
    await served.ask(3, Terms(outputs=(0,)))
    assert served.hits == [False, False]


async def test_errors_are_not_cached_and_reach_all_waiting_requests() -> None:
    served = Served()
    for _ in range(2):
        replies = [served.ask(POISON) for _ in range(3)]
        found = await asyncio.gather(*replies, return_exceptions=True)
        assert [type(each) for each in found] == [ExecutionFailed] * 3
    assert len(served.cache) == 0


async def test_other_clients_get_outputs_when_the_first_disconnects() -> None:
    served = Served()
    first, second = served.ask(3), served.ask(3)
    first.cancel()
    served.batcher.withdraw()
    assert float((await second)[0][0, 0]) == 6


async def test_requests_whose_clients_all_disconnected_are_dropped() -> None:
    """The batcher drops the request silently; the next equal request runs."""
    served = Served()
    for reply in (served.ask(3), served.ask(3)):
        reply.cancel()
    served.batcher.withdraw()
    late = served.ask(3)
    assert float((await late)[0][0, 0]) == 6
    async with asyncio.timeout(5):
        await served.batcher.drain()
    assert served.batcher.in_flight == 0 and not served.batcher._flights


async def test_each_request_keeps_its_own_deadline() -> None:
    """The first request expires; the second, which arrived later, runs before its own deadline."""
    now = 0.0
    served = Served()
    inner = DynamicBatcher(
        ("m", 1), POLICY, [Instance(_twice, POLICY)], served.events.append, clock=lambda: now
    )
    batcher = CachedBatcher(
        ("m", 1), inner, served.cache, served.events.append, timeout=None, limit=16,
        clock=lambda: now,
    )  # fmt: skip
    served.batcher = batcher
    terms = Terms(timeout=1.0)
    first = served.ask(3, terms)
    now = 0.9
    second = served.ask(3, terms)
    now = 1.5
    with pytest.raises(DeadlineExceeded):
        await first
    assert float((await second)[0][0, 0]) == 6


async def test_waiting_equal_requests_count_towards_the_queue_limit() -> None:
    served = Served(BatchPolicy(max_rows=8, preferred_rows=8, max_queue=4))
    replies = [served.ask(3) for _ in range(4)]
    with pytest.raises(QueueFull):
        for number in range(8):
            replies.append(served.ask(10 + number))
    await asyncio.gather(*replies)


async def test_a_closed_batcher_does_not_answer_from_its_cache() -> None:
    served = Served()
    running, *waiting = [served.ask(value) for value in (1, 3, 3)]
    served.batcher.close()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [ShuttingDown] * 2
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(ShuttingDown):
        served.ask(3)
    assert not served.batcher._flights


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["ask", "ask", "leave", "yield"])), max_size=40
    )
)
def test_every_request_gets_its_own_answer(steps: list[tuple[int, str]]) -> None:
    async def run() -> None:
        served, replies = Served(limit=1200), list[tuple[int, asyncio.Future[Arrays]]]()
        for value, step in steps:
            if step == "ask":
                replies.append((value, served.ask(value)))
            elif step == "leave" and replies:
                replies[value % len(replies)][1].cancel()
                served.batcher.withdraw()
            else:
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            for value, reply in replies:
                if not reply.cancelled():
                    assert float((await reply)[0][0, 0]) == 2 * value
            await served.batcher.drain()
            await asyncio.sleep(0.01)
        assert served.batcher.in_flight == 0 and not served.batcher._flights

    asyncio.run(run())
