"""The results of a search as values, for the table, the page and report.json."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime

import onnx
import onnxruntime

from service import __version__
from service.engine.cpu.machine import Machine
from service.engine.cpu.profile import Profile
from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.timing import Timing
from service.quantization.search.decide import Candidate, Goal, Target
from service.quantization.search.reasons import Decision, Standing, Verdict, verdict
from service.quantization.search.task import Outcome


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The rows of a search. ``by_run`` is True if they are runs of the graph, ``random`` if they
    were generated."""

    source: str
    random: bool
    labels: bool
    by_run: bool
    calibration_rows: int
    evaluation_rows: int
    confirmation_rows: int
    seed: int


@dataclass(frozen=True, slots=True)
class Hashes:
    """SHA-256 of the published model and of its FP32 source, in hexadecimal."""

    model: str
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate (or FP32) with its verdict."""

    candidate: Candidate
    verdict: Verdict

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.candidate.recipe.name

    @property
    def timing(self) -> Timing | None:
        """Its speed; None if it was not timed."""
        measured = self.candidate.measured
        return measured.timing if measured else None

    @property
    def quality(self) -> Quality | None:
        """Its scores; None if it was not scored."""
        measured = self.candidate.measured
        return measured.quality if measured else None

    @property
    def dropped(self) -> str:
        """The reason why its trial ended early, or ""."""
        measured = self.candidate.measured
        return measured.dropped if measured else ""

    @property
    def invariant(self) -> bool | None:
        """True if a row's answers are independent of the other rows of a batch; None if this was
        not measured or does not apply."""
        measured = self.candidate.measured
        if measured is None or measured.dropped or measured.deviation is None:
            return None
        return measured.invariant

    @property
    def file_bytes(self) -> int:
        """The size of its files; 0 if it could not be built."""
        return self.candidate.built.file_bytes if self.candidate.built else 0

    def ratio(self, target: Target) -> float:
        """Return its speed relative to FP32: rows/s for throughput if its rows may be batched,
        otherwise the speed at batch 1."""
        if self.timing is None:
            return 0.0
        if target is Target.THROUGHPUT and self.invariant:
            return self.timing.throughput_ratio
        return self.timing.latency_ratio


@dataclass(frozen=True, slots=True)
class Report:
    """A search with its goal, candidates and decision. Units are bytes and seconds; ratios are to
    FP32.

    ``confirmation`` is the winner's quality on the test rows. ``profile`` is the machine and the
    kernels of the measurement; None if FP32 stays.
    """

    name: str
    created: datetime
    reference: Row
    candidates: tuple[Row, ...]
    decision: Decision
    confirmation: Quality | None
    goal: Goal
    data: DataFacts
    hashes: Hashes
    threads: int
    search_seconds: float
    notes: tuple[str, ...]
    profile: Profile | None
    machine: Machine
    software: tuple[tuple[str, str], ...]

    @property
    def winner(self) -> Row | None:
        """The candidate that was published; None if FP32 stays."""
        return next((row for row in self.candidates if row.name == self.decision.winner), None)

    @property
    def ranked(self) -> list[Row]:
        """Candidates: the winner, those that pass, those that fail, those that were not timed; each
        group sorted by the target."""

        def place(row: Row) -> tuple[bool, bool, bool, float]:
            passes = row.verdict.passes
            return row is not self.winner, not passes, row.timing is None, -self._merit(row)

        return sorted(self.candidates, key=place)

    def _merit(self, row: Row) -> float:
        """Return a sort key for the target; higher is better."""
        measured, timing = row.candidate.measured, row.timing
        if measured is None or timing is None:
            return 0.0
        if self.goal.target is Target.SIZE:
            return -float(row.file_bytes)
        if self.goal.target is Target.MEMORY:
            return -float(measured.steady_bytes)
        together = self.goal.target is Target.THROUGHPUT and not measured.dropped
        return timing.throughput_ratio if together else timing.latency_ratio


def report(
    name: str, outcome: Outcome, goal: Goal, machine: Machine, data: DataFacts, hashes: Hashes
) -> Report:
    """Return the report of a search for the model ``name``."""
    reference = outcome.reference
    winner = next((c for c in outcome.candidates if c.recipe.name == outcome.decision.winner), None)
    measured = winner.measured if winner else None
    return Report(
        name,
        datetime.now(UTC),
        Row(reference, Verdict(Standing.REFERENCE, "the reference")),
        tuple(Row(each, verdict(each, reference, goal)) for each in outcome.candidates),
        outcome.decision,
        outcome.confirmation,
        goal,
        data,
        hashes,
        outcome.threads,
        outcome.seconds,
        outcome.notes,
        Profile.of(machine, measured.kernels) if measured else None,
        machine,
        (
            ("quantserve", __version__),
            ("onnxruntime", onnxruntime.__version__),
            ("onnx", onnx.__version__),
            ("python", platform.python_version()),
        ),
    )
