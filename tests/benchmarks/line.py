"""A target value, as a line of a benchmark's output."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A target value."""

    what: str
    wanted: float
    got: float
    least: bool = True

    @property
    def reached(self) -> bool:
        """True if the target was reached."""
        return self.got >= self.wanted if self.least else self.got <= self.wanted

    def __str__(self) -> str:
        sign = "at least" if self.least else "at most"
        mark = "reached" if self.reached else "MISSED"
        return f"  {mark:8} {self.what:46} {self.got:9.4g}   ({sign} {self.wanted:g})"
