"""The base class of settings, and the text of their errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

MOST_SECONDS = 7 * 24 * 3600.0
"""A week: a longer time is a mistake, or stands for no limit."""


class Value(BaseModel):
    """The base class of settings: frozen, and an unknown key is an error."""

    # TOML and float() accept nan and inf, which compare in unexpected ways as a bound or a time.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings"
    )


class Problem(NamedTuple):
    """The first problem of a document: the key, pydantic's name of the error, the expected value,
    and the given value."""

    key: str
    kind: str
    message: str
    given: object


def first_problem(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Return the first of pydantic's errors."""
    first = errors[0]
    message = first["msg"].removeprefix("Value error, ")  # pydantic's word for our own checks
    return Problem(".".join(map(str, first["loc"])), first["type"], message, first.get("input"))


def told(error: ValidationError, source: Callable[[str], str]) -> str:
    """Format the first error as text; ``source`` returns the place where a key was set."""
    problem = first_problem(error.errors(include_url=False))
    if problem.kind == "extra_forbidden":
        return f"{source(problem.key)} is not a setting"
    return f"{source(problem.key)}: {problem.message}, got {problem.given!r:.200}"
