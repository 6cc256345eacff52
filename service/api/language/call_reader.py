"""Calls of functions in one answer to a chat, separated from its text."""

from service.api.protocol.openai_answers import Whole
from service.core.generation import CallPiece, Delta, FinishReason, Tools
from service.engine.generation.tool_parser import ToolParser, joined
from service.engine.generation.tool_syntax import ToolSyntax


class CallReader:
    """Finds the calls in the pieces of one answer, in order, or in the whole answer. ``or_object``
    is True if the answer may be another object in JSON."""

    def __init__(self, syntax: ToolSyntax, tools: Tools, or_object: bool = False) -> None:
        names = (function.name for function in tools.functions)
        self._parser = ToolParser(syntax, names, or_object)
        self._named = tools.named

    def piece(self, delta: Delta) -> list[tuple[Delta, CallPiece | None]]:
        """Divide a piece: first its text, then each piece of a call, and the end of the answer
        last. Return nothing if it adds nothing yet."""
        text, calls = self._parser.push(delta.text)
        if delta.finish is not None:
            rest = self._parser.flush()
            text, calls = text + rest.text, calls + rest.calls
            delta = delta._replace(finish=self._finish(delta.finish))
        shown = delta._replace(text=text)
        if not calls:
            return [(shown, None)] if text or delta.chosen or delta.finish else []
        silent = Delta("", delta.tokens)
        found: list[tuple[Delta, CallPiece | None]] = [(silent, call) for call in calls]
        if text or delta.chosen:
            found.insert(0, (shown._replace(finish=None), None))
        if delta.finish is not None:
            found.append((silent._replace(finish=delta.finish), None))
        return found

    def whole(self, answer: Whole) -> Whole:
        """Return a complete answer with its calls separated from the text."""
        first, last = self._parser.push(answer.text), self._parser.flush()
        text, calls = first.text + last.text, joined(first.calls + last.calls)
        return answer._replace(text=text, calls=calls, finish=self._finish(answer.finish))

    def _finish(self, reason: FinishReason) -> FinishReason:
        """Return the finish reason. As in OpenAI's API, it is "stop" if the client has named the
        function to call."""
        calls = self._parser.told and reason is FinishReason.STOP and not self._named
        return FinishReason.TOOL_CALLS if calls else reason
