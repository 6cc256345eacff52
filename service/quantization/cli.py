"""The commands ``quantize``, ``inspect`` and ``hardware``: their flags and what they print.

What they do is imported when they run: serving needs neither ``onnx`` nor the quantizer.
"""

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from service.core.errors import ConfigError

EXTRA = "onnx"
"""A package that only the extra ``quantize`` installs."""
STOPPED = 130
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the parser of ``quantserve``; each sets ``run``."""
    _add_quantize(commands.add_parser(
        "quantize", help="make a quantized version that is proven faster and accurate enough"
    ))  # fmt: skip
    inspect = commands.add_parser("inspect", help="say how a model is quantized, node by node")
    inspect.add_argument("model", help="an ONNX file, or NAME or NAME/VERSION in the models folder")
    inspect.add_argument("--models", type=Path, default=Path("models"), metavar="DIR")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_needing_extra(_inspect))
    hardware = commands.add_parser("hardware", help="say what this machine can do with few bits")
    hardware.add_argument("--json", action="store_true", help="print JSON")
    hardware.add_argument("--quick", action="store_true", help="do not time the kernels")
    hardware.set_defaults(run=_hardware)


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL.onnx", help="the model in FP32")
    add("--data", required=True, help=".npz, folder of .npy or .npz, module:function, or random")
    add("--calibration", metavar="DATA", help="rows to calibrate on (default: a quarter of --data)")
    add("--name", help="the model's name in the models folder (default: the file's)")
    add("--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder")
    add("--labels", metavar="KEY", help="array with the right answers (default: labels, label, y)")
    add("--metric", default="auto", help="auto, accuracy, agreement, cosine, r2, module:function")
    add("--max-drop", type=_share, default=0.01, metavar="SHARE",
        help="the most that the metric may fall, as 0.5%% or 0.005 (default: 1%%)")  # fmt: skip
    add("--target", choices=["latency", "throughput", "size", "memory"], default="latency",
        help="what shall become better (default: latency)")  # fmt: skip
    add("--budget", type=_seconds, default=900.0, metavar="TIME",
        help="time for the search, as 90s or 15m (default: 15m)")  # fmt: skip
    add("--allow-batch-variance", action="store_true",
        help="let rows of a batch change each other, as dynamic quantization does")  # fmt: skip
    add("--qat", type=Path, action="append", default=[], metavar="FILE",
        help="a finished quantized file to try as well, such as one trained so")  # fmt: skip
    add("--rows", type=int, default=1000, help="evaluation rows at most (default: 1000)")
    add("--max-batch-size", type=int, default=64, help="rows in one run at most (default: 64)")
    add("--threads", type=int, default=0, help="threads of one run (default: as serving would)")
    add("--seed", type=int, default=0, help="seed of the split into rows")
    parser.set_defaults(run=_needing_extra(_quantize))


def _needing_extra(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say what to install where it is missing."""

    def checked(flags: argparse.Namespace) -> int:
        try:
            return run(flags)
        except ModuleNotFoundError as error:
            if error.name != EXTRA:
                raise
            raise ConfigError(
                "this command needs the onnx package: pip install 'quantserve[quantize]'"
            ) from None

    return checked


def _quantize(flags: argparse.Namespace) -> int:
    from service.quantization.order import Order, carry_out

    values = {name: value for name, value in vars(flags).items() if name != "run"}
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = carry_out(Order(**values | {"qat": tuple(flags.qat)}))
    except KeyboardInterrupt:
        print("\nstopped: no version was made; the same command goes on where this one was",
              file=sys.stderr)  # fmt: skip
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    print(result)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _inspect(flags: argparse.Namespace) -> int:
    from service.quantization.inspection import as_text, inspect

    found = inspect(_model_path(flags.model, flags.models))
    _print(found, as_text(found), flags.json)
    return 0


def _hardware(flags: argparse.Namespace) -> int:
    from service.quantization.kernels import hardware, hardware_text

    found = hardware(timed=not flags.quick)
    _print(found, hardware_text(found), flags.json)
    return 0


def _print(values: Any, text: str, as_json: bool) -> None:
    try:
        print(json.dumps(values, indent=1, allow_nan=False) if as_json else text, flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _model_path(asked: str, models: Path) -> Path:
    """A file as it is; else a version of a model, the highest one where none is named."""
    if Path(asked).is_file():
        return Path(asked)
    name, _, number = asked.partition("/")
    home = models / name
    numbers = [p.name for p in home.iterdir() if p.name.isdigit()] if home.is_dir() else []
    version = number or max(numbers, key=int, default="")
    path = home / version / "model.onnx"
    if not version or not path.is_file():
        raise ConfigError(f"{asked} is neither a file nor a model or version in {models}")
    return path


def _share(text: str) -> float:
    """ "0.5%" or "0.005" as 0.005."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 0.5% or 0.005")
    return value


def _seconds(text: str) -> float:
    """ "90s" or "15m" as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s or 15m")
    return float(match[1]) * UNITS[match[2]]
