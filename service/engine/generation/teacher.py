"""Computes a model's prediction of each token of given texts (teacher forcing). Blocks."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.core.language_gate import Forced
from service.engine.generation.decoder import Decoder
from service.engine.generation.sampling import Floats

ROWS = 8
"""Texts that are read in parallel."""


def force(
    decoder: Decoder, texts: NDArray[np.int64], go_on: Callable[[], bool] = lambda: True
) -> Forced:
    """Read texts, [texts, tokens], with a separate cache. ``go_on`` is called before each token.

    Raises:
        ExecutionFailed: the graph fails.
        InterruptedError: ``go_on`` returned False.
    """
    length = texts.shape[1]
    beside = decoder.beside(min(ROWS, len(texts)), length)
    logprobs = np.empty((len(texts), length - 1), np.float32)
    top1 = np.empty((len(texts), length - 1), np.int64)
    for start in range(0, len(texts), ROWS):
        part = texts[start : start + ROWS]
        rows = np.arange(len(part))
        scores = np.stack([beside.read(row, [text[:1]])[0] for row, text in enumerate(part)])
        for at in range(1, length):
            if not go_on():
                raise InterruptedError
            logprobs[start + rows, at - 1] = _logprobs(scores)[rows, part[:, at]]
            top1[start + rows, at - 1] = scores.argmax(axis=1)
            if at < length - 1:
                scores = beside.next(part[:, at].tolist(), [at] * len(part))
    return Forced(logprobs, top1)


def _logprobs(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    found: Floats = shifted - np.log(sums).astype(np.float32)
    return found
