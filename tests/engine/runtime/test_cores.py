"""Batchers of several models on the same cores, with real threads."""

import asyncio
from collections.abc import Callable
from threading import Event
from time import monotonic, sleep

import numpy as np
import pytest

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import ShuttingDown
from service.core.requests import Terms
from service.core.sole_use import SOLE_AFTER, SoleUse
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.cores import Cores, Share
from service.engine.runtime.execution import Instance

ROW = (np.zeros((1, 1), np.float32),)
POLICY = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1)


class Model:
    """A model that appends its name to ``ran`` when a run begins; a run takes ``seconds``."""

    def __init__(self, name: str, ran: list[str], seconds: float) -> None:
        self._name, self._ran, self._seconds = name, ran, seconds

    def __call__(self, inputs: Arrays, *_: object) -> Arrays:
        self._ran.append(self._name)
        sleep(self._seconds)
        return inputs

    def served(
        self,
        share: Share,
        instances: int = 1,
        clock: Callable[[], float] = monotonic,
        policy: BatchPolicy = POLICY,
    ) -> DynamicBatcher:
        return DynamicBatcher(
            (self._name, 1),
            policy,
            [Instance(self, policy)] * instances,
            lambda _: None,
            share=share,
            clock=clock,
        )


def submit(served: DynamicBatcher, count: int) -> list[asyncio.Future[Arrays]]:
    replies = []
    for _ in range(count):
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        served.submit(ROW, 1, Terms(), reply)
        replies.append(reply)
    return replies


async def test_waiting_models_run_by_weight() -> None:
    cores, ran = Cores(1), list[str]()
    heavy = Model("heavy", ran, 0.004).served(Share(cores, weight=3))
    light = Model("light", ran, 0.004).served(Share(cores, weight=1))
    replies = submit(heavy, 60) + submit(light, 60)
    await asyncio.wait_for(asyncio.gather(*replies), 30)
    # Until the heavy one is done, it has three runs of four; sleeps vary on a busy machine.
    last = max(at for at, name in enumerate(ran) if name == "heavy")
    assert 10 <= ran[:last].count("light") <= 32
    assert ran.count("heavy") == ran.count("light") == 60
    heavy.close()
    light.close()


async def test_a_rare_request_begins_before_an_earlier_flood() -> None:
    cores, ran = Cores(2), list[str]()
    flood = Model("flood", ran, 0.02).served(Share(cores), instances=2)
    rare = Model("rare", ran, 0.001).served(Share(cores))
    replies = submit(flood, 20)
    await asyncio.sleep(0.03)
    (asked,) = submit(rare, 1)
    await asyncio.wait_for(asked, 30)
    assert ran.index("rare") <= 6  # of 21
    await asyncio.wait_for(asyncio.gather(*replies), 30)
    flood.close()
    rare.close()


async def test_a_model_that_waits_for_its_turn_does_not_poll_the_event_loop() -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return monotonic()

    cores, ran = Cores(1), list[str]()
    # A queue delay that has run out must not set its timer again and again.
    policy = BatchPolicy(BatchingMode.REQUESTS, preferred_rows=1, max_delay=0.001)
    busy = [Model("busy", ran, 0.2).served(Share(cores, weight=100)) for _ in range(2)]
    held = Model("held", ran, 0.0).served(Share(cores, weight=0.01), clock=clock, policy=policy)
    await asyncio.gather(*submit(held, 1))
    replies = [reply for served in busy for reply in submit(served, 1)]
    await asyncio.sleep(0.05)
    before, last = looks, submit(held, 1)
    await asyncio.sleep(0.1)
    assert looks - before < 30
    await asyncio.wait_for(asyncio.gather(*replies, *last), 30)
    for served in (*busy, held):
        served.close()


async def test_unloading_a_waiting_model_passes_its_turn_on() -> None:
    cores, ran = Cores(1), list[str]()
    first, second, third = (
        Model(name, ran, 0.05).served(Share(cores)) for name in ("first", "second", "third")
    )
    replies = submit(first, 4) + submit(third, 4)
    gone = submit(second, 4)
    await asyncio.sleep(0.01)
    second.close()
    await asyncio.wait_for(asyncio.gather(*replies), 30)
    with pytest.raises(ShuttingDown):
        await gone[-1]
    for reply in gone:
        reply.exception()
    first.close()
    third.close()


async def test_a_run_in_a_thread_keeps_its_model_in_use() -> None:
    now, go_on = 0.0, Event()

    def run(inputs: Arrays, *_: object) -> Arrays:
        assert go_on.wait(30)
        return inputs

    cores = Cores(1)
    cores.use = SoleUse(lambda: now)
    served = DynamicBatcher(
        ("m", 1), POLICY, [Instance(run, POLICY)], lambda _: None, share=Share(cores)
    )

    def other_is_sole() -> bool:
        nonlocal now
        cores.use.note("other")
        now += SOLE_AFTER
        return cores.use.is_sole("other")

    replies = submit(served, 1)
    assert not other_is_sole()
    go_on.set()
    await asyncio.wait_for(asyncio.gather(*replies), 30)
    assert other_is_sole()
    served.close()
