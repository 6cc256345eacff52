"""What ``quantserve tune`` has found: as a table, as JSON, as a plot, and as settings."""

import json
from pathlib import Path
from typing import Any

from service.commands.columns import columns
from service.commands.line_plot import MOST_LINES, Line, svg
from service.core.errors import ConfigError
from service.core.model_file import SETTINGS_FILE
from service.core.tuning import Choice, Measured, fit
from service.engine.cpu.machine import read_machine
from service.engine.cpu.providers import Provider


def as_text(choice: Choice, measured: list[Measured], tolerance: float) -> str:
    """Return a table of the measurements, the choice, and the settings for model.toml."""
    heads = ("INSTANCES", "THREADS", "ROWS", "KERNELS", "ROWS/S", "P50 MS", "P99 MS", "")
    rows = []
    for each in measured:
        of = each.candidate
        marks = ["default"] if each.candidate == choice.default.candidate else []
        marks += ["chosen"] if each.candidate == choice.chosen.candidate else []
        marks += ["answers differ"] if each.deviation > tolerance else []
        rows.append(
            (str(of.instances), str(of.threads), str(of.rows), of.kernels, f"{each.rate:,.0f}",
             f"{each.p50 * 1000:.3f}", f"{each.p99 * 1000:.3f}", ", ".join(marks))
        )  # fmt: skip
    line = fit(_curve(choice, measured))
    told = [
        columns(heads, rows),
        "",
        f"chosen: {choice.chosen.candidate}: {choice.why}",
        f"rows/s relative to the default: {choice.gain:.2f}",
        f"a run takes {line.fixed * 1000:.3f} ms plus {line.per_row * 1000:.3f} ms per row",
    ]
    if choice.lone_threads > choice.chosen.candidate.threads:
        told += [f"a lone request gets {choice.lone_threads} threads, in a second session"]
    told += [f"unsure: {choice.unsure}"] if choice.unsure else []
    if choice.chosen is not choice.default:
        told += ["", f"for {SETTINGS_FILE}:", "", settings(choice)]
    return "\n".join(told)


def _curve(choice: Choice, measured: list[Measured]) -> dict[int, float]:
    """Return seconds of a run by rows, for candidates that differ from the chosen one in rows
    only."""
    of = choice.chosen.candidate
    alike = (of.instances, of.threads, of.kernels)
    return {
        each.candidate.rows: each.p50
        for each in measured
        if (each.candidate.instances, each.candidate.threads, each.candidate.kernels) == alike
    }


def as_values(name: str, cores: int, choice: Choice, measured: list[Measured]) -> dict[str, Any]:
    """Return the same as values for JSON."""
    return {
        "model": name,
        "cpu": read_machine().cpu,
        "cores": cores,
        "default": str(choice.default.candidate),
        "chosen": str(choice.chosen.candidate),
        "why": choice.why,
        "unsure": choice.unsure,
        "gain": choice.gain,
        "settings": settings(choice),
        "lone_threads": choice.lone_threads,
        "measured": [
            {
                "instances": each.candidate.instances,
                "threads": each.candidate.threads,
                "rows": each.candidate.rows,
                "kernels": each.candidate.kernels,
                "rows_per_second": each.rate,
                "p50_seconds": each.p50,
                "p99_seconds": each.p99,
                "deviation": each.deviation,
            }
            for each in measured
        ],
    }


def write_plot(path: Path, name: str, choice: Choice, measured: list[Measured]) -> None:
    """Write a plot of rows/s by rows per run, with a line for each combination of instances,
    threads and kernels.

    Raises:
        ConfigError: the file cannot be written.
    """
    rates: dict[str, dict[int, float]] = {}
    for each in sorted(measured, key=lambda each: each.candidate.rows):
        of = each.candidate
        kind = f"{of.instances} x {of.threads} threads, {of.kernels}"
        rates.setdefault(kind, {})[of.rows] = each.rate
    sizes = max((sorted(found) for found in rates.values()), key=len)
    # A combination of model.toml may have been measured with one size only: it has no line.
    whole = {kind: found for kind, found in rates.items() if found.keys() >= set(sizes)}
    best = sorted(whole, key=lambda kind: -max(whole[kind].values()))[:MOST_LINES]
    lines = [Line(kind, [whole[kind][rows] for rows in sizes]) for kind in best]
    title = f"{name}: {choice.chosen.candidate}"
    try:
        path.write_text(svg(title, "rows a run", "rows/s", lines, list(map(str, sizes))))
    except OSError as error:
        raise ConfigError(f"--plot {path}: {error.strerror}") from error


def sections(choice: Choice) -> dict[str, dict[str, Any]]:
    """Return the settings that make a server run the chosen candidate; empty if it is the
    default."""
    chosen, default = choice.chosen.candidate, choice.default.candidate
    if choice.chosen is choice.default:
        return {}
    found: dict[str, dict[str, Any]] = {
        "instances": {
            "count": chosen.instances,
            "threads": chosen.threads,
            "lone_threads": choice.lone_threads,
        }
    }
    if chosen.rows != default.rows:
        found["batching"] = {"preferred_batch_size": chosen.rows}
    if chosen.kernels != default.kernels:
        found["session"] = session_settings(chosen.kernels)
    return found


def settings(choice: Choice) -> str:
    """Return these settings as sections of model.toml."""
    parts = [
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
        for name, values in sections(choice).items()
    ]
    return "\n\n".join(parts)


def session_settings(kernels: str) -> dict[str, str]:
    """``[session]`` of model.toml for a candidate's kernels."""
    return {"provider" if kernels in list(Provider) else "kernels": kernels}
