"""Chats of OpenAI's API: messages and their parts, to values."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.protocol.openai_requests import (
    MOST_LOGPROBS,
    MOST_TOKENS,
    Arguments,
    Asked,
    Text,
)
from service.api.protocol.openai_tools import (
    MOST_CALLS,
    MOST_TOOLS,
    CallGiven,
    NamedTool,
    Tool,
    tools_of,
)
from service.core.errors import BadArgument
from service.core.generation import ToolChoice, Tools

MOST_MESSAGES = 2048


class Part(Arguments):
    """A part of a message: text; no images and no sound."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A message of a chat; what else it holds is for the template."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    tool_calls: list[CallGiven] | None = Field(None, max_length=MOST_CALLS)

    def for_template(self, place: int) -> dict[str, Any]:
        """As templates expect it: text in one piece, and the roles that they know.

        Raises:
            BadArgument: see ``CallGiven``; ``place`` is the message's among all.
        """
        content = self.content
        text = content if isinstance(content, str) else "".join(p.text for p in content or ())
        role = "system" if self.role == "developer" else self.role
        found = {**(self.model_extra or {}), "role": role, "content": text}
        if self.tool_calls:
            key = f"messages.{place}.tool_calls"
            calls = enumerate(self.tool_calls)
            found["tool_calls"] = [call.for_template(f"{key}.{each}") for each, call in calls]
        return found


class ChatRequest(Asked):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    modalities: list[Literal["text"]] | None = None
    tools: list[Tool] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens of an answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def told(self) -> int | None:
        """How many alternatives to tell at each token; None: nothing of the token either."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def callable(self) -> Tools | None:
        """The functions that an answer may call, if any.

        Raises:
            BadArgument: see ``tools_of``; or answers are to have another form as well.
        """
        found = tools_of(self.tools, self.tool_choice, self.parallel_tool_calls)
        if found is None or found.choice is ToolChoice.NONE:
            return None
        if self.form is not None:
            key = "response_format" if self.guided_regex is None else "guided_regex"
            raise BadArgument(f'{key} together with tools needs "tool_choice": "none"', key)
        return found
