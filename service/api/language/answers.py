"""From a request in text to the streams that answer it, and its outcome."""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from service.api.language.event_stream import EventStream, event, merged
from service.api.protocol.errors import outcome_of
from service.api.protocol.json_tensors import parse_json
from service.api.protocol.openai_answers import Whole
from service.api.transport.arrival import Limits, arrived
from service.api.transport.body import ClientGone, Receive
from service.api.transport.disconnect import until_gone
from service.api.transport.target import given_id
from service.core.errors import ExecutionFailed, QuantserveError, UnsupportedEncoding
from service.core.events import Observer, Outcome, RequestCompleted, TextAnswered
from service.core.generation import CallPiece, Delta, GenerationRequest, Token, joined
from service.core.memory_budget import Reservation
from service.engine.generation.stream import Stream
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

if TYPE_CHECKING:
    from service.engine.generation.batcher import GenerationBatcher
    from service.engine.generation.language_model import LanguageModel

T = TypeVar("T")
_log = logging.getLogger(__name__)
TRACE_HEADERS = ("traceparent", "tracestate")
Prompts = Callable[["LanguageModel"], Sequence[GenerationRequest]]
"""Makes the prompts of a request for a model. It is called in a thread."""


@dataclass(eq=False, slots=True)
class Exchange:
    """The state of one request.

    ``streams`` are its answers. ``rows`` is the number of answers if they are not streams.
    ``context`` has the client's trace headers. Times are times of ``perf_counter``. ``admitted`` is
    the time at which the request was queued; 0 if it was not.
    """

    protocol: str
    id: str
    started: float
    model: str = ""
    version: ModelVersion | None = None
    outcome: Outcome = Outcome.OK
    error: str = ""
    streams: list[Stream] = field(default_factory=list)
    rows: int = 0
    context: dict[str, str] = field(default_factory=dict)
    admitted: float = 0.0

    def fail(self, error: BaseException) -> None:
        """Record the outcome of an error."""
        self.outcome, self.error = outcome_of(error), f"{error!s:.500}"

    def close(self) -> None:
        """Close the streams of the request."""
        for stream in self.streams:
            stream.close()


class Answers:
    """Admits requests to language and text models, and reports their outcomes to the observer.

    If ``traced``, it also reports the times of each request.
    """

    def __init__(
        self,
        repository: ModelRepository,
        limits: Limits,
        observe: Observer,
        *,
        traced: bool = False,
    ) -> None:
        self._traced = traced
        self.repository = repository
        self._limits = limits
        self._observe = observe
        self._ids = itertools.count(1)
        self._boot = f"{id(self):x}"

    @property
    def memory(self) -> Callable[[int], Reservation | None]:
        """The function that reserves bytes for answers."""
        return self._limits.traffic.outputs

    def open(self, request: Request, protocol: str) -> Exchange:
        """Return the exchange of a new request."""
        given = given_id(dict(request.headers.raw).get(b"x-request-id"))
        name = given.decode() if given else f"{self._boot}-{next(self._ids)}"
        exchange = Exchange(protocol, name, perf_counter())
        if self._traced:
            found = ((each, request.headers.get(each)) for each in TRACE_HEADERS)
            exchange.context = {each: value for each, value in found if value is not None}
        return exchange

    async def read(self, request: Request, understand: Callable[[dict[str, Any]], T]) -> T:
        """Parse the JSON object of a request, in a thread.

        Raises:
            MalformedRequest, BodyTooLarge, BodyTimeout, UnsupportedEncoding: the body is not
                usable, or ``understand`` refuses it.
            ClientGone: the client disconnected.
        """
        headers = dict(request.headers.raw)
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.strip().lower() != "identity":
            raise UnsupportedEncoding(f'Content-Encoding "{encoding:.40}", expected none')
        with self._limits.traffic.body(headers, self._limits.bytes) as grown:
            body = await arrived(request, headers, self._limits, grown)
            return await asyncio.to_thread(lambda: understand(parse_json(body)))

    async def begin(
        self, exchange: Exchange, model: str, prompts: Prompts, number: int | None = None
    ) -> "LanguageModel":
        """Choose a version, make the prompts of the request, and begin to answer each prompt.

        Raises:
            NotFound, NotReady: the model does not exist, or it is not ready.
            InputRejected: the model is not a language model, or refuses a prompt.
            QueueFull: too many requests wait; no prompt of this request is answered.
        """
        exchange.model = model
        while True:
            language, _ = self.choose(exchange, model, number).generation()
            requests = await asyncio.to_thread(prompts, language)
            # Another version may be serving now, with another tokenizer.
            now, batcher = self.choose(exchange, model, number).generation()
            if now is language:
                break
        self._enter(exchange, batcher, requests)
        return language

    def choose(self, exchange: Exchange, model: str, number: int | None) -> ModelVersion:
        """Choose the version that answers, and return it.

        Raises:
            NotFound, NotReady: the version does not exist, or it is not ready.
        """
        exchange.version = self.repository.version(model, number)
        return exchange.version

    def _enter(
        self,
        exchange: Exchange,
        batcher: "GenerationBatcher",
        requests: Sequence[GenerationRequest],
    ) -> None:
        try:
            for request in requests:
                stream = batcher.generate(request)
                if self._traced:
                    stream.moments = []
                exchange.streams.append(stream)
        except QuantserveError:
            exchange.close()
            raise
        exchange.admitted = perf_counter()

    def conclude(self, exchange: Exchange, error: BaseException | None = None) -> None:
        """End the request: stop its generation, and report its outcome."""
        if isinstance(error, ClientGone | asyncio.CancelledError):
            exchange.outcome = Outcome.CANCELLED
        elif error is not None:
            exchange.fail(error)
        elif exchange.outcome is Outcome.OK and not all(each.over for each in exchange.streams):
            exchange.outcome = Outcome.CANCELLED
        exchange.close()
        self._tell(exchange)

    def _tell(self, exchange: Exchange) -> None:
        version, model = exchange.version, exchange.model
        number = version.number if version else 0
        # Only names of existing models become labels: else clients could grow the metrics.
        known = model if model in self.repository.models else ""
        answered = exchange.rows or len(exchange.streams)
        rows = answered if exchange.outcome is Outcome.OK else 0
        seconds = perf_counter() - exchange.started
        self._observe(
            RequestCompleted(
                known,
                number,
                exchange.protocol,
                exchange.outcome,
                seconds,
                exchange.id,
                exchange.error,
                rows,
            )
        )
        if self._traced:
            self._observe(_times(exchange))


def _times(exchange: Exchange) -> TextAnswered:
    version = exchange.version
    return TextAnswered(
        exchange.model,
        version.number if version else 0,
        exchange.protocol,
        exchange.id,
        exchange.outcome,
        exchange.error,
        exchange.context,
        exchange.started,
        exchange.admitted,
        perf_counter(),
        tuple(stream.prompt_tokens for stream in exchange.streams),
        tuple(tuple(stream.moments or ()) for stream in exchange.streams),
    )


async def respond(
    answers: Answers,
    exchange: Exchange,
    work: Callable[[], Awaitable[Response]],
    refused: Callable[[QuantserveError], Response],
) -> Response:
    """Return the response of ``work``; if it fails, return the error response of ``refused``.

    Raises:
        ClientDisconnect: the client disconnected, or the request was cancelled.
    """
    try:
        response = await work()
    except (ClientGone, asyncio.CancelledError) as error:
        answers.conclude(exchange, error)
        raise ClientDisconnect from None
    except Exception as error:
        told = masked(error, exchange)
        answers.conclude(exchange, told)
        response = refused(told)
    response.headers["x-request-id"] = exchange.id
    return response


async def collected(
    answers: Answers,
    exchange: Exchange,
    receive: Receive,
) -> list[Whole]:
    """Return all answers of a request when they are complete.

    Raises:
        QuantserveError: one of the answers failed.
        ClientGone: the client disconnected.
    """
    found = await until_gone(whole(exchange.streams), receive)
    if found is None:
        raise ClientGone
    answers.conclude(exchange)
    return found


async def streamed(
    answers: Answers,
    exchange: Exchange,
    events: AsyncGenerator[bytes, None],
    receive: Receive,
    last_words: Callable[[QuantserveError], Any],
) -> Response:
    """Return a response that sends events as they arrive. An error before the first event is
    raised, so that it sets the HTTP status. A later error is sent as the last event.

    Raises:
        QuantserveError: the answer failed before its first piece.
        ClientGone: the client disconnected.
    """
    first = await until_gone(anext(events), receive)
    if first is None:
        raise ClientGone
    going_on = _going_on(first, events, exchange, last_words)
    return EventStream(going_on, lambda: answers.conclude(exchange))


async def _going_on(
    first: bytes,
    events: AsyncGenerator[bytes, None],
    exchange: Exchange,
    last_words: Callable[[QuantserveError], Any],
) -> AsyncGenerator[bytes, None]:
    yield first
    try:
        async for each in events:
            yield each
    except Exception as error:
        told = masked(error, exchange)
        exchange.fail(told)
        yield event(last_words(told))
    finally:
        await events.aclose()


async def pieces(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, Delta]]:
    """Yield the pieces of several answers as they arrive, each with the index of its answer.

    Raises:
        QuantserveError: one of the answers failed.
    """
    async for each in merged([aiter(stream) for stream in streams]):
        yield each


async def whole(streams: Sequence[Stream]) -> list[Whole]:
    """Return several answers when they are complete.

    Raises:
        QuantserveError: one of the answers failed.
    """
    texts: list[list[str]] = [[] for _ in streams]
    chosen: list[list[Token]] = [[] for _ in streams]
    calls: list[list[CallPiece]] = [[] for _ in streams]
    last: list[Delta | None] = [None] * len(streams)
    async for place, delta in pieces(streams):
        texts[place].append(delta.text)
        chosen[place] += delta.chosen
        calls[place] += delta.calls
        last[place] = delta
    answers = []
    for text, tokens, called, end in zip(texts, chosen, calls, last, strict=True):
        assert end is not None and end.finish is not None, "every answer has ended. This is a bug."
        told = "".join(text), end.tokens, tuple(tokens), end.finish
        answers.append(Whole(*told, joined(called)))
    return answers


def masked(error: Exception, exchange: Exchange) -> QuantserveError:
    """Return the error for the client. An unexpected error is logged, and replaced by an internal
    error."""
    if isinstance(error, QuantserveError):
        return error
    _log.error("request %s failed: %s: %s", exchange.id, type(error).__name__, error)
    _log.debug("request %s failed", exchange.id, exc_info=error)
    return ExecutionFailed("internal error")
