"""Requests to a language model, and the pieces of its answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.core.errors import SignatureMismatch


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is chosen.

    ``temperature`` 0 chooses the most likely token. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 keep
    all tokens. ``repetition_penalty`` divides the scores of tokens that are in the prompt or the
    answer; ``presence_penalty`` and ``frequency_penalty`` are subtracted from the scores of tokens
    that are in the answer. ``bias`` is added to the scores of tokens, by their id. ``logprobs`` is
    the number of alternatives to return for each token; None: return no log-probabilities, also not
    of the chosen token.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None

    @property
    def plain(self) -> bool:
        """True if the model's scores are used unchanged."""
        return not (self.bias or self.penalised)

    @property
    def penalised(self) -> bool:
        """True if tokens that occurred before get lower scores."""
        return bool(self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)


NAMES_OF_FORMS = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "tools": "schema of the functions",
}


class Form(NamedTuple):
    """The form that an answer must have: the text of a JSON schema, a regular expression, or a
    grammar of tool calls in llguidance's notation."""

    kind: Literal["json_schema", "regex", "tools"]
    text: str

    @property
    def name(self) -> str:
        """The name of the form, for people."""
        return NAMES_OF_FORMS[self.kind]


class Constraint(Protocol):
    """The tokens that may come next in an answer that has a form."""

    def allowed(self) -> NDArray[np.bool_]:
        """Return a mask of the tokens that may come next, [vocabulary]."""

    def note(self, token: int) -> None:
        """Record the token that was chosen."""

    @property
    def problem(self) -> str:
        """Why the form cannot be followed any further; "" if it can."""


class ToolCall(NamedTuple):
    """One call; ``arguments`` is JSON text as the model wrote it."""

    name: str
    arguments: str


class CallPiece(NamedTuple):
    """A piece of a call. ``place`` is the place of the call among the calls of its answer. The
    first piece has the ``name``; the other pieces add to the ``arguments``."""

    place: int
    arguments: str = ""
    name: str | None = None


def joined(pieces: Iterable[CallPiece]) -> tuple[ToolCall, ...]:
    """Return the calls that consist of the pieces."""
    calls: list[tuple[str, list[str]]] = []
    for piece in pieces:
        if piece.name is not None:
            calls.append((piece.name, []))
        calls[piece.place][1].append(piece.arguments)
    return tuple(ToolCall(name, "".join(arguments)) for name, arguments in calls)


class Parsed(NamedTuple):
    """The text and the pieces of calls that a piece of an answer adds."""

    text: str = ""
    calls: tuple[CallPiece, ...] = ()


class CallFinder(Protocol):
    """Separates the calls in one answer from its text, as the model writes them."""

    @property
    def over(self) -> bool:
        """True if the answer ends here, because it may have no other call."""

    def push(self, text: str) -> Parsed:
        """Add a piece of the answer."""

    def flush(self) -> Parsed:
        """Return the rest at the end of the answer."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for one answer. ``max_tokens`` None: as many tokens as fit the context.

    ``timeout`` bounds the wait for a place in the batch, in seconds; None: the model's timeout. A
    ``constraint``, and the finder of ``calls``, are for one answer only.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParameters = SamplingParameters()
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    priority: int = 2
    timeout: float | None = None
    constraint: Constraint | None = None
    calls: CallFinder | None = None


class ToolChoice(StrEnum):
    """Whether the answer calls functions: never, if the model decides to, or always."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


class Function(NamedTuple):
    """A function. ``parameters`` is the JSON schema of its arguments, an object; ``place`` is the
    place of the function among the tools of the request."""

    name: str
    parameters: Mapping[str, Any]
    place: int


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions that an answer may call. ``named``: the client has chosen a function by name,
    the only one here; ``parallel``: one answer may have several calls."""

    functions: tuple[Function, ...]
    choice: ToolChoice
    named: bool = False
    parallel: bool = True


class FinishReason(StrEnum):
    """Why an answer ended. STOP: the model or a stop string ended it. LENGTH: it reached its limit.
    TOOL_CALLS: it calls functions, and the client must send their results."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class Alternative(NamedTuple):
    """A token that could have been chosen, and the natural logarithm of its probability."""

    token: int
    text: str
    logprob: float


class Token(NamedTuple):
    """A chosen token; ``top`` are the most likely tokens at its position, best first."""

    token: int
    text: str
    logprob: float
    top: tuple[Alternative, ...] = ()


class Delta(NamedTuple):
    """A piece that a step adds to an answer. ``tokens`` counts the tokens made so far; ``chosen``
    has the new tokens if the client asked for log-probabilities. ``finish`` is set in the last
    piece. ``calls`` are pieces of calls, which are not in ``text``."""

    text: str
    tokens: int
    chosen: tuple[Token, ...] = ()
    finish: FinishReason | None = None
    calls: tuple[CallPiece, ...] = ()


def not_tensors(model: str) -> SignatureMismatch:
    """Return the error for tensors that are sent to a language model."""
    return SignatureMismatch(
        f'model "{model}" takes no tensors, it is a language model: use /v1/chat/completions,'
        f" /v1/completions or /v2/models/{model}/generate"
    )
