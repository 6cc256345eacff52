"""Inputs up to the measured size run in the event loop, larger inputs in threads."""

import asyncio
import threading

import numpy as np

from service.core.batching import BatchPolicy
from service.core.extent import Axis, Extent
from service.core.requests import Terms
from service.core.sole_use import SOLE_AFTER, SoleUse
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.execution import Instance, Run
from service.engine.runtime.split_batcher import SplitBatcher

HERE = threading.get_ident()
POLICY = BatchPolicy()


def rows(count: int) -> Arrays:
    return (np.zeros((count, 2), np.float32),)


def batcher(run: Run, inline: bool) -> DynamicBatcher:
    return DynamicBatcher(("m", 1), POLICY, [Instance(run, POLICY)], lambda _: None, inline=inline)


async def test_a_large_request_holds_up_no_small_one() -> None:
    go_on = threading.Event()
    threads: dict[int, int] = {}

    def run(inputs: Arrays, *_: object) -> Arrays:
        threads[len(inputs[0])] = threading.get_ident()
        if len(inputs[0]) > 4:
            assert go_on.wait(10)
        return inputs

    both = batcher(run, inline=True), batcher(run, inline=False)
    served = SplitBatcher(*both, Extent((Axis(0, 0, 4),)), "m", SoleUse())
    replies: dict[int, asyncio.Future[Arrays]] = {}
    for count in (5, 1, 4):
        replies[count] = asyncio.get_running_loop().create_future()
        served.submit(rows(count), count, Terms(), replies[count])
    for count in (1, 4):
        assert len((await asyncio.wait_for(replies[count], 10))[0]) == count
    assert (served.in_flight, served.busy, served.waiting, served.instances) == (1, 1, 0, 1)
    go_on.set()
    await asyncio.wait_for(served.drain(), 10)
    assert len((await replies[5])[0]) == 5
    assert threads[1] == threads[4] == HERE != threads[5]
    served.close()
    assert served.free_marks


async def test_long_runs_use_the_event_loop_while_no_other_model_is_in_use() -> None:
    now, threads = 0.0, list[int]()

    def run(inputs: Arrays, *_: object) -> Arrays:
        threads.append(threading.get_ident())
        return inputs

    both = batcher(run, inline=True), batcher(run, inline=False)
    use = SoleUse(lambda: now)
    served = SplitBatcher(*both, Extent((Axis(0, 0, 4),)), "m", use, if_sole=True)

    async def runs_here(count: int = 1) -> bool:
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        served.submit(rows(count), count, Terms(), reply)
        assert len((await asyncio.wait_for(reply, 10))[0]) == count
        return threads.pop() == HERE

    assert not await runs_here()
    now += SOLE_AFTER
    assert await runs_here() and not await runs_here(5)
    use.note("other")
    assert not await runs_here()
    now += SOLE_AFTER
    assert await runs_here()
    served.close()
