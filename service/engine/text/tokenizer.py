"""Conversion of texts to tokens, with a ``tokenizer.json``. Needs the package ``tokenizers``."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Fast

from service.core.errors import InputRejected, MalformedRequest
from service.core.texts import Prompt

# One thread tokenises, beside those that run the graph on all cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class Tokens(NamedTuple):
    """The tokens of a text or of a pair: their ids, and their types (1 for tokens of the second
    text). ``encoding`` is the tokenizer's full result; None if the request contained tokens."""

    ids: list[int]
    types: list[int]
    encoding: Any = None


class TextTokenizer:
    """Converts texts to tokens; thread-safe.

    ``max_length`` includes special tokens; 0 for no limit. ``offsets``: also compute the positions
    of the tokens in the text, which takes a little longer.
    """

    def __init__(self, fast: Fast, max_length: int, *, offsets: bool = False) -> None:
        self.max_length = max_length
        self.cuts: bool = fast.truncation is not None
        """True if the file says that long texts are cut."""
        padding = fast.padding
        self.pad_token: int | None = padding["pad_id"] if padding else None
        self.size: int = fast.get_vocab_size()
        fast.no_padding()
        if max_length:
            fast.enable_truncation(max_length, strategy="longest_first")
        else:
            fast.no_truncation()
        self._encode = fast.encode_batch if offsets else fast.encode_batch_fast

    def encode(self, prompts: Sequence[Prompt], first: int, *, truncate: bool) -> list[Tokens]:
        """Return the tokens of texts, of pairs, or of lists of tokens. ``first`` is the place of
        the first prompt in its request, for errors.

        Raises:
            InputRejected: a text has no tokens, has tokens that do not exist, or is too long and
                must not be cut.
            MalformedRequest: a text is not valid Unicode.
        """
        texts = [each for each in prompts if not isinstance(each, list)]
        try:
            encodings = iter(self._encode(texts) if texts else ())
        except (UnicodeEncodeError, TypeError):
            raise MalformedRequest("a text is not valid Unicode: it has a lone surrogate") from None
        made = []
        for place, prompt in enumerate(prompts, first):
            if isinstance(prompt, list):
                made.append(self._given(prompt, place, truncate))
                continue
            encoding = next(encodings)
            ids = encoding.ids
            if not ids:
                raise InputRejected(f"text {place} has no tokens: it is empty")
            if not truncate and len(ids) == self.max_length and encoding.overflowing:
                raise self._too_long(place)
            made.append(Tokens(ids, encoding.type_ids, encoding))
        return made

    def _given(self, ids: list[int], place: int, truncate: bool) -> Tokens:
        for token in ids:
            if not 0 <= token < self.size:
                raise InputRejected(
                    f"text {place}: the model has {self.size} tokens; {token} is not a token id"
                )
        if self.max_length and len(ids) > self.max_length:
            if not truncate:
                raise self._too_long(place)
            ids = ids[: self.max_length]
        return Tokens(ids, [0] * len(ids))

    def _too_long(self, place: int) -> InputRejected:
        return InputRejected(
            f"text {place} has more than {self.max_length} tokens, which is the limit of the model;"
            " shorten it, or set truncate to cut it"
        )


def longest_of(fast: Fast) -> int:
    """Return the length at which the file cuts texts; 0 if it does not cut them."""
    truncation = fast.truncation
    return truncation["max_length"] if truncation else 0
