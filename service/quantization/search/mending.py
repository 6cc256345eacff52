"""Finds the nodes to leave in float so that a fast recipe's answers become right, by measuring."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from service.quantization.evaluate import trial as trials
from service.quantization.evaluate.trial import Bench
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.recipes.build import Workshop, build
from service.quantization.recipes.catalogue import Recipe, mixed
from service.quantization.search.journal import Journal
from service.quantization.search.mixed import fewest_in_float
from service.quantization.search.sensitivity import Part, parts_of, sensitivity

TIMEOUT = 300.0
STEPS = 12
"""Steps that a search for the fewest nodes takes, about, beside one for each part."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What mending works with. ``plan`` is told how many steps follow, ``step`` each of them."""

    builder: Worker
    journal: Journal
    shop: Workshop
    bench: Bench
    max_drop: float
    plan: Callable[[int], None]
    step: Callable[[str], None]

    def mend(self, recipe: Recipe, until: float) -> Recipe | None:
        """The same recipe with the fewest nodes in float that pass; None where no such set is found
        in time.

        Raises:
            WorkFailed: the recipe cannot be taken apart.
        """
        parts = self.builder.call(TIMEOUT, parts_of, recipe, self.shop)
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
            return self.builder.call(TIMEOUT, sensitivity, recipe, parts, index, self.shop)
        except WorkFailed:  # what cannot be quantized alone had better stay in float
            return float("inf")

    def _passes(self, recipe: Recipe) -> bool:
        self.step(recipe.name)
        return self.journal.remember(f"passes {recipe!r}", bool, lambda: self._judge(recipe))

    def _judge(self, recipe: Recipe) -> bool:
        path = self.shop.folder / "mixed.onnx"
        try:
            self.builder.call(TIMEOUT, build, recipe, self.shop, path)
            quality = self.builder.call(TIMEOUT, trials.judge, path, self.bench)
        except WorkFailed:
            return False
        return not quality.failure and quality.drop <= self.max_drop + 1e-9
