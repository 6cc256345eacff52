"""``quantserve inspect``: shows how a model is quantized, and which nodes run in integers."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service.commands.columns import columns
from service.commands.extra import needing_extra, show
from service.config.model import load_model_config
from service.core.errors import ConfigError
from service.core.model_file import SETTINGS_FILE
from service.core.names import MODEL_FILE
from service.engine.cpu.kernels import Kernels
from service.engine.storage.folder import ModelFolder
from service.engine.storage.root import Root

MOST_LISTED = 40
"""Products and tensors that are listed as text."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the flags for output."""
    parser.add_argument(
        "model",
        help="an ONNX file, or NAME or NAME/VERSION in the models folder; NAME alone is the "
        "version that a server starts with",
    )
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(flags: dict[str, Any]) -> int:
    """Inspect a model and print the result. Returns the exit code.

    Raises:
        ConfigError: there is no such model, or a package is missing.
    """
    with needing_extra():
        from service.quantization.inspection import inspect

        found = _found(flags["model"], flags["models"])
        told = found.about | inspect(found.path, _kernels(found.settings))
    title = f"{told['model']} version {told['version']}, " if found.about else ""
    show(told, title + as_text(told), flags["json"])
    return 0


class _Found(NamedTuple):
    """A model's file, the path of its settings, and its name and version if given by name."""

    path: Path
    settings: Path
    about: dict[str, Any]


def _kernels(settings: Path) -> Kernels | None:
    """Return the kernels that a model.toml sets, if any."""
    return Kernels.asked(load_model_config(settings).session.kernels)


def _found(asked: str, models: Path) -> _Found:
    """Return the file at a path, or a version of a model; without a number, the version that
    serves."""
    if Path(asked).is_file():
        path = Path(asked).resolve()
        version = path.name == MODEL_FILE and path.parent.name.isdigit()
        home = path.parent.parent if version else path.parent
        return _Found(Path(asked), home / SETTINGS_FILE, {})
    name, _, given = asked.partition("/")
    model = Root.of(models).read_one(name) if models.is_dir() else None
    numbers = model.numbers if model else ()
    number = next((n for n in numbers if given == str(n)), None)
    if model and not given:
        number = _serving(model)
    if model is None or number is None:
        there = f"; {name} has {', '.join(map(str, numbers))}" if numbers else ""
        raise ConfigError(f"{asked} is neither a file nor a model or version in {models}{there}")
    files = model.of_version(number)
    if files.problem:
        raise ConfigError(f"{name} version {number}: {files.problem}")
    return _Found(files.model, files.shared / SETTINGS_FILE, {"model": name, "version": number})


def _serving(model: ModelFolder) -> int | None:
    """Return the version that a server starts with.

    Raises:
        ConfigError: the settings do not allow any of the versions to serve.
    """
    if model.numbers and model.to_serve is None:
        there = ", ".join(map(str, model.numbers))
        raise ConfigError(
            f"{model.name} has {there}, but [versions] of model.toml allows none to be served: "
            f"name a version, as in {model.name}/{model.numbers[-1]}"
        )
    return model.to_serve


def as_text(found: dict[str, Any]) -> str:
    """Return the result of ``inspect`` as text."""
    fusion = found["fusion"]
    runs = Counter(node["precision"] for node in found["products"])
    unknown = found["multiply_adds_unknown"]
    beside = f", without {unknown} products whose work is unknown" if unknown else ""
    shares = ", ".join(f"{share:.1%} {kind}" for kind, share in found["weights"].items())
    note = f" ({found['kernels_note']})" if found["kernels_note"] else ""
    lines = [
        f"{found['file']}: {found['precision']}, {found['file_bytes'] / 1e6:.3g} MB",
        f"weights     {shares or 'none'}",
        f"products    {runs['integer']} in integers, {runs['unfused']} quantized but run in "
        f"float, {runs['float']} in float; {fusion['stray']} remaining Q/DQ nodes",
        f"kernels     {found['kernels']}{note}",
        *(
            f"fusion      {name} is disabled: slower here than the operators that it replaces"
            for name in found["fusions_disabled"]
        ),
        *([f"outputs     {found['outputs_note']}"] if found["outputs_note"] else []),
        f"work        {found['multiply_adds'] / 1e6:.3g} million multiply-adds a row{beside}",
        "",
        *_table(("PRODUCT", "RUNS AS", "PRECISION", "MILLION MULTIPLY-ADDS"), [
            (n["name"], n["operator"], n["precision"], _millions(n["multiply_adds"]))
            for n in found["products"]]),
    ]  # fmt: skip
    tensors = [
        (t["name"], t["datatype"], str(t["values"] or "activation"), t["granularity"],
         _range(t), _zeros(t),
         f"{t['saturated']:.1%}" if t["used"] else "", f"{t['used']:.0%}" if t["used"] else "")
        for t in found["tensors"]
    ]  # fmt: skip
    heads = (
        "QUANTIZED TENSOR",
        "TYPE",
        "VALUES",
        "SCALED",
        "SCALE",
        "ZERO POINT",
        "SATURATED",
        "USED",
    )
    return "\n".join([*lines, "", *_table(heads, tensors), "", *found["here"]])


def _range(line: dict[str, Any]) -> str:
    low, high = line["scale_min"], line["scale_max"]
    return f"{low:.3g}" if line["scales"] == 1 else f"{low:.3g} to {high:.3g} ({line['scales']})"


def _zeros(line: dict[str, Any]) -> str:
    low, high = line["zero_min"], line["zero_max"]
    return str(low) if low == high else f"{low} to {high}"


def _millions(amount: int | None) -> str:
    return "" if amount is None else f"{amount / 1e6:.3g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    hidden = len(rows) - MOST_LISTED
    more = [f"... and {hidden} more; --json lists all"] if hidden > 0 else []
    return [columns(heads, rows[:MOST_LISTED]), *more]
