"""Pauses in long computations, so that other threads get the GIL.

Work on many elements calls its pace every ``EVERY`` elements. In a thread, ``Pace`` sleeps
regularly, so that the event loop can run: without pauses, a computing thread releases the GIL every
5 ms at best. In the event loop itself, ``not_here`` raises, because the work must run elsewhere.
"""

from collections.abc import Callable
from time import perf_counter, sleep

Paced = Callable[[], None]
EVERY = 1024
"""Elements between two calls: about a tenth of a millisecond."""
WORK = 0.0005
REST = 0.0003
"""Seconds of sleep after each ``WORK`` seconds of work."""


class TakesLong(Exception):  # noqa: N818 - not an error, always handled
    """The work would block the event loop for too long."""


def not_here() -> None:
    """Raise ``TakesLong``: the pace in the event loop."""
    raise TakesLong


def go_on() -> None:
    """Do nothing: the pace in a process where no other request waits."""


class Pace:
    """Sleeps after each half millisecond of work."""

    def __init__(self) -> None:
        self._since = perf_counter()

    def __call__(self) -> None:
        if perf_counter() - self._since > WORK:
            sleep(REST)
            self._since = perf_counter()
