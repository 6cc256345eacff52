"""How long work holds the interpreter without a pause.

Work on many elements calls its pace every so many of them. In a thread, ``Pace`` rests now and
then, so that the event loop goes on meanwhile: a thread that only computes gives it a turn every
5 ms at best. In the event loop itself, ``not_here`` raises: the work belongs elsewhere.
"""

from collections.abc import Callable
from time import perf_counter, sleep

Paced = Callable[[], None]
EVERY = 1024
"""Elements between two calls: about a tenth of a millisecond."""
WORK = 0.0005
REST = 0.0003
"""Seconds."""


class TakesLong(Exception):  # noqa: N818 - nobody is told of it
    """The work would hold up the event loop."""


def not_here() -> None:
    """The pace of the event loop."""
    raise TakesLong


def go_on() -> None:
    """The pace of a process of which no other request waits."""


class Pace:
    """Rests after each half millisecond of work."""

    def __init__(self) -> None:
        self._since = perf_counter()

    def __call__(self) -> None:
        if perf_counter() - self._since > WORK:
            sleep(REST)
            self._since = perf_counter()
