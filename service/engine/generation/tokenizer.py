"""Text to tokens and back, by a ``tokenizer.json``."""

from collections.abc import Sequence
from pathlib import Path

from service.core.errors import MalformedRequest
from service.core.names import TOKENIZER_FILE as TOKENIZER_FILE
from service.engine.text.tokenizer_file import read_tokenizer

REPLACEMENT = "\ufffd"
"""What bytes become that are no character, or not yet."""
MOST_HELD = 8
"""Tokens after which what is still no character is one no more: a character has four bytes."""


class Tokenizer:
    """A tokenizer of Hugging Face's format; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            LoadFailed: it is not there, or not of this format.
        """
        self._fast = read_tokenizer(path)
        self._fast.no_truncation()
        self._fast.no_padding()
        self.size: int = self._fast.get_vocab_size()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """The tokens of a text; ``special``: with those that begin and end one.

        Raises:
            MalformedRequest: the text has half of a surrogate pair, which is no character.
        """
        try:
            ids: list[int] = self._fast.encode(text, add_special_tokens=special).ids
        except (UnicodeEncodeError, TypeError):
            raise MalformedRequest("the text is not valid Unicode: it has a lone surrogate") from (
                None
            )
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        text: str = self._fast.decode(list(tokens))
        return text

    def show(self, token: int) -> str:
        """The text of one token, also of a special one."""
        text: str = self._fast.decode([token], skip_special_tokens=False)
        return text

    def to_json(self) -> str:
        """As a ``tokenizer.json`` has it."""
        text: str = self._fast.to_str()
        return text

    def token(self, text: str) -> int | None:
        """The id of a token by its name."""
        found: int | None = self._fast.token_to_id(text)
        return found


class Detokenizer:
    """Turns tokens to text one by one, and never gives half a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # All state: the tokens from some before the last text on (a token's text may depend on
        # them: a space at the beginning is left out), how many of them are told, and their text.
        self._tokens: list[int] = []
        self._told = 0
        self._before = ""

    def push(self, token: int) -> str:
        """The text that a token adds; empty while it ends in an unfinished character."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        held = len(self._tokens) - self._told
        if text.endswith(REPLACEMENT) and held < MOST_HELD:
            return ""
        return self._tell(text)

    def flush(self) -> str:
        """The rest of the text at the end, even with an incomplete character."""
        if len(self._tokens) == self._told:
            return ""
        return self._tell(self._tokenizer.decode(self._tokens))

    def _tell(self, text: str) -> str:
        new = text[len(self._before) :]
        self._tokens = self._tokens[self._told :]
        self._told = len(self._tokens)
        self._before = self._tokenizer.decode(self._tokens)
        return new
