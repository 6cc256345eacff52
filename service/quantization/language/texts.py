"""The texts for calibration and evaluation of a language model."""

from collections.abc import Sequence
from pathlib import Path
from pydoc_data import topics
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.errors import ConfigError

TEXTS, TOKENS = 16, 64
CALIBRATION = 4
MOST_BYTES = 64 * 2**20
DEFAULT = "the help of Python"


class Texts(NamedTuple):
    """Tokens [texts, tokens]: ``calibration`` to find outliers, ``evaluation`` to score
    candidates."""

    calibration: NDArray[np.int64]
    evaluation: NDArray[np.int64]


def read_text(path: Path | None) -> str:
    """Return a file's text; without a file, Python's own help, a text that every installation has.

    Raises:
        ConfigError: it is not UTF-8 text of a usable size.
    """
    if path is None:
        names = sorted(topics.topics)
        return "\n".join(" ".join(topics.topics[name].split()) for name in names[5:60])
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"--text {path} is larger than {MOST_BYTES >> 20} MB")
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"--text {path} is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"--text {path}: {error.strerror}") from None


def cut(tokens: Sequence[int], context: int) -> Texts:
    """Return pieces of one text, taken at regular intervals.

    Raises:
        ConfigError: the text is too short.
    """
    length, pieces = min(TOKENS, context), CALIBRATION + TEXTS
    if len(tokens) < length * pieces:
        raise ConfigError(
            f"the text has {len(tokens)} tokens; {length * pieces} are needed: {pieces} pieces of"
            f" {length}"
        )
    starts = np.linspace(0, len(tokens) - length, pieces).astype(int)
    found = np.array([tokens[start : start + length] for start in starts], np.int64)
    chosen = np.zeros(pieces, bool)
    chosen[:: pieces // CALIBRATION] = True
    return Texts(found[chosen][:CALIBRATION], found[~chosen])
