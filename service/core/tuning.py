"""Chooses threads, instances, batch size and kernels from measured runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from statistics import median

GAIN = 1.05
"""Least ratio to the default from which another candidate is chosen."""
STEADY = 0.9
"""Least share of a core that a busy thread gets on a machine that is idle otherwise."""


class Target(StrEnum):
    """What a choice is for."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a model: ``instances`` side by side, each run with up to ``rows`` rows on
    ``threads`` threads. ``kernels`` are those of eight bits, or the execution provider that has
    kernels of its own."""

    threads: int
    instances: int
    rows: int
    kernels: str

    @property
    def lone(self) -> "Candidate":
        """The same for a lone row: the latency does not include other rows."""
        return replace(self, instances=1, rows=1)

    def __str__(self) -> str:
        return (
            f"{_count(self.instances, 'instance')} x {_count(self.threads, 'thread')},"
            f" {_count(self.rows, 'row')} a run, {self.kernels} kernels"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate's figures. ``rates`` are rows/s, one for each round; ``seconds`` are the times
    of single runs; ``deviation`` is how far its answers are from the default's, as a share of the
    largest value."""

    candidate: Candidate
    rates: tuple[float, ...]
    seconds: tuple[float, ...]
    deviation: float = 0.0

    @property
    def rate(self) -> float:
        """Rows/s, the median of the rounds."""
        return median(self.rates)

    @property
    def p50(self) -> float:
        """Seconds of a run that half of them do not exceed."""
        return quantile(self.seconds, 0.5)

    @property
    def p99(self) -> float:
        """Seconds of a run that 99 of 100 do not exceed."""
        return quantile(self.seconds, 0.99)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate, and why. ``unsure`` says what makes the measurement doubtful, ""
    if nothing does. ``lone_threads`` are those of a run that begins while nothing else runs."""

    chosen: Measured
    default: Measured
    why: str
    unsure: str = ""
    lone_threads: int = 1

    @property
    def gain(self) -> float:
        """Rows/s of the chosen candidate over those of the default."""
        return self.chosen.rate / self.default.rate


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of a run as ``fixed + rows * per_row``."""

    fixed: float
    per_row: float


def confirm(first: Choice, again: Choice, target: Target, p99: float | None = None) -> Choice:
    """The first choice after the chosen candidate and the default were measured again, by
    themselves: among many candidates the best one is often only the luckiest. The default stays
    unless the candidate is chosen again and, for throughput, wins all rounds but one. No round is
    won by a default whose runs exceed ``p99``."""
    if first.chosen is first.default:
        return first
    best, default = again.chosen, again.default
    rounds = list(zip(best.rates, default.rates, strict=True))
    won = sum(mine > its for mine, its in rounds)
    unsure = again.unsure or first.unsure
    late = p99 is not None and default.p99 > p99
    proven = target is Target.LATENCY or won >= len(rounds) - 1
    if late:
        return Choice(best, default, again.why, unsure)
    if proven and best is not default:
        return Choice(best, default, first.why, unsure)
    why = f"{first.chosen.candidate} was better at first, and not when measured again"
    return Choice(default, default, why, unsure)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that is no smaller than this share of them."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def fit(seconds: Mapping[int, float]) -> Line:
    """The line through times of runs by rows, by least squares of relative errors, so that short
    runs count as much as long ones. Neither part is negative."""
    points = [(rows, taken, taken**-2) for rows, taken in seconds.items()]
    weight = sum(w for _, _, w in points)
    x = sum(w * rows for rows, _, w in points) / weight
    y = sum(w * taken for _, taken, w in points) / weight
    spread = sum(w * (rows - x) ** 2 for rows, _, w in points)
    if not spread:
        return Line(0.0, y / x)
    slope = sum(w * (rows - x) * (taken - y) for rows, taken, w in points) / spread
    if slope < 0:
        return Line(y, 0.0)
    if slope * x > y:  # through the origin
        squares = sum(w * rows**2 for rows, _, w in points)
        return Line(0.0, sum(w * rows * taken for rows, taken, w in points) / squares)
    return Line(y - slope * x, slope)


def candidates(cores: int, rows: Sequence[int], kernels: Sequence[str]) -> list[Candidate]:
    """Candidates for so many cores: threads in powers of two and all cores, with one instance, and
    with as many as leave no core idle."""
    threads = sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})
    return [
        Candidate(width, instances, count, kernel)
        for kernel in kernels
        for width in threads
        for instances in sorted({1, cores // width})
        for count in rows
    ]


def choose(
    default: Measured,
    others: Sequence[Measured],
    target: Target,
    p99: float | None = None,
    tolerance: float = 0.0,
    core_share: float = 1.0,
) -> Choice:
    """The best candidate for the target.

    ``p99`` bounds seconds of a run. A candidate whose answers are further than ``tolerance`` from
    the default's is out. ``core_share`` is how much of a core a busy thread got; below ``STEADY``
    other programs took part in the measurement.
    """
    unsure = ""
    if core_share < STEADY:
        unsure = f"other programs ran: a busy thread got {core_share:.0%} of a core"
    equal = [each for each in others if each.deviation <= tolerance]
    within = [each for each in (default, *equal) if p99 is None or each.p99 <= p99]
    if p99 is not None and not within:
        best = min((default, *equal), key=lambda each: each.p99)
        why = f"no candidate has a p99 of {p99 * 1000:g} ms: the shortest is chosen"
        return Choice(best, default, why, unsure)
    best = _best(within, default.candidate.kernels, target)
    usual = default
    if target is Target.LATENCY:
        lone = default.candidate.lone
        usual = next((each for each in equal if each.candidate == lone), default)
    if best is default or (default in within and _gain(best, usual, target) < GAIN):
        why = f"no candidate is {GAIN - 1:.0%} better for {target} than the default"
        return Choice(default, default, why, unsure)
    what = "the shortest run of a lone row" if target is Target.LATENCY else "the most rows/s"
    bound = f" within a p99 of {p99 * 1000:g} ms" if p99 is not None else ""
    return Choice(best, default, what + bound, unsure)


def _best(within: Sequence[Measured], kernels: str, target: Target) -> Measured:
    """The best one; of other kernels than these only where that brings enough."""
    if target is Target.LATENCY:
        within = [each for each in within if each.candidate == each.candidate.lone] or within
    best = max(within, key=lambda each: _merit(each, target))
    same = [each for each in within if each.candidate.kernels == kernels]
    kept = max(same, key=lambda each: _merit(each, target), default=best)
    return best if _gain(best, kept, target) >= GAIN else kept


def _gain(one: Measured, other: Measured, target: Target) -> float:
    return _merit(one, target) / _merit(other, target)


def _merit(each: Measured, target: Target) -> float:
    return each.rate if target is Target.THROUGHPUT else 1 / each.p50


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
