"""The state of one answer: converts tokens to pieces of text, and decides when the answer ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.core.generation import (
    Alternative,
    Delta,
    FinishReason,
    GenerationRequest,
    Token,
)
from service.engine.generation.sampling import Choice, Sampler
from service.engine.generation.stops import Stops

if TYPE_CHECKING:
    from service.engine.generation.tokenizer import Tokenizer


class Answer:
    """The state of one answer. ``room`` is the largest number of tokens that fit the context."""

    def __init__(
        self,
        request: GenerationRequest,
        tokenizer: "Tokenizer",
        ends: Sequence[int],
        room: int,
    ) -> None:
        from service.engine.generation.tokenizer import Detokenizer

        self.request = request
        self.sampler = Sampler(request.sampling, request.prompt, ends, request.constraint)
        self._tokenizer = tokenizer
        self._ends = () if request.ignore_eos else tuple(ends)
        self._room = room if request.max_tokens is None else min(room, request.max_tokens)
        # All state: the tokens so far; tokens that are not complete text yet; and text and tokens
        # that must not be sent yet.
        self.tokens: list[int] = []
        self._text = Detokenizer(tokenizer)
        self._stops = Stops(request.stop)
        self._untold: list[Token] = []
        self._set_bar()

    def push(self, choice: Choice) -> Delta | None:
        """Add a token. Return the text to send to the client, if any."""
        token, enough = choice.token, len(self.tokens) + 1 >= self.request.min_tokens
        self.tokens.append(token)
        if token in self._ends:
            return self._end(FinishReason.STOP, self._text.flush())
        if self.request.sampling.logprobs is not None:
            self._untold.append(self._token(choice))
        piece = self._text.push(token)
        self._set_bar()
        if len(self.tokens) >= self._room:
            return self._end(FinishReason.LENGTH, piece + self._text.flush())
        told = self._stops.push(piece) if enough else piece
        if self._stops.found:
            return self._delta(told, FinishReason.STOP)
        return self._delta(told, None) if told else None

    def _end(self, reason: FinishReason, rest: str) -> Delta:
        told = self._stops.push(rest)
        if self._stops.found:
            return self._delta(told, FinishReason.STOP)
        return self._delta(told + self._stops.flush(), reason)

    def _delta(self, text: str, finish: FinishReason | None) -> Delta:
        chosen, self._untold = tuple(self._untold), []
        return Delta(text, len(self.tokens), chosen, finish)

    def _token(self, choice: Choice) -> Token:
        show = self._tokenizer.show
        top = tuple(Alternative(token, show(token), chance) for token, chance in choice.top)
        return Token(choice.token, show(choice.token), choice.logprob, top)

    def _set_bar(self) -> None:
        short = len(self.tokens) < self.request.min_tokens
        self.sampler.bar = short or self.request.ignore_eos
