"""Parts of a text, such as named entities, found by the labels of its tokens. Pure.

Labels B-X and I-X are of the same kind X: B- begins a part, I- continues it. Any other label is a
kind of its own; adjacent words with the same label are one part. O is outside all parts. A word of
several tokens has the label of its first token.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """A part of a text: from character ``start`` up to ``end``."""

    label: str
    score: float
    start: int
    end: int


class LabelledToken(NamedTuple):
    """A token: its label and the probability of the label, its position in the text, and the number
    of its word, None for a special token."""

    label: str
    score: float
    start: int
    end: int
    word: int | None


def spans(tokens: Sequence[LabelledToken]) -> list[Span]:
    """Return the parts. The score of a part is the mean of the scores of its words."""
    found: list[Span] = []
    kind, scores, start, end = OUTSIDE, list[float](), 0, 0
    word: int | None = None

    def close() -> None:
        if kind != OUTSIDE:
            found.append(Span(kind, sum(scores) / len(scores), start, end))

    for token in tokens:
        if token.word is None:
            continue
        if token.word == word:  # continues the previous word
            end = token.end
            continue
        word = token.word
        begins, here = _kind(token.label)
        if here != kind or begins:
            close()
            kind, scores, start = here, [], token.start
        scores.append(token.score)
        end = token.end
    close()
    return found


def _kind(label: str) -> tuple[bool, str]:
    """Return whether a label begins a part, and the kind of the part."""
    if label[:2] in ("B-", "I-"):
        return label[0] == "B", label[2:]
    return False, label


def as_json(found: Sequence[Span], text: str) -> list[dict[str, Any]]:
    """Return the parts in the form of Hugging Face's pipelines."""
    return [
        {
            "entity_group": each.label,
            "score": round(each.score, 6),
            "word": text[each.start : each.end],
            "start": each.start,
            "end": each.end,
        }
        for each in found
    ]
