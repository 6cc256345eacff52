"""Where a search stands, on standard error: one line that is redrawn, or a line a step in a log."""

import sys
from shutil import get_terminal_size
from time import monotonic
from typing import TextIO

from service.quantization.search import Step

WIDTH = 24
LOG_SECONDS = 5.0
"""In a log, steps that follow faster than this are left out."""


class ProgressBar:
    """Draws steps."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._drawn = float("-inf")

    def __call__(self, step: Step) -> None:
        """Show a step."""
        if self._stream.isatty():
            text = line(step, get_terminal_size().columns - 1)
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if step.doing == "done" else ""))
        elif monotonic() - self._drawn >= LOG_SECONDS or step.doing == "done":
            self._drawn = monotonic()
            self._stream.write(line(step, 400) + "\n")
        self._stream.flush()


def line(step: Step, width: int) -> str:
    """One line: the bar, what is tried, the best so far, the time left."""
    share = min(1.0, step.done / max(1, step.planned))
    bar = ("#" * round(share * WIDTH)).ljust(WIDTH, ".")
    left = f"{int(step.left_seconds) // 60}:{int(step.left_seconds) % 60:02d} left"
    tail = f" | best: {step.best} | {left}"
    head = f"[{bar}] {step.done}/{step.planned} "
    room = max(8, width - len(head) - len(tail))
    return f"{head}{step.doing[:room]}{tail}"[:width]
