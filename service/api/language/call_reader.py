"""Answers to a chat that may call functions, as OpenAI's API reports them."""

from service.api.protocol.openai_answers import Whole
from service.core.generation import CallPiece, Delta, FinishReason, Tools


class CallReader:
    """Converts the deltas of one answer to those of OpenAI's API, with the finish reason."""

    def __init__(self, tools: Tools) -> None:
        self._named = tools.named
        self._called = False

    def piece(self, delta: Delta) -> list[tuple[Delta, CallPiece | None]]:
        """Divide a delta: first its text, then each piece of a call, then the end of the answer."""
        calls, delta = delta.calls, delta._replace(calls=())
        self._called = self._called or bool(calls)
        if delta.finish is not None:
            delta = delta._replace(finish=self._finish(delta.finish, self._called))
        if not calls:
            return [(delta, None)]
        silent = Delta("", delta.tokens)
        found: list[tuple[Delta, CallPiece | None]] = [(silent, call) for call in calls]
        if delta.text or delta.chosen:
            found.insert(0, (delta._replace(finish=None), None))
        if delta.finish is not None:
            found.append((silent._replace(finish=delta.finish), None))
        return found

    def whole(self, answer: Whole) -> Whole:
        """Return a complete answer with OpenAI's finish reason."""
        return answer._replace(finish=self._finish(answer.finish, bool(answer.calls)))

    def _finish(self, reason: FinishReason, called: bool) -> FinishReason:
        """Return the finish reason. As in OpenAI's API, it is "stop" if the client has named the
        function to call."""
        calls = called and reason is FinishReason.STOP and not self._named
        return FinishReason.TOOL_CALLS if calls else reason
