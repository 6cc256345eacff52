"""Parses requests of OpenAI's API. Source: https://platform.openai.com/docs/api-reference

Unknown arguments are refused. Known arguments are refused if they would change the answer in a way
that is not supported. Arguments that concern only OpenAI's own service are ignored.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from service.config.values import first_problem
from service.core.errors import BadArgument
from service.core.generation import Form, SamplingParameters

MOST_CHOICES = 128
MOST_LOGPROBS = 20
MOST_STOPS = 4
MOST_TOKENS = 2**31
SEED_BITS = 2**64 - 1
PASSED_OVER = (
    "metadata", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort",
    "safety_identifier", "service_tier", "store", "user", "verbosity",
)  # fmt: skip
"""Arguments that have no effect here."""
BRANCH = re.compile(r"str|int|constrained-str|list\[.*|literal\[.*|NamedTool")
Text = Annotated[str, Field(max_length=2**24)]


class Arguments(BaseModel):
    """Named arguments of a client."""

    # Validators are built at the first request, because most servers have no language model.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)


class StreamOptions(Arguments):
    """``include_usage``: the last piece has the token counts."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Sampling(Arguments):
    """Settings for the choice of tokens and the end of an answer. ``top_k`` and the fields after it
    are not part of OpenAI's API; they have the names that other servers use."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024
    )
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stop: Text | list[Text] | None = Field(
        None, description="Strings that end the text of an answer; calls are not searched for them"
    )
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    min_tokens: int | None = Field(None, ge=0, le=MOST_TOKENS)
    ignore_eos: bool | None = None
    priority: int | None = Field(None, ge=1, le=2**31)

    @field_validator("stop")
    @classmethod
    def _stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > MOST_STOPS:
            raise ValueError(f"expected at most {MOST_STOPS} strings, got {len(stop)}")
        if stop == "" or (isinstance(stop, list) and "" in stop):
            raise ValueError("a stop string must not be empty")
        return stop

    @field_validator("logit_bias")
    @classmethod
    def _bias(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        for token in bias or ():
            if not (token.isascii() and token.isdigit() and len(token) < 10):
                raise ValueError(f'"{token:.40}" is not a token id')
        return bias

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def parameters(self, logprobs: int | None = None, choice: int = 0) -> SamplingParameters:
        """Return the parameters for the sampler, for one of several answers."""
        seed = None if self.seed is None else (self.seed + choice) & SEED_BITS
        return SamplingParameters(
            temperature=_or(self.temperature, 1.0),
            top_p=_or(self.top_p, 1.0),
            top_k=max(0, self.top_k or 0),
            min_p=self.min_p or 0.0,
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            bias={int(token): bias for token, bias in (self.logit_bias or {}).items()},
            seed=seed,
            logprobs=logprobs,
        )


class JsonSchema(Arguments):
    """A schema. The answer always follows it, whether ``strict`` is set or not."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field({"type": "object"}, alias="schema")
    strict: bool | None = None


class ResponseFormat(Arguments):
    """The required format of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError('"json_schema" belongs to the type "json_schema", which needs it')
        return self

    @property
    def form(self) -> Form | None:
        """The form for the model; None for text."""
        if self.type == "text":
            return None
        schema = self.json_schema.schema_ if self.json_schema else {"type": "object"}
        return Form("json_schema", json.dumps(schema))


class Asked(Sampling):
    """The common arguments of a chat and a completion."""

    model: str = Field(min_length=1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    guided_regex: Text | None = None

    @property
    def choices(self) -> int:
        """The number of requested answers to each prompt."""
        return self.n or 1

    @property
    def form(self) -> Form | None:
        """The required form of the answers, if any."""
        if self.guided_regex is not None:
            return Form("regex", self.guided_regex)
        return self.response_format.form if self.response_format else None

    @property
    def usage_last(self) -> bool:
        """True if a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(Asked):
    """``POST /v1/completions``."""

    prompt: Text | list[Text] | list[int] | list[list[int]]
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    suffix: None = None
    best_of: Literal[1] | None = None

    @field_validator("prompt")
    @classmethod
    def _prompt(cls, prompt: Any) -> Any:
        if not prompt:
            raise ValueError("it must not be empty")
        return prompt

    @property
    def prompts(self) -> list[str | list[int]]:
        """All prompts, as texts or as tokens."""
        given: Any = self.prompt
        single = isinstance(given, str) or isinstance(given[0], int)
        return [given] if single else given


class GenerateRequest(Sampling):
    """``POST /v2/models/{name}/generate``, in the format of Triton's extension. Arguments for
    sampling may be next to ``text_input`` or in ``parameters``."""

    text_input: Text
    id: str = ""
    stream: bool | None = None


Kind = TypeVar("Kind", bound=BaseModel)


def read(kind: type[Kind], document: Mapping[str, Any]) -> Kind:
    """Parse the arguments of a request.

    Raises:
        BadArgument: an argument is not valid; the message names it.
    """
    given = {key: value for key, value in document.items() if key not in PASSED_OVER}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _told(error) from None


def read_generate(document: Mapping[str, Any]) -> GenerateRequest:
    """Parse the arguments of a request in Triton's format.

    Raises:
        BadArgument: see ``read``.
    """
    given = dict(document)
    parameters = given.pop("parameters", {})
    if not isinstance(parameters, dict):
        raise BadArgument('"parameters" must be an object', "parameters")
    return read(GenerateRequest, {**parameters, **given})


def _told(error: ValidationError) -> BadArgument:
    problem = first_problem(error.errors())
    # Pydantic names the branch of a union that failed as a part of the place.
    key = ".".join(part for part in problem.key.split(".") if not BRANCH.fullmatch(part))
    if problem.kind == "extra_forbidden":
        what = "argument" if "." not in key else "key"
        return BadArgument(f"unrecognized request {what} supplied: {key:.80}", key)
    if problem.kind == "missing":
        return BadArgument(f'you must provide "{key}"', key)
    return BadArgument(f"{key}: {problem.message}{_shown(problem.given)}", key)


def _shown(given: object) -> str:
    """Return the value that was sent, if it is short."""
    short = isinstance(given, str | int | float | bool | None)
    return f", got {given!r:.60}" if short else ""


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
