"""Chooses the metric for an output without labels, from FP32's output and the output's name."""

import re
from collections.abc import Sequence

import numpy as np

from service.core.tensors import Array

VECTORS = re.compile(r"embed|hidden|feature|pool", re.IGNORECASE)
"""Names of embeddings that are not normalised: their values alone look like class scores."""
BLOCK = 64
"""The width of an embedding is a multiple of this; a number of classes rarely is."""


def fitting(name: str, answers: Sequence[Array]) -> str:
    """Return the metric for one output.

    "cosine" for embeddings: unit vectors, or an embedding's name or width. "r2" for one value per
    row, and for independent probabilities. "agreement" (of the highest class) for all others.
    """
    found = [array.reshape(-1, *array.shape[-1:]) for array in answers if array.size]
    if not found:
        return "cosine"
    if found[0].dtype.kind != "f":
        return "agreement"
    if len({array.shape[1:] for array in found}) > 1:  # lengths, not classes, along the last axis
        return "cosine"
    first = np.concatenate(found).reshape(-1, *found[0].shape[1:] or (1,))
    if first.shape[1] == 1:
        return "r2"
    # Masked logits are -inf, so decide from the finite rows; without any, these are class scores.
    first = first[np.isfinite(first).all(axis=1)].astype(np.float64)
    if not len(first):
        return "cosine" if answers[0][0].ndim > 2 else "agreement"
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow matches neither test below
        norms, sums = np.linalg.norm(first, axis=1), first.sum(axis=1)
    if np.allclose(norms, 1, atol=1e-3) and not np.allclose(sums, 1, atol=1e-3):
        return "cosine"
    if np.allclose(sums, 1, atol=1e-3):
        return "agreement"
    if answers[0].ndim > 2 or VECTORS.search(name) or not first.shape[1] % BLOCK:
        return "cosine"
    return "r2" if ((first >= 0) & (first <= 1)).all() else "agreement"
