"""The values of a search: its task, its progress and its outcome."""

from dataclasses import dataclass
from pathlib import Path

from service.engine.cpu.kernels import Kernels
from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.timing import SECONDS
from service.quantization.recipes.catalogue import Recipe
from service.quantization.recipes.source import Source
from service.quantization.search.decide import Candidate, Goal
from service.quantization.search.reasons import Decision


@dataclass(frozen=True, slots=True)
class Task:
    """The inputs of a search: the model, the goal and the settings.

    If ``threads`` is 0 or ``kernels`` is None, the search uses the value that serving would choose.
    ``saturates`` is True if U8S8 sums of ONNX Runtime's default kernels saturate on this CPU.
    ``confirming`` is the number of test rows. ``rows_only``: try only recipes with a scale for each
    row.
    """

    source: Source
    goal: Goal
    metric: str
    cores: int
    threads: int
    saturates: bool
    budget_seconds: float
    max_rows: int = 64
    imported: tuple[Path, ...] = ()
    timing_seconds: float = SECONDS
    confirming: int = 0
    kernels: Kernels | None = None
    rows_only: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a search. ``confirmation`` is the winner's quality on the test rows, None if
    there is no winner or there are no test rows. ``notes`` are texts for the report."""

    reference: Candidate
    candidates: tuple[Candidate, ...]
    decision: Decision
    confirmation: Quality | None
    threads: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def winner(self) -> Recipe | None:
        """The recipe to publish; None if FP32 stays."""
        named = self.decision.winner
        return next((c.recipe for c in self.candidates if c.recipe.name == named), None)


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a search. ``gain`` is the best candidate's ratio to FP32 on the target, 0 if
    FP32 itself is the best."""

    doing: str
    done: int
    planned: int
    best: str
    gain: float
    left_seconds: float
