"""``quantserve inspect``: how a model is quantized, node by node, and what runs in integers."""

import argparse
from pathlib import Path
from typing import Any

from service.commands.extra import needing_extra, show
from service.config import load_model_config
from service.core.errors import ConfigError
from service.engine.folder import MODEL_FILE, SETTINGS_FILE
from service.engine.kernels import Kernels


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

        path = _path(flags["model"], flags["models"])
        found = inspect(path, _kernels(path))
    show(found, as_text(found), flags["json"])
    return 0


def _kernels(path: Path) -> Kernels | None:
    """What the model.toml says that a version of a model is served by."""
    served = path.name == MODEL_FILE and path.resolve().parent.name.isdigit()
    settings = path.resolve().parent.parent / SETTINGS_FILE
    return Kernels.asked(load_model_config(settings).session.kernels) if served else None


def _path(asked: str, models: Path) -> Path:
    """A file as it is; else a version of a model, the highest one where none is named."""
    if Path(asked).is_file():
        return Path(asked)
    name, _, number = asked.partition("/")
    home = models / name
    numbers = [p.name for p in home.iterdir() if p.name.isdigit()] if home.is_dir() else []
    version = number or max(numbers, key=int, default="")
    path = home / version / MODEL_FILE
    if not version or not path.is_file():
        there = f"; {name} has {', '.join(sorted(numbers, key=int))}" if numbers else ""
        raise ConfigError(f"{asked} is neither a file nor a model or version in {models}{there}")
    return path
