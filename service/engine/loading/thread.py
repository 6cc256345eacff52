"""A separate thread for each version that is being loaded.

A load may never end: neither a native call nor a node of a graph can be interrupted. In a thread
pool it would block other work. A separate thread is abandoned if it does not return.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import ParamSpec, TypeVar

from service.core.errors import LoadFailed
from service.core.run_limits import GRACE_SECONDS
from service.engine.runtime.execution import Control

P = ParamSpec("P")
T = TypeVar("T")


class LoadingThread:
    """Runs the steps of one load, one after the other, within one time limit for all steps.

    ``control`` ends their runs. ``on_lost`` is called on the event loop with True when a thread
    does not return within ``grace`` seconds, and with False if it returns after all.
    """

    def __init__(
        self,
        control: Control,
        seconds: float,
        on_lost: Callable[[bool], None] = lambda _: None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.control = control
        self._seconds = seconds
        self._grace = grace
        self._on_lost = on_lost
        self._until = asyncio.get_running_loop().time() + seconds

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one step.

        Raises:
            LoadFailed: the time limit is exceeded.
        """
        done = self._begin(partial(call, *args, **kwargs))
        try:
            left = self._until - asyncio.get_running_loop().time()
            await asyncio.wait({done}, timeout=max(0.0, left))
            if done.done():
                return done.result()
        finally:
            if not done.done():
                self.control.terminate = True
        await self._give_up(done)
        raise LoadFailed(self._late("and was ended"))

    async def _give_up(self, done: asyncio.Future[T]) -> None:
        await asyncio.wait({done}, timeout=self._grace)
        if done.done():
            done.exception()  # mark the exception as retrieved
            return
        self._on_lost(True)
        done.add_done_callback(self._came_back)
        raise LoadFailed(self._late("and does not stop: its thread was abandoned"))

    def _came_back(self, done: asyncio.Future[T]) -> None:
        done.exception()
        self._on_lost(False)

    def _late(self, end: str) -> str:
        return (
            f"loading took longer than {self._seconds:g} s {end}"
            " (load_timeout in [limits] of model.toml)"
        )

    def _begin(self, call: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(set_: Callable[..., None], value: object) -> None:
            if not done.done():
                set_(value)

        def work() -> None:
            set_: Callable[..., None] = done.set_result
            value: object
            try:
                value = call()
            except BaseException as error:
                set_, value = done.set_exception, error
            with suppress(RuntimeError):  # the event loop is gone
                loop.call_soon_threadsafe(tell, set_, value)

        Thread(target=work, name="loading", daemon=True).start()
        return done
