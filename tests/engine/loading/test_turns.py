"""Versions are loaded one after the other, unless a load takes long or is requested by a client."""

import asyncio

import pytest

from service.core.errors import TooManyLoads
from service.engine.loading.turns import Turns


async def load(turns: Turns, done: asyncio.Event, waits: bool = True) -> None:
    async with turns.one(waits):
        await done.wait()


async def until(turns: Turns, loading: int) -> None:
    async with asyncio.timeout(10):
        while turns.loading != loading:
            await asyncio.sleep(0)


async def test_the_next_load_begins_when_the_previous_has_ended() -> None:
    turns = Turns(stagger=3600.0)
    ends = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(load(turns, end)) for end in ends]
    for end in ends:
        for _ in range(10):
            await asyncio.sleep(0)
        assert turns.loading == 1
        end.set()
    await asyncio.gather(*tasks)
    assert turns.loading == 0


async def test_the_next_load_begins_when_the_previous_takes_long() -> None:
    turns, end = Turns(stagger=0.0), asyncio.Event()
    tasks = [asyncio.create_task(load(turns, end)) for _ in range(3)]
    await until(turns, 3)
    end.set()
    await asyncio.gather(*tasks)
    async with turns.one(waits=True):  # turns that have ended are passed on only once
        assert turns.loading == 1


async def test_requested_loads_do_not_wait_and_are_limited_in_number() -> None:
    turns, end = Turns(stagger=3600.0, most=2), asyncio.Event()
    tasks = [asyncio.create_task(load(turns, end, waits=False)) for _ in range(2)]
    await until(turns, 2)
    with pytest.raises(TooManyLoads, match="2 versions"):
        await load(turns, end, waits=False)
    end.set()
    await asyncio.gather(*tasks)
    await load(turns, end, waits=False)


async def test_a_cancelled_load_passes_its_turn_on() -> None:
    turns, end = Turns(stagger=3600.0), asyncio.Event()
    first, second = (asyncio.create_task(load(turns, end)) for _ in range(2))
    await until(turns, 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    end.set()
    await asyncio.wait_for(second, 10)
    assert turns.loading == 0


async def test_quiet_returns_when_the_last_load_has_ended() -> None:
    turns, ends = Turns(stagger=0.0), [asyncio.Event() for _ in range(2)]
    await turns.quiet()
    tasks = [asyncio.create_task(load(turns, end)) for end in ends]
    await until(turns, 2)
    waiting = [asyncio.create_task(turns.quiet()) for _ in range(2)]
    ends[0].set()
    await until(turns, 1)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not waiting[1].done()
    ends[1].set()
    await asyncio.gather(*tasks, waiting[1])
