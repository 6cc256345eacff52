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
    """One search: the model, what is wanted, and the means. ``threads`` 0 and ``kernels`` None: as
    serving would; ``saturates``: whether ONNX Runtime's default kernels do here; ``confirming``:
    how many rows there are to confirm the choice on; ``rows_only``: whether to try only recipes
    with a scale for each row."""

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
    """Everything that was found. ``confirmation`` is the winner's quality on rows that chose
    nothing, if there is a winner and there are such rows; ``notes`` are for people."""

    reference: Candidate
    candidates: tuple[Candidate, ...]
    decision: Decision
    confirmation: Quality | None
    threads: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def winner(self) -> Recipe | None:
        """The recipe to publish; None where FP32 stays."""
        named = self.decision.winner
        return next((c.recipe for c in self.candidates if c.recipe.name == named), None)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the search stands: for a progress bar. ``gain``: the best so far against FP32 on the
    target, 0 where that is FP32 itself."""

    doing: str
    done: int
    planned: int
    best: str
    gain: float
    left_seconds: float
