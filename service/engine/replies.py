"""Where the outputs of requests go. Everything here is called on the event loop."""

import logging
from typing import Protocol

import numpy as np

from service.core.errors import ExecutionFailed, QuantserveError
from service.core.tensors import Arrays

_log = logging.getLogger(__name__)


class Reply(Protocol):
    """Where the outputs of a request go; an ``asyncio.Future`` is one. Called on the event loop."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, outputs: Arrays, /) -> None:
        """Take the outputs, one array for each in signature order."""

    def set_exception(self, error: BaseException, /) -> None:
        """Take the reason why there are none."""


class Rows:
    """Puts the outputs of rows that ran one by one together again."""

    def __init__(self, reply: Reply, count: int) -> None:
        self.reply = reply
        self._outputs: list[Arrays] = [()] * count
        self._missing = count

    def put(self, place: int, outputs: Arrays) -> None:
        """Take a row's outputs; with the last of them the request is answered."""
        self._outputs[place] = outputs
        self._missing -= 1
        if not self._missing:
            columns = list(zip(*self._outputs, strict=True))
            if any(len({row.shape for row in column}) > 1 for column in columns):
                self.reply.set_exception(
                    ExecutionFailed("the rows have outputs of different shapes: send them singly")
                )
            else:
                self.reply.set_result(tuple(np.concatenate(column) for column in columns))


class Row:
    """The reply for one row of a request."""

    def __init__(self, whole: Rows, place: int) -> None:
        self._whole = whole
        self._place = place

    @property
    def whole(self) -> Reply:
        """The reply for the request."""
        return self._whole.reply

    def done(self) -> bool:
        return self._whole.reply.done()

    def set_result(self, outputs: Arrays) -> None:
        self._whole.put(self._place, outputs)

    def set_exception(self, error: BaseException) -> None:
        self._whole.reply.set_exception(error)


def answer(reply: Reply, result: Arrays | QuantserveError) -> bool:
    """Answer whoever still waits; True where the answer is an error.

    A reply that raises hurts nobody else: the others of its batch are answered.
    """
    failed = isinstance(result, QuantserveError)
    try:
        if not reply.done():
            if isinstance(result, QuantserveError):
                reply.set_exception(result)
            else:
                reply.set_result(result)
    except Exception as error:
        _log.error("a reply failed: %s: %s", type(error).__name__, error)
        _log.debug("a reply failed", exc_info=True)
        return True
    return failed
