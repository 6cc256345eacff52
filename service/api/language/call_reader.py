"""Calls of functions in one answer to a chat, taken out of its text."""

from service.api.protocol.openai_answers import Whole
from service.core.generation import Delta, FinishReason, ToolCall, Tools
from service.engine.generation.tool_parser import ToolParser
from service.engine.generation.tool_syntax import ToolSyntax


class CallReader:
    """For the pieces of one answer, in order, or for the whole of it."""

    def __init__(self, syntax: ToolSyntax, tools: Tools) -> None:
        self._parser = ToolParser(syntax, (function.name for function in tools.functions))
        self._named = tools.named

    @property
    def told(self) -> int:
        """How many calls were found so far."""
        return self._parser.told

    def piece(self, delta: Delta) -> tuple[Delta, tuple[ToolCall, ...]]:
        """A piece without the calls in it, and these."""
        text, calls = self._parser.push(delta.text)
        if delta.finish is None:
            return delta._replace(text=text), calls
        rest = self._parser.flush()
        text, calls = text + rest.text, calls + rest.calls
        return delta._replace(text=text, finish=self._finish(delta.finish)), calls

    def whole(self, answer: Whole) -> Whole:
        """The same of an answer that is over."""
        first, last = self._parser.push(answer.text), self._parser.flush()
        text, calls = first.text + last.text, first.calls + last.calls
        return answer._replace(text=text, calls=calls, finish=self._finish(answer.finish))

    def _finish(self, reason: FinishReason) -> FinishReason:
        """The finish reason: OpenAI has "stop" where the client has named the function to call."""
        calls = self.told and reason is FinishReason.STOP and not self._named
        return FinishReason.TOOL_CALLS if calls else reason
