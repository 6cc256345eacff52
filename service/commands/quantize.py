"""``quantserve quantize``: searches for a faster quantized version of a model, and publishes it."""

import argparse
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from service.commands.extra import needing_extra, tell
from service.core.errors import ConfigError

STOPPED = 130
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the model, the rows, the goal and the limits."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", nargs="?",
        help="the model in FP32: an ONNX file; or a language model: a folder of Hugging Face or "
        "of onnxruntime-genai's model builder, or a GGUF file")  # fmt: skip
    add("--from-int8", type=Path, metavar="FILE",
        help="a model quantized by quantize_dynamic, to convert to one scale per row so that rows "
        "can be batched; MODEL is then optional (and compared too if given)")  # fmt: skip
    add("--data", help=".npz, folder of .npy or .npz, module:function, or random; required unless "
        "the model is a language model")  # fmt: skip
    add("--calibration", metavar="DATA", help="calibration rows (default: a quarter of --data)")
    add("--name", help="the model's name in the models folder (default: the file's)")
    add("--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder")
    add("--labels", metavar="KEY", help="array of correct answers (default: labels, label, y)")
    add("--metric", default="auto",
        help="auto, accuracy, agreement, cosine, r2, or module:function with the signature "
        "function(outputs: dict[str, numpy.ndarray], labels: numpy.ndarray | None) -> float, where "
        "higher is better: outputs by name with rows on the first axis, as arrays of arrays if the "
        "shapes of rows differ; called with FP32's outputs and with each candidate's")  # fmt: skip
    add("--max-drop", type=_share, default=0.01, metavar="SHARE",
        help="largest allowed drop of the metric, e.g. 0.5%% or 0.005 (default: 1%%)")  # fmt: skip
    add("--target", choices=["latency", "throughput", "size", "memory"], default="latency",
        help="the figure to improve (default: latency)")  # fmt: skip
    add("--budget", type=_seconds, default=900.0, metavar="TIME",
        help="time for the search, e.g. 90s or 15m (default: 15m)")  # fmt: skip
    add("--allow-batch-variance", action="store_true",
        help="accept answers that depend on the other rows of a batch")  # fmt: skip
    add("--qat", type=Path, action="append", default=[], metavar="FILE",
        help="a quantized file to compare too, e.g. from quantization-aware training")  # fmt: skip
    add("--rows", type=_count, default=1000, help="maximum evaluation rows (default: 1000)")
    add("--max-batch-size", type=_count, default=64, help="maximum rows in a run (default: 64)")
    add("--threads", type=_count, default=0, help="threads of one run (default: as serving would)")
    add("--seed", type=_seed, default=0, help="seed of the split of the rows")
    add("--streams", type=_count, default=8,
        help="language models: requests that decode together (default: 8)")  # fmt: skip
    add("--text", type=Path, metavar="FILE",
        help="language models: text for the evaluation, similar to the expected requests (default: "
        "the help of Python, in English)")  # fmt: skip


def run(flags: dict[str, Any]) -> int:
    """Search, publish and print the result. Returns the exit code.

    Raises:
        ConfigError: the options or the data are invalid, or a package is missing.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with needing_extra():
            result = _carried_out(flags)
    except KeyboardInterrupt:
        print("\nstopped: no version was made; run the same command again to resume",
              file=sys.stderr)  # fmt: skip
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    tell(result)
    return 0


def _carried_out(flags: dict[str, Any]) -> str:
    from service.quantization.language.source import form_of

    model: Path | None = flags["model"]
    if model is not None and (model.is_dir() or form_of(model) is not None):
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
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    """Parse a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


def _share(text: str) -> float:
    """Parse "0.5%" or "0.005" as 0.005."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 0.5% or 0.005")
    return value


def _seconds(text: str) -> float:
    """Parse "90s" or "15m" as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s or 15m")
    return float(match[1]) * UNITS[match[2]]
