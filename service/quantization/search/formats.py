"""Orders recipes by the measured speed of their number formats on this CPU, and skips slow ones."""

from collections.abc import Mapping, Sequence

from service.quantization.recipes.catalogue import (
    Dynamic,
    Half,
    Kind,
    Method,
    PerRow,
    Recipe,
    Static,
)
from service.quantization.search.decide import Target

SAME = 1.1
"""Formats within this ratio count as equally fast and keep the catalogue's order."""
HOPELESS = 0.9
"""Formats below this ratio to FP32's speed cannot make a model faster."""

Speeds = Mapping[str, float]
"""Speed of a product relative to FP32, by format, as measured by ``measure_kernels``."""


def format_of(method: Method) -> str | None:
    """Return the format of a method's products, as named by ``measure_kernels``; None if it is not
    measured."""
    bits = ", 7-bit weights" if getattr(method, "reduce_range", False) else ""
    if isinstance(method, PerRow):
        return f"INT8 U8S8 (dynamic){bits}"
    if isinstance(method, Dynamic) and method.weights == "S8":
        return f"INT8 U8S8 (dynamic){bits}"
    if isinstance(method, Static):
        pair = f"{method.activations}{method.weights}"
        return f"INT8 {pair}{bits}" if bits else f"INT8 {pair} (static QDQ)"
    if isinstance(method, Half) and method.datatype == "FP16":
        return "FP16"
    return None


def ordered(recipes: Sequence[Recipe], speeds: Speeds) -> tuple[Recipe, ...]:
    """Sort the recipes of each kind of method by the speed of their format, fastest first."""
    queues: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        queues.setdefault(recipe.method.kind, []).append(recipe)
    for kind, queue in queues.items():
        queues[kind] = _fastest_first(queue, speeds)
    return tuple(queues[recipe.method.kind].pop(0) for recipe in recipes)


def hopeless(recipe: Recipe, speeds: Speeds, kinds: frozenset[Kind], target: Target) -> str:
    """Return the reason to skip a recipe, or "". No recipe is skipped for a graph with
    convolutions, whose kernels are not measured."""
    known = format_of(recipe.method)
    speed = speeds.get(known or "")
    if speed is None or speed >= HOPELESS or Kind.CONV in kinds:
        return ""
    if target not in (Target.LATENCY, Target.THROUGHPUT):
        return ""
    return f"not tried: products of {known} run at {speed:.2f} x FP32's speed here"


def _fastest_first(recipes: Sequence[Recipe], speeds: Speeds) -> list[Recipe]:
    """Sort recipes stably by speed. A format that is not measured counts as equal to FP32's
    speed."""
    left, found = list(recipes), []
    while left:
        top = max(_speed(recipe, speeds) for recipe in left)
        level = [recipe for recipe in left if _speed(recipe, speeds) * SAME >= top]
        found += level
        left = [recipe for recipe in left if recipe not in level]
    return found


def _speed(recipe: Recipe, speeds: Speeds) -> float:
    return speeds.get(format_of(recipe.method) or "", 1.0)
