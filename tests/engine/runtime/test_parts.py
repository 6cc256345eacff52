"""A request with more rows than one run accepts is answered whole and in order, without blocking
other requests."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import (
    DeadlineExceeded,
    InputRejected,
    MemoryFull,
    QueueFull,
    ShuttingDown,
    SignatureMismatch,
)
from service.core.memory_budget import Budget, Reservation
from service.core.requests import Terms
from service.core.tensors import Arrays, Overriding
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.execution import Instance
from tests.patience import PATIENCE

POISON = -1
DEFAULT = Terms()
KINDS = ["float32", "int64", "bool", "float16", "uint8", "object"]


def numbered(rows: int, width: int, kind: str, poisoned: bool = False) -> Arrays:
    """Return rows that contain their position, and a second input of a datatype."""
    places = np.arange(rows, dtype=np.int64)[:, None]
    if poisoned:
        places[rows // 2] = POISON
    values = (places + np.arange(width)) % 251
    beside = values.astype(str).astype(object) if kind == "object" else values.astype(kind)
    return places, beside


def back(inputs: Arrays, *_: object) -> Arrays:
    """A model that returns its rows, and refuses a poisoned row."""
    if (inputs[0] == POISON).any():
        raise InputRejected("poisoned")
    return inputs


def batcher(policy: BatchPolicy, run: Any = back, inline: bool = False) -> DynamicBatcher:
    count = 1 if inline else 2
    instances = [Instance(run, policy)] * count
    return DynamicBatcher(("m", 1), policy, instances, lambda _: None, inline=inline)


def policy(**given: Any) -> BatchPolicy:
    values = {"max_rows": 8, "preferred_rows": 4, "part_rows": 8, **given}
    return BatchPolicy(**values)


def submit(
    served: DynamicBatcher, arrays: Arrays, terms: Terms = DEFAULT, alone: bool = False
) -> asyncio.Future[Arrays]:
    reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
    served.submit(arrays, len(arrays[0]), terms, reply, alone=alone)
    return reply


class Memory:
    """Reserves memory from a budget of a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.budget = Budget(limit)

    def __call__(self, size: int) -> Reservation:
        held = Reservation(self.budget)
        if not held.resize(size):
            raise MemoryFull(f"{size} bytes do not fit")
        return held


requests = st.lists(
    st.tuples(
        st.integers(1, 70),  # rows
        st.integers(1, 2),  # width
        st.sampled_from(["ok", "ok", "ok", "poison", "cancel", "expired"]),
        st.booleans(),  # alone
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(
    requests,
    st.sampled_from(KINDS),  # of all requests: the signature settles the datatypes
    st.sampled_from([BatchingMode.COMBINE, BatchingMode.ROWS]),
    st.booleans(),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(1, 4),
)
def test_every_request_is_answered_whole(
    plan: list[tuple[int, int, str, bool]],
    kind: str,
    mode: BatchingMode,
    inline: bool,
    preferred: int,
    part: int,
    max_queue: int,
) -> None:
    async def scenario() -> None:
        size = preferred if mode is BatchingMode.COMBINE else 1
        served = batcher(
            policy(mode=mode, preferred_rows=size, part_rows=part, max_queue=max_queue),
            inline=inline,
        )
        memory = Memory(10**9)
        replies: list[asyncio.Future[Arrays] | None] = []
        for rows, width, fate, alone in plan:
            terms = Terms(timeout=0.0 if fate == "expired" else None, memory=memory)
            given = numbered(rows, width, kind, fate == "poison")
            try:
                reply = submit(served, given, terms, alone)
            except QueueFull:
                replies.append(None)
                continue
            if fate == "cancel":
                reply.cancel()
                served.withdraw()
            replies.append(reply)
        assert replies[0] is not None  # nothing is too large for an empty queue
        for (rows, width, fate, _), answered in zip(plan, replies, strict=True):
            if answered is None or fate == "cancel":
                continue
            if fate == "ok":
                outputs = await asyncio.wait_for(answered, PATIENCE)
                for got, expected in zip(outputs, numbered(rows, width, kind), strict=True):
                    assert got.dtype == expected.dtype
                    np.testing.assert_array_equal(got, expected)
            else:
                with pytest.raises((InputRejected, DeadlineExceeded)):
                    await asyncio.wait_for(answered, PATIENCE)
        await asyncio.wait_for(served.drain(), PATIENCE)
        assert (served.waiting, served.in_flight, served.busy) == (0, 0, 0)
        assert memory.budget.held == 0
        served.close()

    asyncio.run(scenario())


async def test_a_small_request_runs_between_the_parts_of_a_large_one() -> None:
    order: list[int] = []

    def run(inputs: Arrays, *_: object) -> Arrays:
        order.append(len(inputs[0]))
        return inputs

    served = batcher(policy(preferred_rows=1, max_queue=2), run, inline=True)
    large = submit(served, numbered(80, 1, "int64"))
    small = submit(served, numbered(3, 1, "int64"))
    await asyncio.wait_for(small, PATIENCE)
    assert not large.done() and order.index(3) <= 2
    assert len((await asyncio.wait_for(large, PATIENCE))[0]) == 80
    assert sorted(order) == [3] + [8] * 10
    served.close()


async def test_a_large_request_takes_one_place_of_the_queue() -> None:
    running, go_on = threading.Barrier(3), threading.Event()

    def wait(inputs: Arrays, *_: object) -> Arrays:
        if len(inputs[0]) == 5:
            running.wait(PATIENCE)
        assert go_on.wait(PATIENCE)
        return inputs

    served = batcher(policy(max_queue=2), wait)
    replies = [submit(served, numbered(5, 1, "int64")) for _ in range(2)]
    try:
        await asyncio.to_thread(running.wait, PATIENCE)  # both instances are at work
        replies += [submit(served, numbered(rows, 1, "int64")) for rows in (80, 1)]
        for rows in (1, 80):
            with pytest.raises(QueueFull):
                submit(served, numbered(rows, 1, "int64"))
    finally:
        go_on.set()
    await asyncio.wait_for(asyncio.gather(*replies), PATIENCE)
    assert served.waiting == 0
    served.close()


async def test_the_deadline_applies_to_the_last_part() -> None:
    now = 0.0

    def slow(inputs: Arrays, *_: object) -> Arrays:
        nonlocal now
        now += 1.0
        return inputs

    rule = policy()
    served = DynamicBatcher(
        ("m", 1), rule, [Instance(slow, rule)], lambda _: None, inline=True, clock=lambda: now
    )
    reply = submit(served, numbered(40, 1, "int64"), Terms(timeout=2.5))
    with pytest.raises(DeadlineExceeded, match=r"rows 24 to 31 of 40 waited 3000.*allowed 2500"):
        await asyncio.wait_for(reply, PATIENCE)
    assert served.in_flight == 0 and now == 3.0  # the rest has not run
    served.close()


async def test_a_disconnected_client_cancels_the_remaining_parts() -> None:
    ran = 0

    def run(inputs: Arrays, *_: object) -> Arrays:
        nonlocal ran
        ran += 1
        return inputs

    served, memory = batcher(policy(), run, inline=True), Memory(10**9)
    reply = submit(served, numbered(800, 1, "int64"), Terms(memory=memory))
    assert ran == 1 and memory.budget.held > 0
    reply.cancel()
    served.withdraw()
    await asyncio.wait_for(served.drain(), PATIENCE)
    assert ran <= 2 and memory.budget.held == 0
    served.close()


async def test_a_failed_part_is_named_and_ends_the_request() -> None:
    served = batcher(policy(), inline=True)
    reply = submit(served, numbered(80, 1, "int64", poisoned=True))
    with pytest.raises(InputRejected, match="^rows 40 to 47 of 80: poisoned"):
        await asyncio.wait_for(reply, PATIENCE)
    await asyncio.wait_for(served.drain(), PATIENCE)
    served.close()


async def test_outputs_beyond_the_memory_budget_are_refused() -> None:
    ran = 0

    def wide(inputs: Arrays, *_: object) -> Arrays:
        nonlocal ran
        ran += 1
        return (np.zeros((len(inputs[0]), 1000), np.float32),)

    served = batcher(policy(), wide, inline=True)
    reply = submit(served, numbered(80, 1, "int64"), Terms(memory=Memory(100_000)))
    with pytest.raises(MemoryFull, match="320000 bytes"):
        await asyncio.wait_for(reply, PATIENCE)
    await asyncio.wait_for(served.drain(), PATIENCE)
    assert ran <= 2
    served.close()


@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
async def test_outputs_without_a_row_axis_are_refused(shape: tuple[int, ...]) -> None:
    served = batcher(policy(), lambda *_: (np.zeros(shape, np.float32),), inline=True)
    reply = submit(served, numbered(80, 1, "int64"), alone=True)
    with pytest.raises(InputRejected, match="not one row for each: send at most 8 in one request"):
        await asyncio.wait_for(reply, PATIENCE)
    served.close()


async def test_outputs_of_different_lengths_are_refused() -> None:
    def ragged(inputs: Arrays, *_: object) -> Arrays:
        return (np.zeros((len(inputs[0]), 1 + int(inputs[0][0, 0])), np.float32),)

    served = batcher(policy(), ragged, inline=True)
    reply = submit(served, numbered(80, 1, "int64"))
    with pytest.raises(InputRejected, match=r"shape \[8, 9\] for rows 8 to 15 of 80 and \[1\]"):
        await asyncio.wait_for(reply, PATIENCE)
    served.close()


async def test_a_large_request_gets_an_error_when_the_model_is_unloaded() -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait(inputs: Arrays, *_: object) -> Arrays:
        started.set()
        assert go_on.wait(PATIENCE)
        return inputs

    served = batcher(policy(), wait)
    reply = submit(served, numbered(800, 1, "int64"))
    await asyncio.to_thread(started.wait, PATIENCE)
    served.close()
    go_on.set()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(reply, PATIENCE)
    await asyncio.wait_for(served.drain(), PATIENCE)


async def test_a_request_that_may_not_be_cut_is_refused_with_the_limit() -> None:
    served = batcher(policy(part_rows=0, refusal="the limit is max_batch_size: send fewer rows"))
    with pytest.raises(SignatureMismatch) as caught:
        submit(served, numbered(9, 1, "int64"))
    assert str(caught.value) == (
        'model "m" version 1: 9 rows in one request, at most 8 fit; the limit is max_batch_size:'
        " send fewer rows"
    )
    given = Overriding(numbered(9, 1, "int64"), {"k": np.array(7)})
    with pytest.raises(SignatureMismatch, match="overrides defaults"):
        submit(batcher(policy()), given, alone=True)
