"""One check of the gate: the measured value and its limit."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` is the part of the gate; ``output`` is the tensor if the check is about one.

    ``measured`` and ``required`` are numbers or words; ``measure`` says what they are. If there is
    no number, for example for a file that does not load, ``measure`` is empty and ``measured`` is
    the reason. ``detail`` is for people, for example which element differs.
    """

    name: str
    measure: str
    measured: float | str
    required: float | str
    passed: bool
    output: str = ""
    detail: str = ""

    def __str__(self) -> str:
        if not self.measure:
            return f"{self.name}: {self.measured}"
        where = f' of output "{self.output}"' if self.output else ""
        what = f"{self.name}: {self.measure}{where}"
        more = f" ({self.detail})" if self.detail else ""
        return f"{what} is {_show(self.measured)}, required {self._bound()}{more}"

    def _bound(self) -> str:
        if isinstance(self.required, str):
            return self.required
        side = "at least" if self.measure in AT_LEAST else "at most"
        return f"{side} {_show(self.required)}"


LIVE_ROWS = "rows of the live version that run"
AT_LEAST = frozenset({"cosine", "top-1 agreement", "accuracy", LIVE_ROWS})


def failures(checks: Iterable[Check]) -> str:
    """Describe the failed checks as text."""
    return "; ".join(str(check) for check in checks if not check.passed)


def _show(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.4g}"
