"""``quantserve inspect``: how a model is quantized, node by node, and what runs in integers."""

import argparse
from pathlib import Path
from typing import Any

from service.commands.extra import needing_extra, show
from service.config import load_model_config
from service.core.errors import ConfigError
from service.core.model_file import SETTINGS_FILE
from service.core.names import MODEL_FILE
from service.engine.kernels import Kernels
from service.engine.root import Root


def describe(parser: argparse.ArgumentParser) -> None:
    """The model, and how to print."""
    parser.add_argument("model", help="an ONNX file, or NAME or NAME/VERSION in the models folder")
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(flags: dict[str, Any]) -> int:
    """Look, and print; gives the exit code.

    Raises:
        ConfigError: there is no such model, or a package is missing.
    """
    with needing_extra():
        from service.quantization.inspection import as_text, inspect

        path, settings = _found(flags["model"], flags["models"])
        found = inspect(path, _kernels(settings))
    show(found, as_text(found), flags["json"])
    return 0


def _kernels(settings: Path) -> Kernels | None:
    """What a model.toml says that the model is served by."""
    return Kernels.asked(load_model_config(settings).session.kernels)


def _found(asked: str, models: Path) -> tuple[Path, Path]:
    """A file as it is, else a version of a model, the highest one where none is named; and where
    its settings would be."""
    if Path(asked).is_file():
        path = Path(asked).resolve()
        version = path.name == MODEL_FILE and path.parent.name.isdigit()
        home = path.parent.parent if version else path.parent
        return Path(asked), home / SETTINGS_FILE
    name, _, number = asked.partition("/")
    model = Root.of(models).read_one(name) if models.is_dir() else None
    numbers = model.numbers if model else ()
    chosen = [n for n in numbers if number in ("", str(n))]
    if model is None or not chosen:
        there = f"; {name} has {', '.join(map(str, numbers))}" if numbers else ""
        raise ConfigError(f"{asked} is neither a file nor a model or version in {models}{there}")
    files = model.of_version(chosen[-1])
    if files.problem:
        raise ConfigError(f"{name} version {chosen[-1]}: {files.problem}")
    return files.model, files.shared / SETTINGS_FILE
