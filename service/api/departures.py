"""Notices clients that leave while they wait, so that their requests leave the queue.

To notice it takes a task for each client, which costs more than most requests do. So only those
are watched that have waited for a while, and one timer finds them.
"""

import asyncio

from service.api.body import Receive
from service.engine.batcher import Reply

LOOK_EVERY = 0.05
"""Seconds between looks; a client is watched from the second one on."""


class Departures:
    """Cancels the reply that a client waited for when it is gone."""

    def __init__(self) -> None:
        # All mutable state: who waits, who did so at the last look, and the next look's timer.
        self._waiting: dict[Reply, Receive] = {}
        self._aged: list[Reply] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, reply: Reply, receive: Receive) -> None:
        """Cancel the reply if the client leaves before ``forget`` is called."""
        self._waiting[reply] = receive
        if self._timer is None:
            self._timer = reply.get_loop().call_later(LOOK_EVERY, self._look, reply.get_loop())

    def forget(self, reply: Reply) -> None:
        """The reply is there."""
        self._waiting.pop(reply, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for reply in self._aged:
            receive = self._waiting.pop(reply, None)
            if receive is not None:
                task = loop.create_task(_cancel_when_gone(reply, receive))
                reply.add_done_callback(lambda _, task=task: task.cancel())  # type: ignore[misc]
        self._aged = list(self._waiting)
        self._timer = loop.call_later(LOOK_EVERY, self._look, loop) if self._aged else None


async def _cancel_when_gone(reply: Reply, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.cancel()
