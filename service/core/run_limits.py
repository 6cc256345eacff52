"""The time limit of a run, and the action when it is exceeded. Pure: time is an argument.

A run is told to stop when its time is over. ONNX Runtime stops between two nodes, so one long node
can delay the stop without limit. A thread cannot be ended from outside: the server stops waiting
for it.
"""

from enum import StrEnum
from typing import NamedTuple

GRACE_SECONDS = 5.0
"""Seconds in which a run must return after it was told to stop. Nodes that take longer are rare. A
server that shuts down does not wait for this time."""


class RunLimits(NamedTuple):
    """Limits in seconds: the time of a run, and the time that it may then take to stop."""

    timeout: float = 300.0
    grace: float = GRACE_SECONDS


class Timeouts(NamedTuple):
    """Default limits, in seconds, of a run and of loading a version.

    No client waits for five minutes, and a version of several gigabytes loads in less.
    """

    run: float = 300.0
    load: float = 300.0


DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_RUN_LIMITS = RunLimits()


class Move(StrEnum):
    """What to do with a run."""

    WAIT = "wait"
    STOP = "stop"
    GIVE_UP = "give up"


class Verdict(NamedTuple):
    """What to do with a run now, and when to check it again."""

    move: Move
    again: float


def judge(started: float | None, stopped: float | None, now: float, limits: RunLimits) -> Verdict:
    """Decide what to do with a run.

    ``started`` is the time at which a thread began the run, None before. ``stopped`` is the time at
    which it was told to stop because its time was over, None before.
    """
    if stopped is not None:
        due = stopped + limits.grace
        return Verdict(Move.WAIT if now < due else Move.GIVE_UP, due)
    if started is None:
        return Verdict(Move.WAIT, now + limits.timeout)
    due = started + limits.timeout
    return Verdict(Move.WAIT, due) if now < due else Verdict(Move.STOP, now + limits.grace)
