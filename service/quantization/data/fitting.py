"""Which metric fits an output without labels: what FP32 answered, and the output's name, tell."""

import re
from collections.abc import Sequence

import numpy as np

from service.core.tensors import Array

VECTORS = re.compile(r"embed|hidden|feature|pool", re.IGNORECASE)
"""Names of outputs that are directions, where the values leave it open: they are like scores."""
BLOCK = 64
"""Embeddings are this wide, or a multiple of it; numbers of classes hardly ever are."""


def fitting(name: str, answers: Sequence[Array]) -> str:
    """What fits one output: unit vectors are embeddings, and so is what is called so, or as wide as
    they are and no probability; a single value is a regression, and so is each of several
    probabilities that do not exclude each other; other rows are class scores."""
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
    # Masked logits are -inf; the rows without tell. Where no row is, they are scores all the same.
    first = first[np.isfinite(first).all(axis=1)].astype(np.float64)
    if not len(first):
        return "cosine" if answers[0][0].ndim > 2 else "agreement"
    with np.errstate(over="ignore", invalid="ignore"):  # whatever overflows is neither
        norms, sums = np.linalg.norm(first, axis=1), first.sum(axis=1)
    if np.allclose(norms, 1, atol=1e-3) and not np.allclose(sums, 1, atol=1e-3):
        return "cosine"
    if np.allclose(sums, 1, atol=1e-3):
        return "agreement"
    if answers[0].ndim > 2 or VECTORS.search(name) or not first.shape[1] % BLOCK:
        return "cosine"
    return "r2" if ((first >= 0) & (first <= 1)).all() else "agreement"
