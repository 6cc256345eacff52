"""One answer on its way to a client: pieces from the lanes, and a reader on the event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import perf_counter

from service.core.errors import QuantserveError
from service.core.generation import Delta


class Stream:
    """The pieces of one answer, in order, each as soon as it is available. Read it once.

    The pieces that a slow reader has not read are joined into one; they never exceed the length of
    the answer. ``close`` ends the stream early: the row is free within a step.
    """

    def __init__(self, prompt_tokens: int, on_close: Callable[[], None]) -> None:
        self.prompt_tokens = prompt_tokens
        self.reused_tokens = 0
        """The number of prompt tokens copied from the cache. It is set with the first piece."""
        self.moments: list[tuple[float, int]] | None = None
        """For traces: the time of each piece, with the number of tokens so far; else None."""
        self._on_close = on_close
        # All state: the pieces that were not read yet, the error if it failed, and whether the last
        # piece was added.
        self._pieces: deque[Delta] = deque()
        self._error: QuantserveError | None = None
        self._over = False
        self._news = asyncio.Event()

    @property
    def over(self) -> bool:
        """True if the stream has ended."""
        return self._over

    def tell(self, news: Delta | QuantserveError) -> None:
        """Add a piece, or the error that ends the stream."""
        if self._over:
            return
        if isinstance(news, QuantserveError) or news.finish is not None:
            self._forget()
        if isinstance(news, QuantserveError):
            self._error, self._over = news, True
        else:
            self._pieces.append(news)
            if self.moments is not None:
                self.moments.append((perf_counter(), news.tokens))
            self._over = news.finish is not None
        self._news.set()

    def close(self) -> None:
        """Stop: the client has disconnected."""
        if not self._over:
            self._over, on_close = True, self._on_close
            self._forget()
            on_close()

    def _forget(self) -> None:
        """Break the reference cycle, which would keep the model in memory until a garbage
        collection."""
        self._on_close = _nothing

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Iterate over the pieces.

        Raises:
            QuantserveError: the answer failed.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if self._pieces:
                piece = _joined(self._pieces)
                self._pieces.clear()
                yield piece
                if piece.finish is not None:
                    return
            if self._error is not None:
                raise self._error


def _nothing() -> None:
    """Do nothing: the stream has ended."""


def _joined(pieces: "deque[Delta]") -> Delta:
    if len(pieces) == 1:
        return pieces[0]
    chosen = tuple(token for piece in pieces for token in piece.chosen)
    calls = tuple(call for piece in pieces for call in piece.calls)
    last = pieces[-1]
    text = "".join(piece.text for piece in pieces)
    return Delta(text, last.tokens, chosen, last.finish, calls)
