"""Replies, which receive the outputs of requests. Everything here is called on the event loop."""

import logging
from typing import Protocol

from service.core.errors import QuantserveError
from service.core.tensors import Arrays

_log = logging.getLogger(__name__)


class Reply(Protocol):
    """Receives the outputs of a request, such as an ``asyncio.Future``. Called on the event
    loop."""

    def done(self) -> bool:
        """Return True if the request is answered, or its client has disconnected."""

    def set_result(self, outputs: Arrays, /) -> None:
        """Receive the outputs, as arrays in signature order."""

    def set_exception(self, error: BaseException, /) -> None:
        """Receive the error, if there are no outputs."""


def answer(reply: Reply, result: Arrays | QuantserveError) -> bool:
    """Resolve a reply that is not done yet; return True if the result is an error or the reply
    fails.

    An exception of the reply is logged, so that the other requests of its batch are answered.
    """
    try:
        if isinstance(result, QuantserveError):
            if not reply.done():
                reply.set_exception(result)
            return True
        if not reply.done():
            reply.set_result(result)
    except Exception as error:
        _log.error("a reply failed: %s: %s", type(error).__name__, error)
        _log.debug("a reply failed", exc_info=True)
        return True
    return False
