"""Inference that also reads the client's context and records the times of a request's steps."""

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from service.api.dataplane.answering import Answering
from service.api.dataplane.headers import Headers
from service.api.dataplane.inference import Inference
from service.api.offload.lanes import Elsewhere
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
        given = (settings, traffic, self.elsewhere, writes)
        self.answering = TracedAnswering(*given, self._traces)

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

    def refuse(self, exchange: Exchange, error: BaseException) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        return _encoded(self._traces.get(exchange), super().refuse(exchange, error), began)

    def finish(self, exchange: Exchange) -> None:
        """Finish the request and its trace."""
        super().finish(exchange)
        trace = self._traces.pop(exchange, None)
        if trace is not None:
            trace.ended = perf_counter()
            self._tracing.end(trace)


class TracedAnswering(Answering):
    """Answering that adds the span's context for the client."""

    def __init__(
        self,
        settings: Settings,
        traffic: Traffic,
        elsewhere: Elsewhere,
        writes: Mapping[str, Write],
        traces: Mapping[Exchange, Trace],
    ) -> None:
        super().__init__(settings, traffic, elsewhere, writes)
        self._traces = traces

    def answer(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        return _encoded(self._traces.get(exchange), super().answer(exchange, outputs), began)

    async def answer_elsewhere(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Extend the method of the base class: add the span's context for the client."""
        began = perf_counter()
        answer = await super().answer_elsewhere(exchange, outputs)
        return _encoded(self._traces.get(exchange), answer, began)


def _encoded(trace: Trace | None, answer: Answer, began: float) -> Answer:
    if trace is None:
        return answer
    trace.encode = (began, perf_counter())
    return answer._replace(headers=(*answer.headers, trace.header()))
