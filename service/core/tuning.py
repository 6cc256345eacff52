"""Chooses threads, instances, batch size and kernels from measured runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from statistics import median

GAIN = 1.05
"""Smallest ratio to the default at which another candidate is chosen."""
STEADY = 0.9
"""Smallest share of a core that a busy thread gets on a machine that is otherwise idle."""


class Target(StrEnum):
    """The goal of a choice."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a model: ``instances`` in parallel, each run with up to ``rows`` rows on
    ``threads`` threads. ``kernels`` are the 8-bit kernels, or the execution provider if it has
    its own."""

    threads: int
    instances: int
    rows: int
    kernels: str

    @property
    def lone(self) -> "Candidate":
        """The same candidate for a single row, so that the latency does not include other rows."""
        return replace(self, instances=1, rows=1)

    def __str__(self) -> str:
        return (
            f"{_count(self.instances, 'instance')} x {_count(self.threads, 'thread')},"
            f" {_count(self.rows, 'row')} a run, {self.kernels} kernels"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a candidate. ``rates`` are rows/s, one for each round; ``seconds`` are
    the times of single runs; ``deviation`` is the difference of its answers from the default's, as
    a share of the largest value."""

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
        """The median time of a run in seconds."""
        return quantile(self.seconds, 0.5)

    @property
    def p99(self) -> float:
        """The time in seconds that 99 of 100 runs do not exceed."""
        return quantile(self.seconds, 0.99)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate, and the reason. ``unsure`` says why the measurement is doubtful, "" if
    it is not. ``lone_threads`` are the threads of a run that begins while nothing else runs."""

    chosen: Measured
    default: Measured
    why: str
    unsure: str = ""
    lone_threads: int = 1

    @property
    def gain(self) -> float:
        """Rows/s of the chosen candidate divided by those of the default."""
        return self.chosen.rate / self.default.rate


@dataclass(frozen=True, slots=True)
class Line:
    """A model of the time of a run in seconds: ``fixed + rows * per_row``."""

    fixed: float
    per_row: float


def confirm(first: Choice, again: Choice, target: Target, p99: float | None = None) -> Choice:
    """Confirm the first choice, after the chosen candidate and the default were measured again
    without the other candidates: the best of many candidates may be the best by chance only.

    The default stays unless the candidate is chosen again and, for throughput, wins at least all
    rounds but one. If the default's runs exceed ``p99``, the second choice is returned without this
    condition."""
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
    """Return the smallest value that is not smaller than this share of the values."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def fit(seconds: Mapping[int, float]) -> Line:
    """Fit a line to the times of runs by rows. It minimises the squares of the relative errors, so
    that short runs count as much as long ones. Neither part of the line is negative."""
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
    """Return the candidates for a number of cores. Their threads are the powers of two up to the
    cores, and all cores, each with one instance and with as many instances as the cores allow."""
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
    """Choose the best candidate for the target.

    ``p99`` is the limit of a run's p99 in seconds. A candidate is excluded if its answers differ
    from the default's by more than ``tolerance``. ``core_share`` is the share of a core that a busy
    thread got; if it is below ``STEADY``, other programs disturbed the measurement.
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
    """Return the best measurement. It has other kernels than ``kernels`` only if the gain is large
    enough."""
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
