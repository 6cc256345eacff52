"""``quantserve quantize``: from an FP32 file and rows to a version that is proven."""

import argparse
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from service.commands.extra import needing_extra, tell
from service.core.errors import ConfigError
from service.core.names import LANGUAGE_FILE

STOPPED = 130
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def describe(parser: argparse.ArgumentParser) -> None:
    """The file, the rows, what is wanted and what it may cost."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL.onnx", nargs="?",
        help="the model in FP32: a file, or the folder of a language model")  # fmt: skip
    add("--from-int8", type=Path, metavar="FILE",
        help="a model that quantize_dynamic made, to be given a scale for each row so that rows "
        "may share a run; needs no FP32 source (with one, both are compared with it)")  # fmt: skip
    add("--data", help=".npz, folder of .npy or .npz, module:function, or random; needed unless "
        "the model is a language model")  # fmt: skip
    add("--calibration", metavar="DATA", help="rows to calibrate on (default: a quarter of --data)")
    add("--name", help="the model's name in the models folder (default: the file's)")
    add("--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder")
    add("--labels", metavar="KEY", help="array with the right answers (default: labels, label, y)")
    add("--metric", default="auto",
        help="auto, accuracy, agreement, cosine, r2, or module:function with the signature "
        "function(outputs: dict[str, numpy.ndarray], labels: numpy.ndarray | None) -> float, where "
        "more is better: outputs by name with the rows first, an array of arrays where rows differ "
        "in shape; called with FP32's outputs and with each candidate's")  # fmt: skip
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
    add("--rows", type=_count, default=1000, help="evaluation rows at most (default: 1000)")
    add("--max-batch-size", type=_count, default=64, help="rows in one run at most (default: 64)")
    add("--threads", type=_count, default=0, help="threads of one run (default: as serving would)")
    add("--seed", type=_seed, default=0, help="seed of the split into rows")
    add("--streams", type=_count, default=8,
        help="language models: requests that decode together (default: 8)")  # fmt: skip
    add("--text", type=Path, metavar="FILE",
        help="language models: text to judge by, of the kind that will be asked (default: the help "
        "of Python, in English)")  # fmt: skip


def run(flags: dict[str, Any]) -> int:
    """Search, publish and print the result; gives the exit code.

    Raises:
        ConfigError: what was asked for cannot be done, or a package is missing.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with needing_extra():
            result = _carried_out(flags)
    except KeyboardInterrupt:
        print("\nstopped: no version was made; the same command goes on where this one was",
              file=sys.stderr)  # fmt: skip
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    tell(result)
    return 0


def _carried_out(flags: dict[str, Any]) -> str:
    if flags["model"] is not None and (flags["model"] / LANGUAGE_FILE).is_file():
        from service.quantization.language.pipeline import LanguageOptions
        from service.quantization.language.pipeline import carry_out as of_language

        names = ("model", "name", "models", "target", "streams", "text")
        given = {name: flags[name] for name in names}
        return of_language(LanguageOptions(**given, threads=flags["threads"] or 1))
    from service.quantization.pipeline import QuantizeOptions, carry_out

    if flags["data"] is None:
        raise ConfigError("give rows with --data: .npz, a folder, module:function, or random")
    given = {name: value for name, value in flags.items() if name not in ("streams", "text")}
    return carry_out(QuantizeOptions(**given | {"qat": tuple(flags["qat"])}))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


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
