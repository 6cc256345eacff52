"""Chats of OpenAI's API: from messages and their parts to values."""

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
    """A part of a message. Only text is supported, no images and no audio."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A message of a chat. Other keys are passed to the chat template."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    tool_calls: list[CallGiven] | None = Field(None, max_length=MOST_CALLS)

    def for_template(self, place: int) -> dict[str, Any]:
        """Return the message as chat templates expect it: its text as one string, and only roles
        that templates know. ``place`` is the index of the message.

        Raises:
            BadArgument: see ``CallGiven``.
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
    parallel_tool_calls: bool | None = Field(
        None, description="false: an answer ends after its first call"
    )

    @property
    def limit(self) -> int | None:
        """The maximum number of tokens of an answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def told(self) -> int | None:
        """The number of alternatives to report for each token; None for no log probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def callable(self) -> Tools | None:
        """Return the functions that an answer may call, if any.

        Raises:
            BadArgument: see ``tools_of``; or the request also has a regular expression, which text
                could fit that looks like a call.
        """
        found = tools_of(self.tools, self.tool_choice, self.parallel_tool_calls)
        if found is None or found.choice is ToolChoice.NONE:
            return None
        if self.guided_regex is not None:
            key = "guided_regex"
            raise BadArgument(f'{key} together with tools needs "tool_choice": "none"', key)
        return found
