"""Shows the progress of a search on standard error: one line that is redrawn, or lines in a log."""

import sys
from contextlib import suppress
from shutil import get_terminal_size
from time import monotonic
from typing import TextIO

from service.quantization.report.table import cut
from service.quantization.search.task import Step

WIDTH, SHORT = 24, 8
"""Widths of the bar, in columns."""
NARROW, NARROWEST = 120, 60
"""Lines narrower than NARROW have a short bar, lines narrower than NARROWEST have no bar."""
BEST = " | best: "
LOG_SECONDS = 5.0
"""The minimum interval between lines in a log; steps in between are not written."""


class ProgressBar:
    """Prints the steps of a search."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._drawn = float("-inf")

    def __call__(self, step: Step) -> None:
        """Show a step. A closed terminal does not end the search."""
        with suppress(OSError):
            self._show(step)

    def _show(self, step: Step) -> None:
        if self._stream.isatty():
            text = line(step, get_terminal_size().columns - 1)
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if step.doing == "done" else ""))
        elif monotonic() - self._drawn >= LOG_SECONDS or step.doing == "done":
            self._drawn = monotonic()
            self._stream.write(line(step, 400) + "\n")
        self._stream.flush()


def line(step: Step, width: int) -> str:
    """Return one line: the bar, the current step, the best candidate with its gain, the time left.

    If ``width`` is small, the bar is short and names are truncated; figures are not.
    """
    bar = ""
    if width >= NARROWEST:
        bar = _bar(step, WIDTH if width >= NARROW else SHORT)
    gain = f" {step.gain:.2f} x" if step.gain else ""
    left = f"{int(step.left_seconds) // 60}:{int(step.left_seconds) % 60:02d} left"
    head, tail = f"{bar}{step.done}/{step.planned} ", f"{gain} | {left}"
    room = max(16, width - len(head) - len(tail) - len(BEST))
    best = cut(step.best, max(room // 2, room - len(step.doing)))
    return f"{head}{cut(step.doing, room - len(best))}{BEST}{best}{tail}"[:width]


def _bar(step: Step, width: int) -> str:
    share = min(1.0, step.done / max(1, step.planned))
    return "[" + ("#" * round(share * width)).ljust(width, ".") + "] "
