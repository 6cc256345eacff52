"""Inputs up to the measured size run in the event loop, larger inputs in threads."""

import asyncio
import threading

import numpy as np

from service.core.batching import BatchPolicy
from service.core.extent import Axis, Extent
from service.core.requests import Terms
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.execution import Instance
from service.engine.runtime.split_batcher import SplitBatcher

HERE = threading.get_ident()


def rows(count: int) -> Arrays:
    return (np.zeros((count, 2), np.float32),)


async def test_a_large_request_holds_up_no_small_one() -> None:
    policy, go_on = BatchPolicy(), threading.Event()
    threads: dict[int, int] = {}

    def run(inputs: Arrays, *_: object) -> Arrays:
        threads[len(inputs[0])] = threading.get_ident()
        if len(inputs[0]) > 4:
            assert go_on.wait(10)
        return inputs

    def batcher(inline: bool) -> DynamicBatcher:
        instances = [Instance(run, policy)]
        return DynamicBatcher(("m", 1), policy, instances, lambda _: None, inline=inline)

    served = SplitBatcher(batcher(True), batcher(False), Extent((Axis(0, 0, 4),)))
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
