"""Loading ends within its timeout: by itself, by termination, or by abandoning its thread."""

import asyncio
import threading

import pytest

from service.core.errors import LoadFailed
from service.engine.loading.thread import LoadingThread
from service.engine.runtime.execution import Unheeded
from tests.engine.controls import Heeded


async def test_work_that_ends_in_time_is_returned() -> None:
    thread = LoadingThread(Unheeded(), 60.0)
    assert await thread.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.run(divmod, 7, 0)
    assert not thread.control.terminate


async def test_work_that_takes_too_long_is_ended() -> None:
    control, lost = Heeded(), list[bool]()
    thread = LoadingThread(control, 0.0, lost.append, grace=60.0)
    with pytest.raises(LoadFailed, match=r"longer than 0 s and was ended \(load_timeout"):
        await thread.run(control.ended.wait, 10)
    assert lost == []


async def test_a_thread_that_does_not_return_is_given_up() -> None:
    go_on, told = threading.Event(), asyncio.Queue[bool]()
    thread = LoadingThread(Unheeded(), 0.0, told.put_nowait, grace=0.0)
    with pytest.raises(LoadFailed, match="abandoned"):
        await thread.run(go_on.wait, 10)
    assert await told.get() is True
    go_on.set()
    assert await asyncio.wait_for(told.get(), 10) is False


async def test_cancelled_work_is_ended() -> None:
    control, begun = Heeded(), threading.Event()

    def work() -> None:
        begun.set()
        assert control.ended.wait(10)

    task = asyncio.create_task(LoadingThread(control, 3600.0).run(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert control.terminate


async def test_an_error_after_the_timeout_is_reported_as_the_timeout() -> None:
    control = Heeded()

    def fail() -> None:
        assert control.ended.wait(10)
        raise ValueError("Exiting due to terminate flag")

    with pytest.raises(LoadFailed, match="load_timeout"):
        await LoadingThread(control, 0.0, grace=60.0).run(fail)
