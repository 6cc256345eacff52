"""Mixed precision: chooses nodes to leave in float so that a fast recipe becomes accurate enough.

Parts of the graph are ranked by measured sensitivity. The smallest number of most sensitive parts
that must stay in float is found by doubling and bisection. Then each of the least sensitive of
these parts is tried again in quantized form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

from service.quantization.evaluate import trial as trials
from service.quantization.evaluate.trial import Bench
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.recipes.build import WorkDir, build
from service.quantization.recipes.catalogue import Recipe, mixed
from service.quantization.search.journal import Journal
from service.quantization.search.sensitivity import Part, parts_of, sensitivity

TIMEOUT = 300.0
STEPS = 12
"""The approximate number of steps in addition to one for each part, for the progress bar."""
SECOND_CHANCES = 8

Passes = Callable[[tuple[str, ...]], bool]
"""Returns True if the recipe is within the budget with these nodes in float."""


@dataclass(frozen=True, slots=True)
class MixedPrecision:
    """Finds nodes to leave in float. ``plan`` is called with the number of steps to follow, and
    ``step`` at each of them."""

    builder: Worker
    journal: Journal
    work_dir: WorkDir
    bench: Bench
    max_drop: float
    plan: Callable[[int], None]
    step: Callable[[str], None]

    def find(self, recipe: Recipe, until: float) -> Recipe | None:
        """Return the recipe that passes with the fewest nodes in float; None if none is found in
        time.

        ``until`` is a time of ``time.monotonic``.

        Raises:
            WorkFailed: the graph cannot be split into parts.
        """
        parts = self.builder.call(TIMEOUT, parts_of, recipe, self.work_dir)
        self.plan(len(parts) + STEPS)
        ranked = self._ranked(recipe, parts, until)
        nodes = fewest_in_float(
            ranked,
            lambda kept: self._passes(mixed(recipe, kept)),
            lambda: monotonic() < until,
        )
        return mixed(recipe, nodes) if nodes else None

    def _ranked(self, recipe: Recipe, parts: tuple[Part, ...], until: float) -> list[Part]:
        noise: dict[Part, float] = {}
        for index, part in enumerate(parts):
            if monotonic() > until:
                break
            self.step(f"sensitivity of {recipe.name}, part {index + 1} of {len(parts)}")
            measure = partial(self._noise, recipe, parts, index)
            key = f"sensitivity {recipe!r} {part}"
            noise[part] = self.journal.remember(key, float, measure)
        return sorted(noise, key=lambda part: -noise[part])

    def _noise(self, recipe: Recipe, parts: tuple[Part, ...], index: int) -> float:
        try:
            return self.builder.call(TIMEOUT, sensitivity, recipe, parts, index, self.work_dir)
        except WorkFailed:  # rank a part that cannot be quantized alone as the most sensitive
            return float("inf")

    def _passes(self, recipe: Recipe) -> bool:
        self.step(recipe.name)
        return self.journal.remember(f"passes {recipe!r}", bool, lambda: self._judge(recipe))

    def _judge(self, recipe: Recipe) -> bool:
        path = self.work_dir.folder / "mixed.onnx"
        try:
            self.builder.call(TIMEOUT, build, recipe, self.work_dir, path)
            quality = self.builder.call(TIMEOUT, trials.judge, path, self.bench)
        except WorkFailed:
            return False
        return not quality.failure and quality.drop <= self.max_drop + 1e-9


def fewest_in_float(
    ranked: Sequence[Part], passes: Passes, in_time: Callable[[], bool]
) -> tuple[str, ...] | None:
    """Return the nodes to leave in float; None if the recipe fails even with one quantized part, or
    if the time is up.

    ``ranked`` are the parts, the most sensitive first.
    """
    count = _fewest(ranked, passes, in_time)
    if count is None:
        return None
    kept = list(ranked[:count])
    for part in reversed(ranked[max(0, count - SECOND_CHANCES) : count - 1]):
        if not in_time():
            break
        without = [other for other in kept if other is not part]
        if passes(names(without)):
            kept = without
    return names(kept)


def names(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the nodes of parts."""
    return tuple(name for part in parts for name in part)


def _fewest(ranked: Sequence[Part], passes: Passes, in_time: Callable[[], bool]) -> int | None:
    """Return the smallest number of most sensitive parts in float that passes, or None."""
    # Bisection assumes that quality grows with the number of parts in float.
    failing, passing = 0, None
    step = 1
    while passing is None:
        if step >= len(ranked):
            step = len(ranked) - 1
            if step <= failing:
                return None
        if not in_time():
            return None
        if passes(names(ranked[:step])):
            passing = step
        else:
            failing, step = step, step * 2
    while passing - failing > 1 and in_time():
        middle = (failing + passing) // 2
        if passes(names(ranked[:middle])):
            passing = middle
        else:
            failing = middle
    return passing
