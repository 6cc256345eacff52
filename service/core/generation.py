"""What a client asks of a language model, and the pieces of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.core.errors import SignatureMismatch


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is chosen.

    ``temperature`` 0 takes the most likely one. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 leave all
    tokens in. ``repetition_penalty`` divides what prompt and answer hold already; the other two are
    subtracted from what the answer holds. ``bias`` is added to tokens by their id. ``logprobs`` is
    the number of alternatives to tell at each token; None: tell nothing, not even of the token.
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
        """Whether scores are used as the model gives them."""
        return not (self.bias or self.penalised)

    @property
    def penalised(self) -> bool:
        """Whether tokens that were there before count less."""
        return bool(self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)


NAMES_OF_FORMS = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "tools": "schema of the functions",
}


class Form(NamedTuple):
    """What an answer must look like: the text of a JSON schema, a regular expression, or a grammar
    of calls of tools in llguidance's notation."""

    kind: Literal["json_schema", "regex", "tools"]
    text: str

    @property
    def name(self) -> str:
        """Its name."""
        return NAMES_OF_FORMS[self.kind]


class Constraint(Protocol):
    """What may come next in an answer that has a form."""

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, [vocabulary]."""

    def note(self, token: int) -> None:
        """The token that came."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to be made. ``max_tokens`` None: as many as fit the context.

    ``timeout`` bounds the wait for a place in the batch, in seconds; None: the model's. A
    ``constraint`` is for one answer only.
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


class ToolChoice(StrEnum):
    """Whether the answer calls functions: never, as the model likes, or in any case."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


class Function(NamedTuple):
    """A function. ``parameters`` is the JSON schema of its arguments, an object; ``place`` is that
    of the function among the tools of the request."""

    name: str
    parameters: Mapping[str, Any]
    place: int


class ToolCall(NamedTuple):
    """One call; ``arguments`` is JSON text as the model wrote it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What an answer may call. ``named``: the client has chosen the one function that there is;
    ``parallel``: several calls in one answer are welcome."""

    functions: tuple[Function, ...]
    choice: ToolChoice
    named: bool = False
    parallel: bool = True


class FinishReason(StrEnum):
    """Why an answer is over: the model or a stop string ended it, its length did, or it calls
    functions whose results the client is to send."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class Alternative(NamedTuple):
    """A token that could have come, and the natural logarithm of its probability."""

    token: int
    text: str
    logprob: float


class Token(NamedTuple):
    """A token that came; ``top`` are the most likely ones at its place, best first."""

    token: int
    text: str
    logprob: float
    top: tuple[Alternative, ...] = ()


class Delta(NamedTuple):
    """What a step adds to an answer. ``tokens`` counts those made so far; ``chosen`` tells of them
    if the client asked for that. ``finish`` is set in the last one."""

    text: str
    tokens: int
    chosen: tuple[Token, ...] = ()
    finish: FinishReason | None = None


def not_tensors(model: str) -> SignatureMismatch:
    """The error for tensors that are sent to a language model."""
    return SignatureMismatch(
        f'model "{model}" takes no tensors, it is a language model: use /v1/chat/completions,'
        f" /v1/completions or /v2/models/{model}/generate"
    )
