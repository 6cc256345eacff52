"""The golden set of a language model: texts as tokens, and the predictions of the reference model.

An .npz with ``tokens`` [texts, tokens], ``logprobs`` and ``top1`` [texts, tokens - 1].
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.errors import FileUnreadable, LoadFailed
from service.core.language_gate import Forced
from service.engine.storage.npz import read_npz

MOST_BYTES = 2**28
KINDS = {"tokens": "i", "logprobs": "f", "top1": "i"}


class LanguageGolden(NamedTuple):
    """A golden set. ``tokens`` are the texts, ``forced`` the predictions of the reference model."""

    tokens: NDArray[np.int64]
    forced: Forced


def read_language_golden(path: Path, vocabulary: int, context: int) -> LanguageGolden:
    """Read the golden set in a file, for a model with this size of vocabulary and this context.

    Raises:
        LoadFailed: the file is not readable, or is not a golden set for the model.
    """
    try:
        arrays = read_npz(path, MOST_BYTES)
    except FileNotFoundError:
        raise LoadFailed(f"{path.name} is gone") from None
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from error
    for name, kind in KINDS.items():
        if name not in arrays or arrays[name].ndim != 2 or arrays[name].dtype.kind != kind:
            raise LoadFailed(
                f"{path.name}: the golden set of a language model has tokens, logprobs and top1,"
                f' each with two axes; "{name}" is not one'
            )
    tokens = arrays["tokens"].astype(np.int64)
    texts, length = tokens.shape
    if not texts or not 2 <= length <= context:
        raise LoadFailed(
            f"{path.name}: {texts} texts of {length} tokens, expected at least one of 2 to"
            f" {context}"
        )
    for name in ("logprobs", "top1"):
        if arrays[name].shape != (texts, length - 1):
            shape = list(arrays[name].shape)
            raise LoadFailed(f'{path.name}: "{name}" is {shape}, expected {[texts, length - 1]}')
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise LoadFailed(f"{path.name} has tokens outside the model's vocabulary of {vocabulary}")
    forced = Forced(arrays["logprobs"].astype(np.float32), arrays["top1"].astype(np.int64))
    return LanguageGolden(tokens, forced)
