"""ModelInfer: one request, one answer. Messages are bytes here: see ``wire.py``."""

import asyncio
from functools import partial
from typing import Any

from service.api.grpc.calls import Call, Refused
from service.api.grpc.forwarded import Calls, ForwardedCall
from service.api.grpc.metadata import Admit, headers_of, turn_away_unless
from service.core.memory_budget import Reservation


class ModelInfer:
    """Answers requests. ``seconds`` is the timeout for a client to receive an answer for which
    memory is reserved."""

    def __init__(self, calls: Calls, admit: Admit, seconds: float) -> None:
        self._calls = calls
        self._admit = admit
        self._seconds = seconds

    async def answer(self, body: bytes, context: Any) -> bytes:
        """Return the message of the answer."""
        metadata = context.invocation_metadata()
        if self._admit is not None:
            await turn_away_unless(self._admit, context, metadata)
        call = self._calls.of(body, headers_of(metadata))
        try:
            parts = await call.answer(body, context.time_remaining())
        except Refused as refused:
            end(call, context, self._seconds)
            await context.abort(refused.code, refused.text, refused.metadata)
            raise
        except BaseException:
            end(call, context, self._seconds)
            raise
        end(call, context, self._seconds)
        return b"".join(parts)


def end(call: Call | ForwardedCall, context: Any, seconds: float) -> None:
    """Report the outcome of a request. Its memory stays reserved until its answer is sent, for
    which the client has ``seconds`` seconds."""
    held = call.finish()
    if held is not None:
        until_sent(held, context, seconds)


def until_sent(held: Reservation, context: Any, seconds: float) -> None:
    """Release the bytes when the call has ended. Cancel the call if its client does not receive the
    answer within ``seconds`` seconds."""
    task = asyncio.current_task()
    assert task is not None, "calls are tasks"
    timer = task.get_loop().call_later(seconds, task.cancel)
    context.add_done_callback(partial(_over, held, timer))


def _over(held: Reservation, timer: asyncio.TimerHandle, _: object) -> None:
    timer.cancel()
    held.release()
