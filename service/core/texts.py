"""Requests in text: their options, and how texts are grouped into runs. Pure."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from service.core.errors import SignatureMismatch
from service.core.tensors import Overriding, Signature, Tensor

TEXT, PAIR = "text", "text_pair"
"""The inputs of a request in text. Only models that compare two texts have the second one."""
MOST_TEXTS = 4096
"""Texts of one request."""
MOST_CHARACTERS = 2**20
"""Characters of one text. Tokenising so many takes about half a second."""

Prompt = str | tuple[str, str] | list[int]
"""A text, two texts that are read together, or tokens."""


class Task(StrEnum):
    """The task of a model: the output that it computes from a text.

    EMBEDDING: a vector. CLASSIFICATION: a score for each label. TOKEN_CLASSIFICATION: parts of the
    text, each with a label. RERANKING: one score for a pair of texts.
    """

    EMBEDDING = "embedding"
    CLASSIFICATION = "classification"
    TOKEN_CLASSIFICATION = "token-classification"
    RERANKING = "reranking"


class Pooling(StrEnum):
    """How the vectors of the tokens become the vector of their text."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"


class TextOptions(NamedTuple):
    """Options of one request; None for the model's setting.

    ``truncate``: cut texts that are too long, else refuse them. ``normalize``: scale embeddings to
    length 1. ``dimensions``: keep only the first dimensions of an embedding. ``raw``: return the
    scores of the graph without activation.
    """

    truncate: bool | None = None
    normalize: bool | None = None
    dimensions: int | None = None
    raw: bool = False


class Group(NamedTuple):
    """Texts that enter the queue together: their places in the request, and their longest
    length."""

    places: tuple[int, ...]
    longest: int


def prompts_of(signature: Signature, tensors: Sequence[Tensor]) -> list[Prompt]:
    """Return the texts of a request in tensors BYTES [texts] or [texts, 1]; pairs if there are two
    tensors.

    Raises:
        SignatureMismatch: the tensors do not match the ``signature`` of texts, or the two tensors
            have different numbers of texts.
    """
    arrays = signature.check([_flat(tensor) for tensor in tensors])
    columns = [*arrays, *(arrays.overrides.values() if isinstance(arrays, Overriding) else ())]
    first, *more = [column.tolist() for column in columns]
    if not more:
        return list(first)
    if len(first) != len(more[0]):
        raise SignatureMismatch(
            f'input "{TEXT}" has {len(first)} texts, input "{PAIR}" has {len(more[0])}'
        )
    return list(zip(first, more[0], strict=True))


def _flat(tensor: Tensor) -> Tensor:
    column = tensor.array.ndim == 2 and tensor.array.shape[1] == 1
    return tensor._replace(array=tensor.array[:, 0]) if column else tensor


def grouped(
    lengths: Sequence[int], bucket: Callable[[int], int], most_rows: Callable[[int], int]
) -> list[Group]:
    """Group texts of similar lengths, the longest first.

    ``lengths`` are in tokens. Texts share a group if their lengths have the same ``bucket``;
    ``most_rows`` returns the largest number of rows of a group for its bucket.
    """
    groups: list[Group] = []
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    at, places = -1, list[int]()
    for place in order:
        here = bucket(lengths[place])
        if places and (here != at or len(places) >= most_rows(at)):
            groups.append(Group(tuple(places), lengths[places[0]]))
            places = []
        places.append(place)
        at = here
    if places:
        groups.append(Group(tuple(places), lengths[places[0]]))
    return groups
