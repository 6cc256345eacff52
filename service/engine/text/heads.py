"""Heads: from the outputs of a run to embeddings, scores or labels. A head is computed in the
thread of the run, so that the states of all tokens are not passed on.

The queue treats the outputs of a head as further outputs of the graph, after its own outputs.
"""

from dataclasses import dataclass

import numpy as np

from service.core.errors import ExecutionFailed
from service.core.tensors import Array, Arrays
from service.core.texts import Pooling, Task
from service.engine.runtime.execution import Control, ControlledRun, Places


@dataclass(frozen=True, slots=True)
class Head:
    """A head. ``source`` is the place of the graph's output that it reads. ``mask`` is the place of
    the input that distinguishes tokens from padding, None if there is none. ``first`` is the place
    of the head's first output, which is the number of outputs of the graph.

    The outputs by task: embeddings FP32 [rows, width]; scores FP32 [rows, labels] before
    activation; or for each token the label INT64 and its probability FP32, both [rows, length].
    """

    task: Task
    source: int
    mask: int | None
    first: int
    pooling: Pooling = Pooling.MEAN

    @property
    def places(self) -> tuple[int, ...]:
        """The places of the head's outputs, which a request for the head names."""
        count = 2 if self.task is Task.TOKEN_CLASSIFICATION else 1
        return tuple(range(self.first, self.first + count))

    def apply(self, inputs: Arrays, output: Array) -> Arrays:
        """Compute the head's outputs from the output of a run.

        Raises:
            ExecutionFailed: the graph's output does not have the shape that the task needs.
        """
        values = output.astype(np.float32, copy=False)
        if self.task is Task.TOKEN_CLASSIFICATION:
            self._require(values, 3)
            best = values.argmax(axis=-1)
            return best, softmax(values).max(axis=-1)
        if self.task is not Task.EMBEDDING:
            if values.ndim == 1:
                values = values[:, None]
            self._require(values, 2)
            return (values,)
        if values.ndim == 2:
            return (values,)
        self._require(values, 3)
        return (pool(values, None if self.mask is None else inputs[self.mask], self.pooling),)

    def _require(self, values: Array, axes: int) -> None:
        if values.ndim != axes:
            raise ExecutionFailed(
                f"{self.task} needs an output with {axes} axes, the graph's output has"
                f" {values.ndim}"
            )


@dataclass(frozen=True, slots=True)
class HeadedRun:
    """A run of a graph that can also compute the outputs of a head."""

    run: ControlledRun
    head: Head

    def __call__(self, arrays: Arrays, places: Places, control: Control | None) -> Arrays:
        """Return the outputs at these places; see ``Head.places``.

        Raises:
            QuantserveError: see ``Session.run`` and ``Head.apply``.
        """
        head = self.head
        if places is None or places != head.places:
            return self.run(arrays, places, control)
        (output,) = self.run(arrays, (head.source,), control)
        return head.apply(arrays, output)


def pool(states: Array, mask: Array | None, pooling: Pooling) -> Array:
    """Compute the vector of each text from the vectors of its tokens, FP32 [rows, length, width].
    ``mask`` [rows, length] is 1 for tokens and 0 for padding."""
    rows, length, _ = states.shape
    if pooling is Pooling.CLS:
        first: Array = np.ascontiguousarray(states[:, 0])
        return first
    ones = np.ones((rows, length), np.float32) if mask is None else mask.astype(np.float32)
    counts = np.maximum(ones.sum(axis=1), 1.0)
    if pooling is Pooling.LAST:
        last: Array = states[np.arange(rows), counts.astype(np.int64) - 1]
        return last
    sums: Array = np.matmul(ones[:, None, :], states)[:, 0]
    mean: Array = sums / counts[:, None]
    return mean


def softmax(values: Array) -> Array:
    """Return probabilities along the last axis."""
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Array = grown / grown.sum(axis=-1, keepdims=True)
    return result


def sigmoid(values: Array) -> Array:
    """Return an independent probability for each value."""
    with np.errstate(over="ignore"):
        result: Array = 1.0 / (1.0 + np.exp(-values))
    return result


def normalized(vectors: Array) -> Array:
    """Scale each row to L2 norm 1. Rows of zeros are unchanged."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    result: Array = vectors / np.maximum(lengths, 1e-12)[:, None]
    return result
