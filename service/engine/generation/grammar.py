"""Answers of a given form: a JSON schema or a regular expression, enforced token by token.

llguidance decides which tokens the form allows next. Its tokenizer takes a second to create for a
large vocabulary, and is created when the first request asks for a form.
"""

import json
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.core.errors import InputRejected, NotSupported
from service.core.generation import Form

if TYPE_CHECKING:
    from service.engine.generation.tokenizer import Tokenizer

COMPACT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Fixed white space: small models often fail where a form leaves white space open."""


class Grammar:
    """The position of one answer in its form."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask = np.zeros((1, (vocabulary + 31) // 32), np.int32)

    def copy(self) -> "Grammar":
        """Copy the position, for another answer."""
        return Grammar(self._matcher.deep_copy(), self._vocabulary)

    def allowed(self) -> NDArray[np.bool_]:
        """Return a mask of the tokens that may come next, [vocabulary]. No token is allowed if the
        form cannot be continued."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._mask)
        bits = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little")
        return bits[: self._vocabulary].astype(bool)

    def note(self, token: int) -> None:
        """Record the token that was chosen."""
        self._matcher.consume_token(token)

    @property
    def problem(self) -> str:
        """Why the form cannot be followed any further: it is too complex, or no answer has it."""
        return str(self._matcher.get_error()).partition("\n")[0] if self._matcher.is_error() else ""


class Grammars:
    """Creates grammars for one tokenizer; ``ends`` are the tokens that end an answer."""

    def __init__(self, tokenizer: "Tokenizer", vocabulary: int, ends: tuple[int, ...]) -> None:
        self._given = tokenizer
        self._vocabulary = vocabulary
        self._ends = ends
        self._lock = Lock()
        self._tokenizer: Any = None

    def grammar(self, form: Form) -> Grammar:
        """Create the grammar of a form, at its beginning. Blocks.

        Raises:
            InputRejected: the form is not valid, or no answer can have it.
            NotSupported: the package llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError:
            raise NotSupported(
                "answers of a given form need llguidance; pip install 'quantserve[llm]'"
            ) from None
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = LLTokenizer(
                    self._given.to_json(), n_vocab=self._vocabulary, eos_token=list(self._ends)
                )
        try:
            if form.kind == "regex":
                text = LLMatcher.grammar_from_regex(form.text)
            elif form.kind == "tools":
                text = LLMatcher.grammar_from_lark(form.text)
            else:
                text = LLMatcher.grammar_from_json_schema(json.loads(form.text), COMPACT)
            matcher = LLMatcher(self._tokenizer, text)
        except (ValueError, RecursionError) as error:
            raise InputRejected(f"the {form.name} is not usable: {error!s:.300}") from None
        if matcher.is_error():
            raise InputRejected(f"the {form.name} is not usable: {matcher.get_error():.300}")
        return Grammar(matcher, self._vocabulary)
