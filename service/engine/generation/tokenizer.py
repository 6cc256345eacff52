"""Conversion of text to tokens and back, with a ``tokenizer.json``."""

from collections.abc import Sequence
from pathlib import Path

from service.core.errors import MalformedRequest
from service.core.names import TOKENIZER_FILE as TOKENIZER_FILE
from service.engine.text.tokenizer_file import read_tokenizer

REPLACEMENT = "\ufffd"
"""Stands for bytes that are not a character, or not yet a complete one."""
MOST_HELD = 8
"""Tokens to wait for a complete character. A character has at most four bytes, so after this many
tokens the bytes are not valid."""


class Tokenizer:
    """A tokenizer of Hugging Face's format; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            LoadFailed: the file does not exist, or does not have this format.
        """
        self._fast = read_tokenizer(path)
        self._fast.no_truncation()
        self._fast.no_padding()
        self.size: int = self._fast.get_vocab_size()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text; ``special``: with the tokens that begin and end a text.

        Raises:
            MalformedRequest: the text has half of a surrogate pair, which is not a character.
        """
        try:
            ids: list[int] = self._fast.encode(text, add_special_tokens=special).ids
        except (UnicodeEncodeError, TypeError):
            raise MalformedRequest("the text is not valid Unicode: it has a lone surrogate") from (
                None
            )
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special tokens."""
        text: str = self._fast.decode(list(tokens))
        return text

    def show(self, token: int) -> str:
        """Return the text of one token, also of a special token."""
        text: str = self._fast.decode([token], skip_special_tokens=False)
        return text

    def to_json(self) -> str:
        """Return the tokenizer in the format of ``tokenizer.json``."""
        text: str = self._fast.to_str()
        return text

    def token(self, text: str) -> int | None:
        """Return the id of a token by its name; None if there is none."""
        found: int | None = self._fast.token_to_id(text)
        return found


class Detokenizer:
    """Converts tokens to text one by one, and never returns half a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # All state: the tokens of the last returned text and after it (a token's text may depend on
        # the tokens before it: a space at the beginning is left out); how many of them have been
        # returned; and the text of these.
        self._tokens: list[int] = []
        self._told = 0
        self._before = ""

    def push(self, token: int) -> str:
        """Return the text that a token adds; empty while it ends in an incomplete character."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        held = len(self._tokens) - self._told
        if text.endswith(REPLACEMENT) and held < MOST_HELD:
            return ""
        return self._tell(text)

    def flush(self) -> str:
        """Return the rest of the text at the end, even with an incomplete character."""
        if len(self._tokens) == self._told:
            return ""
        return self._tell(self._tokenizer.decode(self._tokens))

    def _tell(self, text: str) -> str:
        new = text[len(self._before) :]
        self._tokens = self._tokens[self._told :]
        self._told = len(self._tokens)
        self._before = self._tokenizer.decode(self._tokens)
        return new
