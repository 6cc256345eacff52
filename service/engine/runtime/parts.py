"""Splits a request into parts, and assembles the outputs of its parts. Everything here is called on
the event loop.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from service.core.errors import ExecutionFailed, InputRejected, QuantserveError
from service.core.memory_budget import Reservation
from service.core.requests import Terms
from service.core.tensors import Arrays, Overriding
from service.engine.runtime.replies import Reply

STRING_BYTES = 64
"""The bytes of a short string as an object, beside the pointer to it in an array."""


class Asked(NamedTuple):
    """A request with rows, its terms and its times. Times are seconds."""

    arrays: Arrays
    rows: int
    terms: Terms
    alone: bool
    arrived: float
    deadline: float | None


class Parts:
    """Cuts a request into parts of ``size`` rows and joins their outputs in order.

    Few parts are in flight at a time: ``next`` returns one more. ``go_on``, a method of the
    batcher, is called after the outputs of each part but the last. The memory for all outputs is
    reserved when the outputs of the first part show their size.
    """

    def __init__(
        self,
        asked: Asked,
        size: int,
        reply: Reply,
        go_on: Callable[["Parts"], None],
    ) -> None:
        self.asked = asked
        self.reply = reply
        self._size = size
        self._go_on = go_on
        # All mutable state: the first row that is in no part yet, the rows without outputs, and
        # the number of parts in flight; the outputs so far, and the memory reserved for them.
        self._start = 0
        self._missing = asked.rows
        self.under_way = 0
        self._outputs: Arrays | None = None
        self._held: Reservation | None = None

    def next(self) -> "Part | None":
        """Return the next part, which is in flight from now on; None if there are no more."""
        if self._start >= self.asked.rows:
            return None
        part = Part(self, self._start, min(self._start + self._size, self.asked.rows))
        self._start = part.stop
        self.under_way += 1
        return part

    def done(self) -> bool:
        """Return True if the request is answered or the client has disconnected. Then release the
        memory of the answer."""
        done = self.reply.done()
        if done:
            self._let_go()
        return done

    def put(self, part: "Part", outputs: Arrays) -> None:
        """Store the outputs of a part; with the last part, answer the request."""
        self.under_way -= 1
        try:
            whole = self._whole(part, outputs)
            for all_rows, some in zip(whole, outputs, strict=True):
                all_rows[part.start : part.stop] = some
        except (QuantserveError, MemoryError) as error:
            self.fail(error)
        except Exception as error:
            self.fail(ExecutionFailed(f"the outputs of {part} cannot be put together: {error}"))
        else:
            self._missing -= part.rows
            if not self._missing:
                self._let_go()  # the memory of the answer is counted when it is built
                self.reply.set_result(whole)
                return
        self._go_on(self)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        self._let_go()
        self.reply.set_exception(error)

    def fail_part(self, part: "Part", error: BaseException) -> None:
        """Fail the request because a part of it failed."""
        self.under_way -= 1
        if isinstance(error, InputRejected):
            error = InputRejected(f"{part}: {error}")
        self.fail(error)

    def _whole(self, part: "Part", outputs: Arrays) -> Arrays:
        """Return the arrays for the outputs of all rows; allocate them for the first part.

        Raises:
            InputRejected: the outputs of this part do not fit into these arrays.
            ResponseTooLarge, MemoryFull: see ``Terms.memory``.
        """
        for place, array in enumerate(outputs):
            if array.shape[:1] != (part.rows,):
                raise InputRejected(
                    f"output {place} has shape {list(array.shape)} for {part}, not one row for"
                    f" each: send at most {self._size} in one request"
                )
        rows = self.asked.rows
        if self._outputs is None:
            if self.asked.terms.memory is not None:
                self._held = self.asked.terms.memory(_bytes(outputs) * rows // part.rows)
            shapes = [(rows, *array.shape[1:]) for array in outputs]
            kinds = [array.dtype for array in outputs]
            self._outputs = tuple(map(np.empty, shapes, kinds))
        for place, (all_rows, array) in enumerate(zip(self._outputs, outputs, strict=True)):
            if all_rows.shape[1:] != array.shape[1:]:
                raise InputRejected(
                    f"output {place} has shape {list(array.shape)} for {part} and"
                    f" {list(all_rows.shape[1:])} for each row before: send these rows one by one"
                )
        return self._outputs

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()


class Part:
    """The rows from ``start`` to ``stop`` of a request, and the reply for them."""

    __slots__ = ("_parts", "start", "stop")

    def __init__(self, parts: Parts, start: int, stop: int) -> None:
        self._parts, self.start, self.stop = parts, start, stop

    def __str__(self) -> str:
        of = f"of {self._parts.asked.rows}"
        if self.rows == 1:
            return f"row {self.start} {of}"
        return f"rows {self.start} to {self.stop - 1} {of}"

    @property
    def whole(self) -> Reply:
        """The reply for the request."""
        return self._parts.reply

    @property
    def asked(self) -> Asked:
        """The request."""
        return self._parts.asked

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return self.stop - self.start

    @property
    def arrays(self) -> Arrays:
        """Its rows, as views."""
        given = self.asked.arrays
        rows = tuple([array[self.start : self.stop] for array in given])
        return Overriding(rows, given.overrides) if isinstance(given, Overriding) else rows

    def done(self) -> bool:
        """Return True if the request is answered or its client has disconnected."""
        return self._parts.done()

    def set_result(self, outputs: Arrays) -> None:
        """Store the outputs of these rows."""
        self._parts.put(self, outputs)

    def set_exception(self, error: BaseException) -> None:
        """Fail the request with the error of these rows."""
        self._parts.fail_part(self, error)


def _bytes(outputs: Arrays) -> int:
    strings = sum(array.size for array in outputs if array.dtype.hasobject)
    return sum(array.nbytes for array in outputs) + strings * STRING_BYTES
