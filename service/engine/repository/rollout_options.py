"""Why a version is put into service, and which checks that may waive."""

from dataclasses import dataclass
from enum import StrEnum

from service.core.checks import Check

UNWAIVABLE = frozenset({"load", "warm-up"})
"""Checks that cannot be waived: a version that does not load or run cannot serve."""


class Cause(StrEnum):
    """The reason why a version is put into service."""

    START = "start"
    SWAP = "swap"
    ROLLBACK = "rollback"
    LOAD = "load"
    POLL = "poll"


class Pinning(StrEnum):
    """The change of the pin when a version takes over."""

    KEEP = "keep"
    SET = "set"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """The cause of a rollout, the checks to waive, and the change of the pin. ``v1_outputs`` are
    the outputs that V1 answers, according to the pin."""

    cause: Cause
    force: bool = False
    allow_signature_change: bool = False
    pinning: Pinning = Pinning.KEEP
    v1_outputs: tuple[str, ...] = ()

    def waives(self, check: Check) -> bool:
        """Return True if a failed check is waived."""
        if check.name in UNWAIVABLE:
            return False
        return self.force or (check.name == "signature" and self.allow_signature_change)
