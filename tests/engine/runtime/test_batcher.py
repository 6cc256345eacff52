"""Every accepted request gets its own rows, even if other requests fail or disconnect."""

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    NotReady,
    QuantserveError,
    QueueFull,
    RunTimeout,
    ShuttingDown,
    WouldExpire,
)
from service.core.events import Event
from service.core.requests import Terms
from service.core.run_limits import RunLimits
from service.core.tensors import Arrays, Overriding
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.cores import Cores, Share
from service.engine.runtime.execution import Instance
from service.engine.runtime.slots import LONE_AFTER
from tests.engine.controls import Heeded
from tests.patience import PATIENCE

POISON = -1.0
DEFAULT = Terms()


def twice(inputs: Arrays, *_: object) -> Arrays:
    """A model that doubles its rows, and fails if a poisoned row is among them."""
    if (inputs[0] == POISON).any():
        raise ExecutionFailed("poisoned")
    return (inputs[0] * 2,)


def batcher(policy: BatchPolicy, inline: bool = False, instances: int = 2) -> DynamicBatcher:
    events: list[Event] = []
    count = 1 if inline else instances
    return DynamicBatcher(
        ("m", 1), policy, [Instance(twice, policy)] * count, events.append, inline=inline
    )


def submit(
    served: DynamicBatcher, arrays: Arrays, count: int, terms: Terms = DEFAULT
) -> asyncio.Future[Arrays]:
    reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
    served.submit(arrays, count, terms, reply)
    return reply


def rows(value: float, count: int, width: int = 2) -> Arrays:
    return (np.full((count, width), value, np.float32),)


requests = st.lists(
    st.tuples(
        st.integers(1, 5),  # rows
        st.integers(1, 3),  # width: requests of another width cannot share a batch
        st.sampled_from(["ok", "ok", "ok", "poison", "cancel", "expired"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(requests, st.sampled_from(list(BatchingMode)), st.booleans(), st.integers(1, 8))
@example([(2, 1, "ok")] * 40, BatchingMode.ROWS, False, 1)
def test_every_request_gets_its_own_rows(
    plan: list[tuple[int, int, str]], mode: BatchingMode, inline: bool, preferred: int
) -> None:
    async def scenario() -> None:
        size = preferred if mode is BatchingMode.COMBINE else 1
        policy = BatchPolicy(mode, max_rows=5, preferred_rows=size, max_queue=60)
        served = batcher(policy, inline)
        replies: list[Any] = []
        for index, (count, width, fate) in enumerate(plan):
            value = POISON if fate == "poison" else float(index + 1)
            terms = Terms(timeout=0.0 if fate == "expired" else None)
            counted = 1 if mode is BatchingMode.REQUESTS else count
            try:
                reply = submit(served, rows(value, count, width), counted, terms)
            except QueueFull:
                reply = None
            assert served.waiting <= policy.max_queue
            if reply is not None and fate == "cancel":
                reply.cancel()
                served.withdraw()
            replies.append(reply)
        for index, ((count, width, fate), reply) in enumerate(zip(plan, replies, strict=True)):
            if reply is None or fate == "cancel":
                continue
            if fate == "ok":
                (output,) = await asyncio.wait_for(reply, PATIENCE)
                assert output.tolist() == [[2.0 * (index + 1)] * width] * count
            else:
                with pytest.raises((ExecutionFailed, DeadlineExceeded)):
                    await asyncio.wait_for(reply, PATIENCE)
        await asyncio.wait_for(served.drain(), PATIENCE)
        assert served.waiting == 0 and served.busy == 0
        served.close()

    asyncio.run(scenario())


async def test_requests_of_disconnected_clients_leave_the_queue() -> None:
    policy = BatchPolicy(max_delay=600.0, max_queue=1, preferred_rows=8)
    served = batcher(policy)
    submit(served, rows(1, 1), 1).cancel()
    served.withdraw()
    await asyncio.wait_for(served.drain(), PATIENCE)
    assert served.waiting == 0
    served.close()


async def test_a_request_that_would_miss_its_deadline_is_refused_at_once() -> None:
    policy = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1, max_queue=40)

    def slow(inputs: Arrays, *_: object) -> Arrays:
        threading.Event().wait(0.02)
        return twice(inputs)

    served = DynamicBatcher(("m", 1), policy, [Instance(slow, policy)], lambda _: None)
    hasty, patient = Terms(timeout=0.1), Terms(timeout=600.0)
    await submit(served, rows(1, 1), 1, hasty)  # nothing waits, and nothing is known
    waiting = [submit(served, rows(1, 1), 1) for _ in range(30)]
    with pytest.raises(WouldExpire, match="allows 0.1 s") as refused:
        submit(served, rows(1, 1), 1, hasty)
    assert 0.2 < refused.value.retry_after < 600
    urgent = submit(served, rows(1, 1), 1, Terms(priority=1, timeout=60.0))
    waiting += [submit(served, rows(1, 1), 1, patient) for _ in range(5)]
    await urgent
    assert not waiting[-1].done()
    with pytest.raises(QueueFull) as full:
        for _ in range(40):
            waiting.append(submit(served, rows(1, 1), 1))
    assert full.value.retry_after > 0.1
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
    await submit(served, rows(1, 1), 1, hasty)
    served.close()


async def test_waiting_requests_get_an_error_at_close() -> None:
    served = batcher(BatchPolicy(max_delay=600.0, preferred_rows=8))
    reply = submit(served, rows(1, 1), 1)
    served.close()
    with pytest.raises(QuantserveError, match="unloaded"):
        await reply


async def test_requests_are_in_flight_until_they_are_answered() -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait(inputs: Arrays, *_: object) -> Arrays:
        started.set()
        assert go_on.wait(PATIENCE)
        return inputs

    policy = BatchPolicy(preferred_rows=1)
    served = DynamicBatcher(("m", 1), policy, [Instance(wait, policy)], lambda _: None)
    replies = [submit(served, rows(1, 1), 1) for _ in range(3)]
    assert served.in_flight == 3
    await asyncio.to_thread(started.wait, PATIENCE)
    # One runs, one is next in the instance's thread, one waits.
    assert (served.busy, served.waiting, served.in_flight) == (1, 1, 3)
    go_on.set()
    await asyncio.gather(*replies)
    assert served.in_flight == 0
    served.close()


async def test_a_request_marked_alone_shares_no_run() -> None:
    sizes: list[int] = []

    def run(inputs: Arrays, *_: object) -> Arrays:
        sizes.append(len(inputs[0]))
        return inputs

    policy = BatchPolicy()
    served = DynamicBatcher(("m", 1), policy, [Instance(run, policy)], lambda _: None, inline=True)
    replies: list[asyncio.Future[Arrays]] = []
    for count, alone in [(1, False), (2, True), (1, False), (0, True), (3, False), (2, True)]:
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        served.submit(rows(1, count), max(1, count), DEFAULT, reply, alone=alone)
        replies.append(reply)
    answers = await asyncio.gather(*replies)
    assert [len(array) for (array,) in answers] == [1, 2, 1, 0, 3, 2]
    assert sorted(sizes) == [0, 1, 2, 2, 4]  # the first came to a free instance


async def test_single_rows_keep_the_overrides_of_their_request() -> None:
    seen: list[Any] = []

    def run(inputs: Arrays, *_: object) -> Arrays:
        assert isinstance(inputs, Overriding)
        seen.append(inputs.overrides["k"])
        return inputs

    policy = BatchPolicy(BatchingMode.ROWS, preferred_rows=1)
    served = DynamicBatcher(("m", 1), policy, [Instance(run, policy)], lambda _: None, inline=True)
    reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
    given = Overriding(rows(1, 3), {"k": np.array(7)})
    served.submit(given, 3, DEFAULT, reply, alone=True)
    assert len((await reply)[0]) == 3 and [int(k) for k in seen] == [7, 7, 7]


def until_ended(inputs: Arrays, _: object, control: Any) -> Arrays:
    """A model that runs forever on a negative row."""
    if (inputs[0] < 0).any():
        assert control.ended.wait(10)
        raise ExecutionFailed("Exiting due to terminate flag being set to true")
    return inputs


def limited(run: Any, limits: RunLimits, lost: Any = None) -> DynamicBatcher:
    policy = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1)
    return DynamicBatcher(
        ("m", 1),
        policy,
        [Instance(run, policy)],
        lambda _: None,
        limits=limits,
        new_control=Heeded,
        on_lost=lost or (lambda _: None),
    )


async def test_a_run_past_its_timeout_is_ended_and_the_next_one_runs() -> None:
    served = limited(until_ended, RunLimits(timeout=0.0, grace=60.0))
    endless, short = submit(served, rows(-1, 1), 1), submit(served, rows(1, 1), 1)
    with pytest.raises(RunTimeout, match="run_timeout"):
        await asyncio.wait_for(endless, 10)
    assert len((await asyncio.wait_for(short, 10))[0]) == 1
    assert served.in_flight == 0
    served.close()


async def test_a_run_without_waiting_clients_is_ended_and_frees_its_thread() -> None:
    served = limited(until_ended, RunLimits(timeout=3600.0))
    endless, short = submit(served, rows(-1, 1), 1), submit(served, rows(1, 1), 1)
    endless.cancel()
    served.withdraw()
    assert len((await asyncio.wait_for(short, 10))[0]) == 1
    await asyncio.wait_for(served.drain(), 10)
    served.close()


async def test_a_thread_that_does_not_return_is_given_up() -> None:
    go_on, told = threading.Event(), asyncio.Queue[bool]()

    def stuck(inputs: Arrays, *_: object) -> Arrays:
        assert go_on.wait(10)
        return inputs

    served = limited(stuck, RunLimits(timeout=0.0, grace=0.0), told.put_nowait)
    replies = [submit(served, rows(1, 1), 1) for _ in range(3)]
    with pytest.raises(RunTimeout):
        await asyncio.wait_for(replies[0], 10)
    assert await told.get() is True
    assert served.free_marks == []  # the thread is still at work
    served.close("its thread was given up")
    for waiting in replies[1:]:
        with pytest.raises(NotReady, match="given up"):
            await asyncio.wait_for(waiting, 10)
    await asyncio.wait_for(served.drain(), 10)
    go_on.set()
    assert await asyncio.wait_for(told.get(), 10) is False
    assert served.free_marks


async def test_running_batches_are_ended_at_close() -> None:
    served = limited(until_ended, RunLimits(timeout=3600.0))
    endless, next_ = submit(served, rows(-1, 1), 1), submit(served, rows(-1, 1), 1)
    served.close()
    for each in (endless, next_):
        with pytest.raises(ShuttingDown, match="unloaded"):
            await asyncio.wait_for(each, 10)
    await asyncio.wait_for(served.drain(), 10)
    assert served.in_flight == 0


async def test_a_closed_batcher_is_freed_at_once() -> None:
    """The ONNX Runtime session is freed at once, without waiting for a garbage collection."""
    served = limited(until_ended, RunLimits(timeout=3600.0))
    await asyncio.wait_for(submit(served, rows(1, 1), 1), 10)
    served.close()
    threads, held = served._threads, weakref.ref(served)
    assert threads is not None
    gc.disable()
    try:
        del served
        threads.shutdown(wait=True)
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()


async def test_under_overload_urgent_requests_are_answered_and_the_others_refused() -> None:
    def run(inputs: Arrays, *_: object) -> Arrays:
        time.sleep(0.01)
        return inputs

    policy = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1)
    served = DynamicBatcher(("m", 1), policy, [Instance(run, policy)], lambda _: None)
    await submit(served, rows(1, 1), 1)  # so that the time of a run is known
    refused = 0
    usual: list[asyncio.Future[Arrays]] = []
    urgent: list[asyncio.Future[Arrays]] = []
    last = list[int]()
    for number in range(400):  # ten times as many as there is time for
        urgent_one = number % 40 == 0
        terms = Terms(priority=1, timeout=60.0) if urgent_one else Terms(priority=2, timeout=0.2)
        try:
            reply = submit(served, rows(1, 1), 1, terms)
            (urgent if urgent_one else usual).append(reply)
            if urgent_one:
                ahead = [each for each in usual if not each.done()]
                reply.add_done_callback(
                    lambda _, ahead=ahead: last.append(
                        sum(each.done() and not each.exception() for each in ahead)
                    )
                )
        except WouldExpire:
            assert not urgent_one
            refused += 1
        await asyncio.sleep(0.001)
    assert len(await asyncio.wait_for(asyncio.gather(*urgent), PATIENCE)) == 10
    assert refused > 200
    assert max(last) <= 4, "urgent requests waited behind others"
    for reply in await asyncio.gather(*usual, return_exceptions=True):
        assert not isinstance(reply, BaseException) or isinstance(reply, DeadlineExceeded)
    served.close()


async def test_a_busy_instance_gets_the_next_batch_once_it_is_full() -> None:
    policy, gate, ran = BatchPolicy(preferred_rows=2), threading.Event(), list[int]()

    def run(inputs: Arrays, *_: object) -> Arrays:
        ran.append(len(inputs[0]))
        gate.wait(PATIENCE)
        return inputs

    served = DynamicBatcher(("m", 1), policy, [Instance(run, policy)], lambda _: None)
    replies = [submit(served, rows(1, 1), 1)]
    while not ran:
        await asyncio.sleep(0.001)
    replies.append(submit(served, rows(1, 1), 1))
    await asyncio.sleep(0)
    assert (served.waiting, served.in_flight, served.busy) == (1, 2, 1)
    replies.append(submit(served, rows(1, 1), 1))
    await asyncio.sleep(0)
    assert (served.waiting, served.in_flight, served.busy) == (0, 3, 1)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*replies), PATIENCE)
    assert ran == [1, 2] and served.busy == 0
    served.close()


async def test_a_lone_request_uses_all_cores_and_concurrent_ones_do_not() -> None:
    policy, ran, gate = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1), "", threading.Event()

    def noting(name: str) -> Instance:
        def run(inputs: Arrays, *_: object) -> Arrays:
            nonlocal ran
            ran += name
            gate.wait(PATIENCE)
            return inputs

        return Instance(run, policy)

    usual = [noting("u")] * 2
    served = DynamicBatcher(("m", 1), policy, usual, lambda _: None, lone=noting("L"))
    first = submit(served, rows(1, 1), 1)
    while not ran:
        await asyncio.sleep(0.001)
    second = submit(served, rows(1, 1), 1)  # while the lone one is under way
    while len(ran) < 2:
        await asyncio.sleep(0.001)
    gate.set()
    await asyncio.wait_for(asyncio.gather(first, second), PATIENCE)
    for _ in range(LONE_AFTER + 1):
        await asyncio.wait_for(submit(served, rows(1, 1), 1), PATIENCE)
    assert ran == "Lu" + "u" * (LONE_AFTER - 1) + "LL"
    served.close()


async def test_a_request_is_not_lone_while_another_model_runs() -> None:
    policy = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1)
    ran: list[str] = []

    def noting(name: str) -> Instance:
        def run(inputs: Arrays, *_: object) -> Arrays:
            ran.append(name)
            return inputs

        return Instance(run, policy)

    cores = Cores(2)
    served = DynamicBatcher(
        ("m", 1), policy, [noting("usual")], lambda _: None, share=Share(cores), lone=noting("lone")
    )
    cores.seat("other", 1.0, 1, served.withdraw).begin()
    await asyncio.wait_for(submit(served, rows(1, 1), 1), PATIENCE)
    assert ran == ["usual"]
    served.close()
