"""Functions that a chat may call, and calls in its earlier messages, in OpenAI's format."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from service.api.protocol.openai_requests import Arguments, Text
from service.core.errors import BadArgument
from service.core.generation import Function, ToolChoice, Tools

MOST_TOOLS = 128
MOST_CALLS = 128
NAME = r"^[A-Za-z0-9_-]{1,64}$"
ANYTHING: Mapping[str, Any] = {"type": "object"}


class FunctionGiven(Arguments):
    """A function. If a call is required, its arguments always follow the schema, whether ``strict``
    is set or not."""

    name: Annotated[str, Field(pattern=NAME)]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _object(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema and schema.get("type", "object") != "object":
            raise ValueError(f'the schema must have the type "object", not {schema["type"]!r:.40}')
        return schema


class Tool(Arguments):
    """One of ``tools``."""

    type: Literal["function"]
    function: FunctionGiven


class FunctionName(Arguments):
    """The name of a function."""

    name: str


class NamedTool(Arguments):
    """A ``tool_choice`` that names the function to call."""

    type: Literal["function"]
    function: FunctionName


class CalledFunction(Arguments):
    """The called function. ``arguments`` is JSON text."""

    name: str
    arguments: Text


class CallGiven(Arguments):
    """A call in a message of the assistant."""

    id: str
    type: Literal["function"]
    function: CalledFunction

    def for_template(self, place: str) -> dict[str, Any]:
        """Return the call as chat templates expect it: with its arguments as an object. ``place``
        is the path of the call in the request.

        Raises:
            BadArgument: the arguments are not a JSON object.
        """
        key = f"{place}.function.arguments"
        try:
            arguments = json.loads(self.function.arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise BadArgument(f"{key} is not JSON: {error!s:.100}", key) from None
        if not isinstance(arguments, dict):
            raise BadArgument(f"{key} must be a JSON object, got {arguments!r:.60}", key)
        function = {"name": self.function.name, "arguments": arguments}
        return {"id": self.id, "type": self.type, "function": function}


def tools_of(
    given: Sequence[Tool] | None, choice: str | NamedTool | None, parallel: bool | None
) -> Tools | None:
    """Return the functions that an answer may call; None if there are no tools.

    Raises:
        BadArgument: two functions have the same name, ``choice`` names an unknown function, or
            there is a choice without tools.
    """
    if not given:
        if choice not in (None, ToolChoice.NONE):
            raise BadArgument('"tool_choice" is only allowed together with "tools"', "tool_choice")
        return None
    functions: dict[str, Function] = {}
    for place, tool in enumerate(given):
        name, key = tool.function.name, f"tools.{place}.function.name"
        if name in functions:
            raise BadArgument(f'{key}: the function "{name}" appears twice', key)
        functions[name] = Function(name, {**ANYTHING, **(tool.function.parameters or {})}, place)
    if not isinstance(choice, NamedTool):
        every, asked = tuple(functions.values()), ToolChoice(choice or "auto")
        return Tools(every, asked, parallel=parallel is not False)
    if choice.function.name not in functions:
        key = "tool_choice.function.name"
        raise BadArgument(f'{key}: there is no tool "{choice.function.name:.64}"', key)
    return Tools(
        (functions[choice.function.name],), ToolChoice.REQUIRED, named=True, parallel=False
    )
