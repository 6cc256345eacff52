"""Calls of functions in one answer to a chat, separated from its text."""

from service.api.protocol.openai_answers import Whole
from service.core.generation import Delta, FinishReason, ToolCall, Tools
from service.engine.generation.tool_parser import ToolParser
from service.engine.generation.tool_syntax import ToolSyntax


class CallReader:
    """Finds the calls in the pieces of one answer, in order, or in the whole answer."""

    def __init__(self, syntax: ToolSyntax, tools: Tools) -> None:
        self._parser = ToolParser(syntax, (function.name for function in tools.functions))
        self._named = tools.named

    @property
    def told(self) -> int:
        """The number of calls found so far."""
        return self._parser.told

    def piece(self, delta: Delta) -> tuple[Delta, tuple[ToolCall, ...]]:
        """Return a piece without its calls, and the calls."""
        text, calls = self._parser.push(delta.text)
        if delta.finish is None:
            return delta._replace(text=text), calls
        rest = self._parser.flush()
        text, calls = text + rest.text, calls + rest.calls
        return delta._replace(text=text, finish=self._finish(delta.finish)), calls

    def whole(self, answer: Whole) -> Whole:
        """Return a complete answer with its calls separated from the text."""
        first, last = self._parser.push(answer.text), self._parser.flush()
        text, calls = first.text + last.text, first.calls + last.calls
        return answer._replace(text=text, calls=calls, finish=self._finish(answer.finish))

    def _finish(self, reason: FinishReason) -> FinishReason:
        """Return the finish reason. As in OpenAI's API, it is "stop" if the client has named the
        function to call."""
        calls = self.told and reason is FinishReason.STOP and not self._named
        return FinishReason.TOOL_CALLS if calls else reason
