"""Which model's run begins next, where several models want more cores than there are. Pure.

Start-time fair queueing over the cores: each claimant has a tag, the core seconds that its runs
took divided by its weight; of those that wait, the one with the lowest tag begins. A claimant that
was idle begins at the tag of the run that began last, so that it saves up no time.

A run is never interrupted. So that a model with few requests does not wait for the long runs of
another one, a claimant that has nothing running, and has had no more than its share, begins at once
although the cores are taken; the operating system shares them until one comes free. A model that is
alone is not held back at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

FADES = 0.8
"""Weight of a run next to the one after it, in the time that the next one is expected to take."""


@dataclass(eq=False, slots=True)
class Claimant:
    """A model that runs on the cores: ``weight`` is its share relative to that of others,
    ``threads`` those of one of its runs. ``wake`` is for callers of ``FairShare.next``.

    The rest belongs to ``FairShare``: core seconds for each unit of weight, the core seconds that a
    run is expected to take, those charged for each run that is under way, whether one of these
    began although the cores were taken, and its place among those that wait.
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
        """Runs that are under way."""
        return len(self.charged)


class FairShare:
    """Shares ``cores`` among claimants. Ask, then begin; end each run that began; rest when there
    is nothing to begin. After each of the last three, ``next`` may have one that is to be woken."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        # All mutable state: those that run or wait, the tag of the run that began last, the threads
        # of runs that are under way, and how many have asked so far.
        self._active: set[Claimant] = set()
        self._reached = 0.0
        self._used = 0
        self._asked = 0

    @property
    def all_free(self) -> bool:
        """Whether no run is under way."""
        return not self._used

    def ask(self, claimant: Claimant) -> bool:
        """Whether a run may begin now. If not, the claimant waits until ``begin`` or ``rest``."""
        if self._alone(claimant) or self._in_turn(claimant) or self._entitled(claimant):
            return True
        self._wait(claimant)
        return False

    def begin(self, claimant: Claimant) -> None:
        """Begin a run. Its expected time is charged at once, so that others get their turn while it
        lasts."""
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
        """A run has ended after so many seconds. With ``more`` to run, the claimant waits from now
        on: it could not ask while all of its instances were at work, and must not lose its turn."""
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
        """The claimant has nothing to begin."""
        claimant.place = None
        self._forget(claimant)

    def next(self) -> Claimant | None:
        """The one that waits and whose turn it is, if a core is free."""
        if self._used >= self._cores:
            return None
        waiting = [each for each in self._active if each.place is not None]
        return min(waiting, key=_turn, default=None)

    def _alone(self, claimant: Claimant) -> bool:
        return not self._active or (len(self._active) == 1 and claimant in self._active)

    def _in_turn(self, claimant: Claimant) -> bool:
        """Whether a core is free, and no claimant that waits comes first."""
        first = self.next()
        if self._used >= self._cores or first is claimant:
            return first is claimant
        idle = claimant not in self._active
        tag = max(claimant.tag, self._reached) if idle else claimant.tag
        return first is None or tag < first.tag

    def _entitled(self, claimant: Claimant) -> bool:
        """It has nothing running and has had no more than its share, or one core is no more than
        its share. There is room for as many such runs as there are cores."""
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
