"""The inputs and outputs of a version's requests in text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from service.core.datatypes import DATATYPES
from service.core.errors import InputRejected
from service.core.tensors import Array, Arrays, Signature, TensorSpec
from service.core.texts import PAIR, TEXT, Pooling, Prompt, Task, TextOptions
from service.engine.runtime.execution import ControlledRun
from service.engine.text.heads import Head, HeadedRun, normalized, sigmoid, softmax
from service.engine.text.spans import LabelledToken, as_json, spans

if TYPE_CHECKING:  # these need the package tokenizers
    from service.engine.text.tokenizer import TextTokenizer, Tokens

IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
ROLES = (IDS, MASK, TYPES, POSITIONS)
"""The inputs of a graph that are computed from a text."""
EMBEDDING, LABEL, SCORE, SCORES, ENTITIES = "embedding", "label", "score", "scores", "entities"
"""The outputs of requests in text."""


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How a version handles texts, according to model.toml, else to the files beside it.

    ``max_length`` is in tokens, 0 for no limit; longer texts are cut if ``truncate``.
    ``activation`` converts the graph's output to scores: softmax, sigmoid or none. ``labels`` may
    be empty: classes then have numbers.
    """

    task: Task
    pooling: Pooling
    normalize: bool
    activation: str
    max_length: int
    truncate: bool
    labels: tuple[str, ...]
    pad_token: int


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model that accepts texts. ``inputs`` are the inputs of the graph: the role and the datatype
    of each. ``width`` is the length of an embedding, None if the graph does not declare it."""

    settings: TextSettings
    tokenizer: "TextTokenizer"
    inputs: tuple[tuple[str, DTypeLike], ...]
    head: Head
    width: int | None = None

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of requests in text."""
        text, pair = (TensorSpec(name, DATATYPES["BYTES"], ("texts",)) for name in (TEXT, PAIR))
        task, outputs = self.settings.task, []
        if task is Task.EMBEDDING:
            outputs = [_output(EMBEDDING, "FP32", self.width)]
        elif task is Task.RERANKING:
            return Signature((text, pair), (_output(SCORE, "FP32"),), of_texts=True)
        elif task is Task.CLASSIFICATION:
            labels = len(self.settings.labels) or None
            outputs = [_output(LABEL, "BYTES"), _output(SCORE, "FP32")]
            outputs.append(_output(SCORES, "FP32", labels))
        else:
            outputs = [_output(ENTITIES, "BYTES")]
        optional = (pair,) if task is Task.CLASSIFICATION else ()
        return Signature((text,), tuple(outputs), optional, of_texts=True)

    @property
    def figures(self) -> Mapping[str, str]:
        """The settings of requests in text, for people."""
        settings, signature = self.settings, self.signature
        inputs = (*signature.inputs, *signature.optional)
        more = {"pooling": settings.pooling.value, "normalize": str(settings.normalize).lower()}
        return {
            "task": settings.task.value,
            "text_inputs": ", ".join(f'"{each.name}" {each}' for each in inputs),
            "text_outputs": ", ".join(f'"{each.name}" {each}' for each in signature.outputs),
            "max_tokens": str(settings.max_length or ""),
            "truncate": str(settings.truncate).lower(),
            **(more if settings.task is Task.EMBEDDING else {}),
        }

    def arrays(self, texts: Sequence["Tokens"], longest: int) -> Arrays:
        """Return the inputs of a run of some texts, padded to ``longest`` tokens."""
        rows = len(texts)
        made: list[Array] = []
        for role, dtype in self.inputs:
            fill = self.settings.pad_token if role == IDS else 0
            array = np.full((rows, longest), fill, dtype)
            for row, tokens in enumerate(texts):
                length = len(tokens.ids)
                if role == IDS:
                    array[row, :length] = tokens.ids
                elif role == MASK:
                    array[row, :length] = 1
                elif role == TYPES:
                    array[row, :length] = tokens.types
                else:
                    array[row, :length] = np.arange(length)
            made.append(array)
        return tuple(made)

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The labels of the outputs, by the name of the output."""
        labels = self.settings.labels
        return {SCORES: labels} if labels and self.settings.task is Task.CLASSIFICATION else {}

    def run(self, run: ControlledRun) -> HeadedRun:
        """Return a run of the graph that has the outputs of the head after its own outputs."""
        return HeadedRun(run, self.head)

    def check(self, options: TextOptions) -> None:
        """Check that the model supports the options.

        Raises:
            InputRejected: the options ask for more dimensions than the embedding has.
        """
        wanted = options.dimensions
        if wanted is not None and self.width is not None and wanted > self.width:
            raise InputRejected(
                f"{wanted} dimensions are asked for, and the embedding has {self.width}"
            )

    def finish(
        self,
        found: Sequence[Sequence[Array]],
        prompts: Sequence[Prompt],
        tokens: Sequence["Tokens"],
        options: TextOptions,
    ) -> Arrays:
        """Compute the outputs of a request from the rows of the head's outputs, one for each text.

        Raises:
            InputRejected: see ``check``.
        """
        task = self.settings.task
        if task is Task.EMBEDDING:
            return (self._embeddings(np.stack(found[0]), options),)
        if task is Task.TOKEN_CLASSIFICATION:
            rows = zip(prompts, tokens, *found, strict=True)
            return (_strings([self._entities(*row) for row in rows]),)
        scores = np.stack(found[0])
        if not options.raw:
            scores = self._activated(scores)
        if task is Task.RERANKING:
            return (scores[:, 0],)
        best = scores.argmax(axis=1)
        labels = _strings([self.label(int(each)) for each in best])
        return labels, scores[np.arange(len(best)), best], scores

    def label(self, number: int) -> str:
        """Return the name of a class."""
        labels = self.settings.labels
        return labels[number] if number < len(labels) else f"LABEL_{number}"

    def _embeddings(self, vectors: Array, options: TextOptions) -> Array:
        wanted = options.dimensions
        if wanted is not None:
            if wanted > vectors.shape[1]:
                raise InputRejected(
                    f"{wanted} dimensions are asked for, and the embedding has {vectors.shape[1]}"
                )
            vectors = vectors[:, :wanted]
        normalize = self.settings.normalize if options.normalize is None else options.normalize
        return normalized(vectors) if normalize else vectors

    def _activated(self, values: Array) -> Array:
        activation = self.settings.activation
        if activation == "softmax":
            return softmax(values)
        return sigmoid(values) if activation == "sigmoid" else values

    def _entities(self, prompt: Prompt, tokens: "Tokens", labels: Array, scores: Array) -> str:
        encoding = tokens.encoding
        if encoding is None or not isinstance(prompt, str):
            raise InputRejected(f"{self.settings.task} needs a text, not tokens or a pair")
        labelled = [
            LabelledToken(self.label(int(label)), float(score), start, end, word)
            for label, score, (start, end), word in zip(
                labels, scores, encoding.offsets, encoding.word_ids, strict=False
            )
        ]
        return json.dumps(as_json(spans(labelled), prompt), ensure_ascii=False)


def _output(name: str, datatype: str, *axes: int | None) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], ("texts", *axes))


def _strings(values: Sequence[str]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array
