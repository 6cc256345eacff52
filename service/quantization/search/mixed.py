"""Mixed precision: which parts to leave in float so that a fast recipe's answers become right.

The parts are ranked by measured sensitivity. The fewest of the worst that must stay in float are
found by doubling and bisection; then each of them gets a second chance to be quantized.
"""

from collections.abc import Callable, Sequence

from service.quantization.search.sensitivity import Part

SECOND_CHANCES = 8

Passes = Callable[[tuple[str, ...]], bool]
"""Whether the recipe is within the budget with these nodes in float."""


def fewest_in_float(
    ranked: Sequence[Part], passes: Passes, in_time: Callable[[], bool]
) -> tuple[str, ...] | None:
    """The nodes to leave in float; None where even all but one part in float would not pass.

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
    """The nodes of several parts."""
    return tuple(name for part in parts for name in part)


def _fewest(ranked: Sequence[Part], passes: Passes, in_time: Callable[[], bool]) -> int | None:
    """The least number of worst parts in float that passes, taking quality to grow with it."""
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
