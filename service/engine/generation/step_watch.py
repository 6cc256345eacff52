"""Ends steps that exceed their time limit, and gives up lanes that do not return.

Everything here is called on the event loop. One timer watches all lanes while there are requests.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from weakref import WeakMethod

from service.core.errors import RunTimeout
from service.core.run_limits import Move, RunLimits, judge
from service.engine.generation.lane import Lane

_log = logging.getLogger(__name__)


class StepWatch:
    """The time limit of the steps of all lanes. ``alive``, a method, returns the lanes whose thread
    is running. ``give_up``, a method, is called with a lane that does not return. ``clock`` is the
    clock of the lanes."""

    def __init__(
        self,
        label: tuple[str, int],
        limits: RunLimits,
        alive: Callable[[], Iterable[Lane]],
        give_up: Callable[[Lane], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._limits = limits
        # Weak references: a cycle would keep the model in memory until a garbage collection.
        self._alive, self._give_up = WeakMethod(alive), WeakMethod(give_up)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the timer: there are requests."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.timeout, self._look)

    def end(self) -> None:
        """Stop the timer: there are no more requests."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer, now, times = None, self._clock(), []
        alive, give_up = self._alive(), self._give_up()
        if alive is None or give_up is None:
            return
        for lane in tuple(alive()):
            move, again = judge(lane.started, lane.stopped, now, self._limits)
            if lane.started is not None and move is Move.GIVE_UP:
                give_up(lane)
                continue
            if move is Move.STOP:
                late = self._late()
                _log.warning("%s", late)
                lane.stop(now, late)
            times.append(again)
        if times:
            self._timer = self._loop.call_later(max(0.01, min(times) - now), self._look)

    def _late(self) -> RunTimeout:
        return RunTimeout(
            f'model "{self._model}" version {self._version}: a step took longer than'
            f" {self._limits.timeout:g} s and was ended (run_timeout in [limits] of model.toml)"
        )
