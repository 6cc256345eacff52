"""Parts of a text, such as named entities, by the labels of its tokens. Pure.

Labels B-X and I-X are of one kind X: B- begins a part, I- goes on with it. Other labels stand for
themselves; neighbours of the same label are one part. O is no part. A word that the tokenizer took
apart has the label of its first token.
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
    """A token: its label and the probability of it, its place in the text, and its word, None for a
    special token."""

    label: str
    score: float
    start: int
    end: int
    word: int | None


def spans(tokens: Sequence[LabelledToken]) -> list[Span]:
    """The parts; the score of one is the mean of the scores of its words."""
    found: list[Span] = []
    kind, scores, start, end = OUTSIDE, list[float](), 0, 0
    word: int | None = None

    def close() -> None:
        if kind != OUTSIDE:
            found.append(Span(kind, sum(scores) / len(scores), start, end))

    for token in tokens:
        if token.word is None:
            continue
        if token.word == word:  # goes on with the word before
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
    """Whether a label begins a part, and of which kind the part is."""
    if label[:2] in ("B-", "I-"):
        return label[0] == "B", label[2:]
    return False, label


def as_json(found: Sequence[Span], text: str) -> list[dict[str, Any]]:
    """The parts as Hugging Face's pipelines tell them."""
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
