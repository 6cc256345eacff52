"""The gate's judgement of a language model: perplexity of texts and agreement of the likeliest
token, relative to the model that made the golden set. Pure.

Answers in free text are not compared: they part for good after one token that differs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.checks import Check

MAX_PERPLEXITY_RATIO = 1.05
MIN_TOP1_AGREEMENT = 0.85


class Forced(NamedTuple):
    """Predictions of a model for given texts, at each token but the first: ``logprobs`` [texts,
    tokens - 1] of the text's own token, ``top1`` the likeliest token."""

    logprobs: NDArray[np.float32]
    top1: NDArray[np.int64]


def language_checks(
    got: Forced, wanted: Forced, max_ratio: float | None, min_agreement: float | None
) -> list[Check]:
    """The ratio of the perplexities, and the share of places with the same likeliest token; None
    takes the default."""
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
