"""From scores to tokens, for all rows of a step at once.

Each row is computed from its own scores, settings and random numbers only, and with the same
operations in any batch: the same seed gives the same tokens, whatever other rows are in the batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.generation import Constraint, SamplingParameters

Floats = NDArray[np.float32]
LEAST_TEMPERATURE = 1e-4
"""Below this, the division by the temperature may overflow, and the most likely token is certain
anyway."""


class Choice(NamedTuple):
    """A token, its log-probability according to the model, and the most likely tokens with their
    log-probabilities, best first. NaN and () if the client does not ask for them."""

    token: int
    logprob: float = float("nan")
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """The state of one answer: its settings, its random numbers, and the tokens so far."""

    def __init__(
        self,
        parameters: SamplingParameters,
        prompt: Sequence[int],
        barred: Sequence[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        """Create the state. ``barred`` are the tokens that end the answer: they must not be chosen
        while ``bar`` is True, unless the ``constraint`` allows no other token."""
        self._constraint = constraint
        self.parameters = parameters
        self.bar = False
        self._barred = np.array(barred, np.int64)
        self._random = np.random.Generator(np.random.Philox(parameters.seed))
        self._bias = (
            np.array(list(parameters.bias), np.int64),
            np.array(list(parameters.bias.values()), np.float32),
        )
        # The tokens so far, with their counts in the answer; only kept for penalties.
        self._counts: dict[int, int] = {}
        if parameters.repetition_penalty != 1:
            self._counts = dict.fromkeys(prompt, 0)

    @property
    def greedy(self) -> bool:
        """True if the most likely token is always chosen."""
        return self.parameters.temperature < LEAST_TEMPERATURE or self.parameters.top_k == 1

    @property
    def adjusts(self) -> bool:
        """True if the scores are changed before a token is chosen."""
        return self.bar or self._constraint is not None or not self.parameters.plain

    def adjust(self, scores: Floats) -> None:
        """Apply biases and penalties to one row, in place."""
        asked, (tokens, bias) = self.parameters, self._bias
        if asked.penalised and self._counts:
            seen = np.fromiter(self._counts.keys(), np.int64, len(self._counts))
            times = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            found = scores[seen]
            factor = np.float32(asked.repetition_penalty)
            found = np.where(found > 0, found / factor, found * factor)
            found -= times * np.float32(asked.frequency_penalty)
            found -= (times > 0) * np.float32(asked.presence_penalty)
            scores[seen] = found
        if len(tokens):
            scores[tokens] += bias
        if self._constraint is not None:
            allowed = self._constraint.allowed()
            scores[: len(allowed)][~allowed] = -np.inf
            scores[len(allowed) :] = -np.inf
            if self.bar and np.isfinite(scores).sum() <= np.isfinite(scores[self._barred]).sum():
                return  # only the tokens that end the answer are left
        if self.bar:
            scores[self._barred] = -np.inf

    def draw(self) -> float:
        """Return the random number for one token."""
        return float(self._random.random())

    def note(self, token: int) -> None:
        """Record the token that was chosen."""
        if self._constraint is not None:
            self._constraint.note(token)
        if self.parameters.penalised:
            self._counts[token] = self._counts.get(token, 0) + 1


def sample(scores: Floats, samplers: Sequence[Sampler]) -> list[Choice]:
    """Choose a token for each row of ``scores``, [rows, vocabulary]. The array is not changed."""
    raw = scores
    if any(sampler.adjusts for sampler in samplers):
        scores = scores.copy()
        for row, sampler in zip(scores, samplers, strict=True):
            if sampler.adjusts:
                sampler.adjust(row)
    tokens = scores.argmax(axis=1)
    drawn = [place for place, sampler in enumerate(samplers) if not sampler.greedy]
    if drawn:
        tokens[drawn] = _draw(scores[drawn], [samplers[place] for place in drawn])
    choices = []
    for row, token, sampler in zip(raw, tokens.tolist(), samplers, strict=True):
        sampler.note(token)
        wanted = sampler.parameters.logprobs
        choices.append(Choice(token) if wanted is None else _told(row, token, wanted))
    return choices


def _draw(scores: Floats, samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    """Draw a token for each row, from the tokens that its settings keep."""

    def each(name: str, kind: Any = np.float32) -> NDArray[Any]:
        return np.array([getattr(sampler.parameters, name) for sampler in samplers], kind)

    weights = scores / each("temperature")[:, None]
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    least = each("min_p")
    top_k, top_p = each("top_k", np.int64), each("top_p")
    cut = np.flatnonzero((top_k > 0) | (top_p < 1))
    if len(cut):
        least[cut] = np.maximum(least[cut], _least(weights[cut], top_k[cut], top_p[cut]))
    if least.any():
        weights[weights < least[:, None]] = 0
    # In double precision: over a hundred thousand tokens float32 loses the unlikely ones.
    sums = weights.cumsum(axis=1, dtype=np.float64)
    places = [
        int(np.searchsorted(row, sampler.draw() * row[-1], side="right"))
        for row, sampler in zip(sums, samplers, strict=True)
    ]
    return np.array(places, np.int64)


def _least(weights: Floats, top_k: NDArray[np.int64], top_p: Floats) -> Floats:
    """Return the smallest weight in each row that remains after top_k, and then top_p."""
    ordered = -np.sort(-weights, axis=1)
    size = weights.shape[1]
    kept = np.where(top_k > 0, np.minimum(top_k, size), size)
    ordered[np.arange(size)[None] >= kept[:, None]] = 0
    sums = ordered.cumsum(axis=1, dtype=np.float64)
    # A token is kept if the tokens before it do not reach the share; the first one always.
    inside = (sums - ordered) < top_p[:, None].astype(np.float64) * sums[:, -1:]
    inside &= ordered > 0
    last = np.maximum(inside.sum(axis=1) - 1, 0)
    found: Floats = ordered[np.arange(len(ordered)), last]
    return found


def _told(row: Floats, token: int, wanted: int) -> Choice:
    top = row.max()
    norm = float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float64)))
    best: tuple[tuple[int, float], ...] = ()
    if wanted:
        places = np.argpartition(row, -wanted)[-wanted:]
        places = places[np.argsort(-row[places], kind="stable")]
        best = tuple((int(place), float(row[place]) - norm) for place in places)
    return Choice(token, float(row[token]) - norm, best)
