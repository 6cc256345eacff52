"""The final output of ``quantserve quantize``: table, decision, files, and commands to run next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from service.quantization.report.report import Report
from service.quantization.report.table import confirmed, table


def told(report: Report, version: Path, written: Sequence[Path], width: int | None) -> str:
    """Return the result as text, wrapped to ``width`` columns if given. Commands are never wrapped,
    so that they can be copied."""
    found = _found(report, (*holds_for(report), confirmed(report), *_missing(report)), width)
    files = [f"wrote {path}" for path in written]
    return "\n".join((*found, "", *files, "", *_next(version)))


def holds_for(report: Report) -> list[str]:
    """Return a line about the machine and kernels of the measurement; no line if there is no
    winner."""
    return [f"measured on {report.profile}"] if report.profile else []


def kept(report: Report, given: Path, width: int | None) -> str:
    """Return the result as text if no candidate is better than the --from-int8 file."""
    return "\n".join(_found(report, (f"no version was made: {given} is unchanged",), width))


def _found(report: Report, more: Sequence[str], width: int | None) -> list[str]:
    """Return lines: the table, the notes, the decision and ``more``."""
    notes = [f"note: {note}" for note in report.notes]
    lines = [*notes, report.decision.reason, *more]
    if width is not None:
        lines = [fill(line, width, break_long_words=False) for line in lines]
    return [table(report, width), "", *lines]


def _missing(report: Report) -> list[str]:
    """Return lines about recipes that were not tried because a package is not installed."""
    # The table may truncate the command that installs it.
    return [
        f"not tried: {row.name} {row.verdict.text}"
        for row in report.candidates
        if "pip install" in row.verdict.text
    ]


def _next(version: Path) -> list[str]:
    """Return the commands that serve the version."""
    name, models = version.parent.name, version.parent.parent
    serve = shlex.join(["quantserve", "serve", "--models", str(models)])
    swap = shlex.join(["quantserve", "swap", name, version.name])
    return [f"serve it:                {serve}", f"on a running server:     {swap}"]
