"""The checks of the gate for a language model: perplexity of texts and agreement of the most likely
token, relative to the model that made the golden set. Pure.

Answers in free text are not compared: after one different token they have nothing in common.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.checks import Check

MAX_PERPLEXITY_RATIO = 1.05
MIN_TOP1_AGREEMENT = 0.85


class Forced(NamedTuple):
    """Predictions of a model for given texts, at each token except the first. ``logprobs`` [texts,
    tokens - 1] are those of the text's own tokens; ``top1`` are the most likely tokens."""

    logprobs: NDArray[np.float32]
    top1: NDArray[np.int64]


def language_checks(
    got: Forced, wanted: Forced, max_ratio: float | None, min_agreement: float | None
) -> list[Check]:
    """Check the ratio of the perplexities, and the share of positions with the same most likely
    token. A limit of None stands for the default."""
    most = MAX_PERPLEXITY_RATIO if max_ratio is None else max_ratio
    least = MIN_TOP1_AGREEMENT if min_agreement is None else min_agreement
    with np.errstate(over="ignore"):
        means = (each.logprobs.mean(dtype=np.float64) for each in (wanted, got))
        ratio = float(np.exp(np.subtract(*means)))
    agreement = float((got.top1 == wanted.top1).mean())
    return [
        Check("golden", "perplexity ratio", ratio, most, ratio <= most),
        Check("golden", "top-1 agreement", agreement, least, agreement >= least),
    ]
