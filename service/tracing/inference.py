"""Inference that also reads the client's context and records the times of a request's steps."""

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.protocol.json_tensors import Bytes
from service.api.transport.answers import WRITES, Answer, Write
from service.api.transport.exchange import Exchange
from service.api.transport.traffic import Traffic
from service.config.settings import Settings
from service.core.events import Observer
from service.core.requests import InferRequest
from service.core.tensors import Arrays
from service.engine.repository.repository import ModelRepository
from service.engine.runtime.replies import Reply
from service.tracing.spans import Trace, TracedReply, Tracing

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions


class TracedInference(Inference):
    """Inference that reports each request to ``Tracing``."""

    def __init__(
        self,
        repository: ModelRepository,
        settings: Settings,
        observe: Observer,
        traffic: Traffic,
        tracing: Tracing,
        writes: Mapping[str, Write] = WRITES,
        regions: "Regions | None" = None,
    ) -> None:
        super().__init__(repository, settings, observe, traffic, writes=writes, regions=regions)
        self._tracing = tracing
        # All mutable state: the traces of the requests that have not ended.
        self._traces: dict[Exchange, Trace] = {}

    def admit(self, exchange: Exchange, headers: Headers, body: Bytes, reply: Reply) -> None:
        """Extend the method of the base class: run it in a span."""
        trace = self._traces[exchange] = self._tracing.begin(exchange, headers)
        super().admit(exchange, headers, body, TracedReply(reply, trace))

    def admit_read(
        self,
        exchange: Exchange,
        headers: Headers,
        request: InferRequest,
        reply: Reply,
        alone: bool = False,
    ) -> None:
        """Extend the method of the base class: run it in a span."""
        trace = self._traces[exchange] = self._tracing.begin(exchange, headers)
        super().admit_read(exchange, headers, request, TracedReply(reply, trace), alone)

    async def admit_elsewhere(
        self, exchange: Exchange, headers: Headers, body: Bytes, reply: Reply
    ) -> None:
        """Extend the method of the base class: run it in the span that ``admit`` began."""
        reply = TracedReply(reply, self._traces[exchange])
        await super().admit_elsewhere(exchange, headers, body, reply)

    async def answer_elsewhere(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        return self._encoded(exchange, await super().answer_elsewhere(exchange, outputs), began)

    def answer(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        return self._encoded(exchange, super().answer(exchange, outputs), began)

    def refuse(self, exchange: Exchange, error: BaseException) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        return self._encoded(exchange, super().refuse(exchange, error), began)

    def finish(self, exchange: Exchange) -> None:
        """Finish the request and its trace."""
        super().finish(exchange)
        trace = self._traces.pop(exchange, None)
        if trace is not None:
            trace.ended = perf_counter()
            self._tracing.end(trace)

    def _encoded(self, exchange: Exchange, answer: Answer, began: float) -> Answer:
        trace = self._traces.get(exchange)
        if trace is None:
            return answer
        trace.encode = (began, perf_counter())
        return answer._replace(headers=(*answer.headers, trace.header()))
