"""Runs past their timeout are ended, and runs that do not end are given up, with a test clock."""

import asyncio
import gc
import weakref
from typing import Any

import numpy as np
import pytest

from service.core.batching import Batch, BatchKey, BatchPolicy, Entry
from service.core.errors import RunTimeout, ShuttingDown
from service.core.run_limits import RunLimits
from service.engine.runtime.execution import Instance, Unheeded
from service.engine.runtime.runs import Running, Runs

INSTANCE = Instance(lambda inputs, *_: inputs, BatchPolicy())


class Given:
    """Runs with a limit of 10 s and a grace of 5 s; the test sets the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.given_up: list[Running] = []
        self.runs = Runs(("m", 1), RunLimits(10.0, 5.0), Unheeded, self.give_up, lambda: self.now)

    def give_up(self, running: Running) -> None:
        """Record the call that a batcher would get."""
        self.given_up.append(running)

    def begin(self) -> Running:
        """Return a run that a thread has begun."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry = Entry((np.zeros(1),), 1, BatchKey((), None), 0, 0.0, None, reply)
        running = self.runs.begin(INSTANCE, Batch((entry,), 1))
        running.started = self.now
        return running

    def look(self, now: float) -> None:
        """Check the runs at a time."""
        self.now = now
        self.runs.look()


@pytest.fixture
async def given() -> Given:
    return Given()


async def test_a_run_is_ended_at_its_timeout(given: Given) -> None:
    first = given.begin()
    given.now = 4.0
    second = given.begin()
    given.look(9.9)
    assert not first.control.terminate
    given.look(10.0)
    assert first.control.terminate and isinstance(first.why, RunTimeout)
    assert "10 s" in str(first.why) and "run_timeout" in str(first.why) and '"m"' in str(first.why)
    assert not second.control.terminate
    given.runs.end(first)
    given.look(14.0)
    assert second.control.terminate and not given.given_up


async def test_a_run_that_does_not_return_is_given_up(given: Given) -> None:
    running = given.begin()
    for now in (10.0, 14.9):
        given.look(now)
    assert not running.lost
    given.look(15.0)
    assert running.lost and given.given_up == [running] and len(given.runs) == 0
    given.look(99.0)
    assert given.given_up == [running]


async def test_time_waiting_for_a_thread_does_not_count(given: Given) -> None:
    running = given.begin()
    running.started = None
    given.look(1000.0)
    assert not running.control.terminate


async def test_a_run_without_waiting_clients_is_ended_without_an_error(given: Given) -> None:
    left, wanted = given.begin(), given.begin()
    left.batch.entries[0].reply.cancel()  # type: ignore[attr-defined]
    given.runs.stop_unwanted()
    assert left.control.terminate and left.why is None and not wanted.control.terminate
    given.look(5.0)
    assert not given.given_up  # its time is not over


async def test_stop_all_ends_every_run_with_the_reason(given: Given) -> None:
    running = given.begin()
    assert given.runs.stop_all(ShuttingDown("bye")) == []
    assert running.control.terminate and isinstance(running.why, ShuttingDown)
    given.look(5.0)
    assert given.given_up == [running]


async def test_closed_runs_are_freed_at_once(given: Given) -> None:
    """A timer would keep a reference until the timeout of a run."""
    held = weakref.ref(given.runs)
    running = given.begin()
    given.runs.stop_all(ShuttingDown("bye"))
    given.runs.end(running)
    del given.runs, running
    gc.collect()
    assert held() is None
