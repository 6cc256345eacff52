"""The last measurements of a search: the best candidates side by side, the winner on test rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.quantization.evaluate import trial as trials
from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.timing import Timing
from service.quantization.evaluate.trial import Bench
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.recipes.build import WorkDir
from service.quantization.recipes.catalogue import Recipe
from service.quantization.search.decide import Candidate, Goal, Target, best, eligible, gain
from service.quantization.search.journal import Journal
from service.quantization.search.reasons import refutation

LEADERS = 4
"""The number of candidates that are timed again."""
TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Finals:
    """The last measurements. ``file`` returns a candidate's file, ``step`` reports progress."""

    journal: Journal
    work_dir: WorkDir
    bench: Bench
    goal: Goal
    reference: Candidate
    file: Callable[[Recipe], Path]
    step: Callable[[str], None]

    def play_off(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Time the best candidates again, side by side. Returns all candidates, with new timings.

        The best of many noisy timings is biased; a joint comparison removes this bias.

        Raises:
            WorkFailed: the candidates could not be timed.
        """
        goal, reference = self.goal, self.reference
        able = [c for c in found if eligible(c, reference, goal)]
        leaders = sorted(able, key=lambda c: -gain(c, reference, goal))[:LEADERS]
        if goal.target not in (Target.LATENCY, Target.THROUGHPUT) or not leaders:
            return list(found)
        self.step(f"the best {len(leaders)} again, side by side")
        sizes = [c.measured.timing.rows for c in leaders if c.measured and c.measured.timing]
        with Worker() as worker:
            timings = worker.call(
                TIMEOUT, trials.playoff, [self.file(c.recipe) for c in leaders], sizes, self.bench
            )
        again = {id(c): timing for c, timing in zip(leaders, timings, strict=True)}
        return [_with_timing(c, again.get(id(c))) for c in found]

    def confirm(
        self, found: Sequence[Candidate], rows: int
    ) -> tuple[list[Candidate], Quality | None]:
        """Confirm the winner on the test rows. ``rows`` is their number.

        A winner that fails is marked as refuted, and the next candidate is tested. Returns the
        candidates and the winner's quality, None if there are no test rows or all candidates
        failed.
        """
        candidates = list(found)
        while rows and (winner := best(candidates, self.reference, self.goal)):
            self.step(f"{winner.recipe.name} on test rows")
            try:
                quality = self._quality(winner.recipe)
                why = refutation(quality, rows, self.goal)
            except WorkFailed as error:
                why = f"not confirmed: {error}"
            else:
                if not why:
                    return candidates, quality
            place = candidates.index(winner)
            candidates[place] = replace(winner, refuted=why)
        return candidates, None

    def _quality(self, recipe: Recipe) -> Quality:
        def score() -> Quality:
            with Worker() as worker:
                return worker.call(
                    TIMEOUT,
                    trials.confirm,
                    self.file(recipe),
                    self.bench,
                    self.work_dir.confirmation,
                )

        return self.journal.remember(f"confirmation {recipe!r}", Quality, score)


def _with_timing(candidate: Candidate, timing: Timing | None) -> Candidate:
    if timing is None or candidate.measured is None:
        return candidate
    return replace(candidate, measured=replace(candidate.measured, timing=timing))
