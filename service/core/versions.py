"""Decides which versions of a model to load, and which one serves. Pure.

``next_action`` is stateless: it compares memory with the disk and returns one step towards
agreement. The caller performs the step and asks again until there is no step. A failed step, a
changed file and a starting server need no special case.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class PolicyKind(StrEnum):
    """Which versions are loaded beside the version that serves."""

    LATEST = "latest"
    SPECIFIC = "specific"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """``count`` is the number of versions that LATEST loads; ``numbers`` are the versions of
    SPECIFIC."""

    kind: PolicyKind = PolicyKind.LATEST
    count: int = 1
    numbers: frozenset[int] = frozenset()

    def allowed(self, numbers: Iterable[int]) -> list[int]:
        """Return the versions that may serve, highest first."""
        specific = self.kind is PolicyKind.SPECIFIC
        return sorted((n for n in numbers if not specific or n in self.numbers), reverse=True)

    def loaded(self, numbers: Collection[int], pin: int | None) -> list[int]:
        """Return the versions to keep loaded, highest first. LATEST counts from the pin downwards,
        because an operator has decided against the versions above it.
        """
        allowed = self.allowed(numbers)
        if self.kind is not PolicyKind.LATEST:
            return allowed
        return [n for n in allowed if pin not in numbers or pin is None or n <= pin][: self.count]


@dataclass(frozen=True, slots=True)
class Pin:
    """The version that was chosen to serve, the version before it, and the checks that were waived.

    ``v1_outputs`` are the outputs that V1 returns, as before the model had further outputs; empty
    for all outputs.
    """

    version: int
    previous: int | None = None
    forced: bool = False
    signature_change: bool = False
    v1_outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A version on disk.

    ``revision`` changes with the files and settings from which the version is loaded. ``evidence``
    also changes with the data that the gate uses; then a refused version is tried again. A version
    that is still being written is not ``settled``.
    """

    number: int
    revision: str
    evidence: str
    settled: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """Snapshot of a model for ``next_action``.

    ``held`` are the READY versions, each with the revision from which it was loaded. ``kept`` is
    the version that is kept warm for a rollback. ``refused`` are the versions that failed, each
    with its evidence.
    """

    found: tuple[Found, ...] = ()
    pin: int | None = None
    policy: VersionPolicy = VersionPolicy()
    held: tuple[tuple[int, str], ...] = ()
    serving: int | None = None
    kept: int | None = None
    refused: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Serve:
    """Load the version if it is not loaded, and make it the version that serves."""

    number: int


@dataclass(frozen=True, slots=True)
class Load:
    """Load the version, beside the one that serves."""

    number: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Drain the version and free it."""

    number: int


Action = Serve | Load | Unload


def candidates(numbers: Collection[int], pin: int | None, policy: VersionPolicy) -> list[int]:
    """Return the versions in the order in which to try them for serving.

    A pin that is on disk comes first, then lower versions. Versions above the pin are left out,
    because an operator has decided against them. A pin that is not on disk is ignored.
    """
    allowed = policy.allowed(numbers)
    if pin is not None and pin in numbers:
        return [pin, *(number for number in allowed if number < pin)]
    return allowed


def next_action(view: View) -> Action | None:
    """Return the next step to bring memory in line with the disk; None if both agree.

    The serving version comes first, then other loads, then unloads, so that no capacity is lost in
    between.
    """
    found = {each.number: each for each in view.found}
    target = _target(view, found)
    if target is not None and (target != view.serving or _stale(view, found[target])):
        return Serve(target)
    for number in view.policy.loaded(found, view.pin):
        if _stale(view, found[number]):
            return Load(number)
    spare = surplus(view)
    if target is None and view.serving is not None and view.serving not in found:
        spare.append(view.serving)
    return Unload(spare[0]) if spare else None


def surplus(view: View) -> list[int]:
    """Return the versions in memory that are no longer needed, except the serving one."""
    found = {each.number: each for each in view.found}
    loaded = view.policy.loaded(found, view.pin)
    wanted = {n for n in (*loaded, view.kept, _target(view, found)) if n in found}
    return [n for n, _ in view.held if n not in wanted and n != view.serving]


def _target(view: View, found: dict[int, Found]) -> int | None:
    for number in candidates(found, view.pin, view.policy):
        if number == view.serving or (found[number].settled and not _refused(view, found[number])):
            return number
    return None


def _stale(view: View, each: Found) -> bool:
    """Return whether a version must be loaded, or loaded again."""
    current = (each.number, each.revision) in view.held
    return each.settled and not current and not _refused(view, each)


def _refused(view: View, each: Found) -> bool:
    return (each.number, each.evidence) in view.refused
