"""What ``quantserve quantize`` prints at its end: the table, the decision, the files, what next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from service.engine.cpu.profile import Profile
from service.quantization.report.table import confirmed, table


def told(values: dict[str, Any], version: Path, written: Sequence[Path], width: int | None) -> str:
    """The result as text; in a terminal, of ``width`` columns. Commands are never broken, so that
    they can be copied."""
    found = _found(values, (*holds_for(values), confirmed(values), *_missing(values)), width)
    files = [f"wrote {path}" for path in written]
    return "\n".join((*found, "", *files, "", *_next(version)))


def holds_for(values: Mapping[str, Any]) -> list[str]:
    """A line on the machine and kernels of the measurement; none if there is no winner."""
    found = values.get("profile")
    return [f"measured on {Profile.read(found)}"] if found else []


def kept(values: dict[str, Any], given: Path, width: int | None) -> str:
    """The result if no candidate is better than the --from-int8 file."""
    return "\n".join(_found(values, (f"no version was made: {given} stays as it is",), width))


def _found(values: dict[str, Any], more: Sequence[str], width: int | None) -> list[str]:
    """The lines of the table, the notes, the decision and ``more``."""
    notes = [f"note: {note}" for note in values["notes"]]
    lines = [*notes, values["decision"]["reason"], *more]
    if width is not None:
        lines = [fill(line, width, break_long_words=False) for line in lines]
    return [table(values, width), "", *lines]


def _missing(values: Mapping[str, Any]) -> list[str]:
    """Recipes that were not tried for want of a package; the table may have cut it off."""
    return [
        f"not tried: {row['name']} {row['verdict']}"
        for row in values["candidates"]
        if "pip install" in row["verdict"]
    ]


def _next(version: Path) -> list[str]:
    """The commands that let the version serve."""
    name, models = version.parent.name, version.parent.parent
    serve = shlex.join(["quantserve", "serve", "--models", str(models)])
    swap = shlex.join(["quantserve", "swap", name, version.name])
    return [f"serve it:                {serve}", f"on a server that runs:   {swap}"]
