"""Decides which model's run begins next if the models need more cores than there are. Pure.

This is start-time fair queueing over the cores. Each claimant has a tag: the core seconds that its
runs took, divided by its weight. Of the waiting claimants, the one with the lowest tag begins. A
claimant that was idle begins at the tag of the run that began last, so that it saves up no time.

A run is never interrupted. A model with few requests must not wait for the long runs of another
model. So a claimant that runs nothing, and has used no more than its share, begins at once although
all cores are in use; the operating system divides the cores until one is free. A model that is the
only active one never waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

FADES = 0.8
"""Weight of a run relative to the run after it, in the average that predicts the time of the next
run."""


@dataclass(eq=False, slots=True)
class Claimant:
    """A model that runs on the cores. ``weight`` is its share relative to that of other models,
    ``threads`` the threads of one of its runs. ``wake`` is for callers of ``FairShare.next``.

    The other fields belong to ``FairShare``. ``tag``: core seconds for each unit of weight.
    ``expected``: core seconds that a run is expected to take. ``charged``: core seconds charged for
    each active run. ``extra``: one of these runs began although all cores were in use. ``place``:
    the place among the waiting claimants, None if it does not wait.
    """

    weight: float
    threads: int
    wake: Callable[[], None]
    tag: float = 0.0
    expected: float = 0.0
    charged: list[float] = field(default_factory=list)
    extra: bool = False
    place: int | None = None

    @property
    def running(self) -> int:
        """The number of active runs."""
        return len(self.charged)


class FairShare:
    """Shares ``cores`` among claimants. A caller calls ``ask``, then ``begin``; ``end`` for each
    run that began; and ``rest`` when it has nothing to begin. After ``begin``, ``end`` and
    ``rest``, ``next`` may return a claimant to wake."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        # All mutable state: the claimants that run or wait, the tag of the run that began last, the
        # threads of the active runs, and the number of places given out so far.
        self._active: set[Claimant] = set()
        self._reached = 0.0
        self._used = 0
        self._asked = 0

    @property
    def all_free(self) -> bool:
        """True if no run is active."""
        return not self._used

    def ask(self, claimant: Claimant) -> bool:
        """Return whether a run may begin now. If not, the claimant waits until ``begin`` or
        ``rest``."""
        if self._alone(claimant) or self._in_turn(claimant) or self._entitled(claimant):
            return True
        self._wait(claimant)
        return False

    def begin(self, claimant: Claimant) -> None:
        """Begin a run. Its expected time is charged at once, so that other claimants get their turn
        while it runs."""
        self._catch_up(claimant)
        if not claimant.running and self._used >= self._cores:
            claimant.extra = True
        self._reached = max(self._reached, claimant.tag)
        claimant.tag += claimant.expected / claimant.weight
        claimant.place = None
        claimant.charged.append(claimant.expected)
        self._used += claimant.threads
        self._active.add(claimant)

    def end(self, claimant: Claimant, seconds: float, more: bool = False) -> None:
        """Record that a run has ended after ``seconds``. If the claimant has ``more`` to run, it
        waits from now on: it could not ask while all of its instances were busy, and must not lose
        its turn."""
        took = seconds * claimant.threads
        claimant.tag += (took - claimant.charged.pop(0)) / claimant.weight
        claimant.expected = claimant.expected * FADES + took * (1 - FADES)
        self._used -= claimant.threads
        if not claimant.running:
            claimant.extra = False
        if more:
            self._wait(claimant)
        self._forget(claimant)

    def rest(self, claimant: Claimant) -> None:
        """Record that the claimant has nothing to begin."""
        claimant.place = None
        self._forget(claimant)

    def next(self) -> Claimant | None:
        """Return the waiting claimant whose turn it is, if a core is free."""
        if self._used >= self._cores:
            return None
        waiting = [each for each in self._active if each.place is not None]
        return min(waiting, key=_turn, default=None)

    def _alone(self, claimant: Claimant) -> bool:
        return not self._active or (len(self._active) == 1 and claimant in self._active)

    def _in_turn(self, claimant: Claimant) -> bool:
        """Return whether a core is free, and no waiting claimant comes first."""
        first = self.next()
        if self._used >= self._cores or first is claimant:
            return first is claimant
        idle = claimant not in self._active
        tag = max(claimant.tag, self._reached) if idle else claimant.tag
        return first is None or tag < first.tag

    def _entitled(self, claimant: Claimant) -> bool:
        """Return whether a claimant may begin although all cores are in use. It must have no active
        run. It must have used no more than its share, or its share must allow the threads of one
        run. There may be as many such runs as there are cores."""
        if claimant.running or sum(each.extra for each in self._active) >= self._cores:
            return False
        weights = sum(each.weight for each in self._active - {claimant}) + claimant.weight
        a_core = claimant.threads * weights <= claimant.weight * self._cores
        return a_core or (claimant.place is None and claimant.tag <= self._reached)

    def _wait(self, claimant: Claimant) -> None:
        if claimant.place is None:
            self._catch_up(claimant)
            self._asked += 1
            claimant.place = self._asked
            self._active.add(claimant)

    def _catch_up(self, claimant: Claimant) -> None:
        if claimant not in self._active:
            claimant.tag = max(claimant.tag, self._reached)

    def _forget(self, claimant: Claimant) -> None:
        if not claimant.running and claimant.place is None:
            self._active.discard(claimant)


def _turn(claimant: Claimant) -> tuple[float, int]:
    return claimant.tag, claimant.place or 0
