"""The state of one answer: converts tokens to pieces of text, and decides when the answer ends."""

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from service.core.errors import InputRejected
from service.core.generation import (
    Alternative,
    CallPiece,
    Delta,
    FinishReason,
    GenerationRequest,
    Parsed,
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
        # All state: the tokens so far; tokens that are not complete text yet; text that may be a
        # call; and text and tokens that must not be sent yet.
        self.tokens: list[int] = []
        self._text = Detokenizer(tokenizer)
        self._calls = request.calls
        self._stops = Stops(request.stop)
        self._untold: list[Token] = []
        self._set_bar()

    def push(self, choice: Choice) -> Delta | None:
        """Add a token. Return the text to send to the client, if any.

        Raises:
            InputRejected: the form of the answer cannot be followed any further.
        """
        form = self.request.constraint
        if form is not None and (problem := form.problem):
            raise InputRejected(f"no answer of the requested form can be found: {problem:.300}")
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
        found = self._calls.push(piece) if self._calls else Parsed(piece)
        if enough:
            found = self._up_to_stop(found)
        if self._stops.found or (self._calls and self._calls.over):
            return self._delta(found, FinishReason.STOP)
        return self._delta(found, None) if any(found) else None

    def _end(self, reason: FinishReason, rest: str) -> Delta:
        found, complete = Parsed(rest), False
        if self._calls:
            found = self._calls.push(rest)
            complete = self._calls.over
            more = self._calls.flush()
            found = Parsed(found.text + more.text, found.calls + more.calls)
        found = self._up_to_stop(found)
        if self._stops.found or complete:
            reason = FinishReason.STOP
        return self._delta(found._replace(text=found.text + self._stops.flush()), reason)

    def _up_to_stop(self, found: Parsed) -> Parsed:
        """Return what comes before a stop string. Only the text of an answer may have one: a client
        that sets it for text does not expect that it cuts the arguments of a call."""
        text, calls = self._stops.push(found.text), found.calls
        begins = any(map(_begins, calls))
        if self._stops.found:
            calls = tuple(takewhile(lambda piece: not _begins(piece), calls))
        elif begins:
            text += self._stops.flush()  # no stop string continues behind a call
        return Parsed(text, calls)

    def _delta(self, found: Parsed, finish: FinishReason | None) -> Delta:
        chosen, self._untold = tuple(self._untold), []
        return Delta(found.text, len(self.tokens), chosen, finish, found.calls)

    def _token(self, choice: Choice) -> Token:
        show = self._tokenizer.show
        top = tuple(Alternative(token, show(token), chance) for token, chance in choice.top)
        return Token(choice.token, show(choice.token), choice.logprob, top)

    def _set_bar(self) -> None:
        short = len(self.tokens) < self.request.min_tokens
        self.sampler.bar = short or self.request.ignore_eos


def _begins(piece: CallPiece) -> bool:
    return piece.name is not None
