"""The spans of requests, and their export.

Spans are created after a request has ended, from the times of its steps:

    infer digits         from the request's start to the last byte of its answer
      receive            until the body has arrived
      decode             until the request is in the queue
      queue              until the batch begins
      compute            the run of the batch, with a link to the batch's span
      encode             the answer is written
    batch digits         a separate trace, with links to the requests in the batch
    generate smollm2     a request to a language model, created in text.py
"""

from collections.abc import Sequence
from time import perf_counter, time, time_ns

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.api.dataplane.headers import Headers
from service.api.transport.exchange import Exchange
from service.core.errors import TransientError
from service.core.events import BatchExecuted, Event, Outcome, TextAnswered
from service.core.exemplars import Exemplars, Traced
from service.core.tensors import Arrays
from service.engine.runtime.replies import Reply

CONTEXT = ("traceparent", "tracestate")
OURS = (Outcome.FAILED, Outcome.REJECTED, Outcome.EXPIRED)
"""Outcomes that count as errors of the server, by the conventions for server spans."""


class Tracing:
    """Creates and exports spans; an observer of batches."""

    def __init__(self, exemplars: Exemplars, processor: SpanProcessor | None = None) -> None:
        given = {"service.name": "quantserve", "service.version": __version__}
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have priority.
        self._provider = TracerProvider(resource=Resource(given).merge(Resource.create()))
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("quantserve", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._exemplars = exemplars
        self._epoch = time_ns() - round(perf_counter() * 1e9)

    def __call__(self, event: Event) -> None:
        """Finish the traces of the requests of a batch, or trace a request to a language model."""
        if type(event) is TextAnswered:
            self._in_text(event)
        if type(event) is not BatchExecuted or not event.entries:
            return  # steps of language models have no entries: their requests are not traced
        replies = [_whole(entry.reply) for entry in event.entries]
        known = [
            (reply.trace, queued)
            for reply, queued in zip(replies, event.queued, strict=True)
            if isinstance(reply, TracedReply) and reply.trace.span.is_recording()
        ]
        if known:
            self._batch(event, known)

    def _in_text(self, event: TextAnswered) -> None:
        from service.tracing.text import trace_text

        parent = self._propagator.extract(dict(event.context))
        span = trace_text(self._tracer, event, parent, self._at)
        if event.version and span.is_recording():
            labels = ("request", event.model, event.version, event.protocol)
            self._exemplars.put(labels, _traced(span)._replace(value=event.ended - event.started))

    def close(self) -> None:
        """Export the remaining spans. Blocks."""
        self._provider.shutdown()

    def begin(self, exchange: Exchange, headers: Headers) -> "Trace":
        """Start the trace of a request, in the client's context if it sent one."""
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in CONTEXT
            if name.encode() in headers
        }
        span = self._tracer.start_span(
            f"infer {exchange.target.model}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            start_time=self._at(exchange.started),
        )
        return Trace(exchange, span, perf_counter())

    def end(self, trace: "Trace") -> None:
        """Handle the end of a request: close its span, or wait until its batch is reported."""
        if not trace.expects_batch:
            self._close(trace)

    def _batch(self, event: BatchExecuted, known: Sequence[tuple["Trace", float]]) -> None:
        timing = event.timing
        # Answers are written before the batch is reported: the batch ended with the first answer.
        ended = min((trace.replied for trace, _ in known if trace.replied), default=perf_counter())
        began = ended - timing.total
        links = [Link(trace.span.get_span_context()) for trace, _ in known]
        span = self._tracer.start_span(
            f"batch {event.model}", None, links=links, start_time=self._at(began)
        )
        span.set_attributes(
            {
                "quantserve.model": event.model,
                "quantserve.version": event.version,
                "quantserve.batch.rows": event.rows,
                "quantserve.batch.requests": len(event.queued),
                "quantserve.batch.padding": timing.padding,
                "quantserve.batch.failed": event.failed,
            }
        )
        link = Link(span.get_span_context())
        for trace, queued in known:
            trace.compute.append((began - queued, began, ended, link))
            traced, labels = _traced(trace.span), (event.model, event.version)
            self._exemplars.put(("queue", *labels), traced._replace(value=queued))
            self._exemplars.put(("compute", *labels), traced._replace(value=timing.compute))
            trace.expects_batch &= not trace.replied
            if trace.ended and not trace.expects_batch:
                self._close(trace)
        span.end(self._at(ended))

    def _close(self, trace: "Trace") -> None:
        span, exchange, ended = trace.span, trace.exchange, trace.ended
        if not span.is_recording():
            return  # not sampled
        arrived = trace.compute[0][0] if trace.compute else trace.encode[0] or ended
        self._child(span, "receive", exchange.started, trace.admitted)
        self._child(span, "decode", trace.admitted, max(arrived, trace.admitted))
        for came, began, done, link in trace.compute:
            self._child(span, "queue", came, began)
            self._child(span, "compute", began, done, link)
        if trace.encode[0]:
            self._child(span, "encode", *trace.encode)
        version = exchange.version
        span.set_attributes(
            {
                "quantserve.model": exchange.target.model,
                "quantserve.version": version.number if version else 0,
                "quantserve.protocol": exchange.target.protocol,
                "quantserve.request_id": exchange.request_id.decode(),
                "quantserve.outcome": exchange.outcome.value,
            }
        )
        if exchange.outcome in OURS:
            span.set_status(StatusCode.ERROR, exchange.error)
        if version is not None:
            labels = ("request", version.model, version.number, exchange.target.protocol)
            self._exemplars.put(labels, _traced(span)._replace(value=ended - exchange.started))
        span.end(self._at(ended))

    def _child(self, parent: Span, name: str, began: float, ended: float, *links: Link) -> None:
        span = self._tracer.start_span(
            name, set_span_in_context(parent), links=links, start_time=self._at(began)
        )
        span.end(self._at(ended))

    def _at(self, moment: float) -> int:
        """Convert a time of ``perf_counter`` to nanoseconds since the epoch."""
        return self._epoch + round(moment * 1e9)


class Trace:
    """A request's span and the times of its steps, by ``perf_counter``; 0 for a step not reached.

    ``compute`` has one (arrived, began, ended, link to the batch) for each batch of the request:
    several if its rows run one by one.
    """

    __slots__ = (
        "admitted", "compute", "encode", "ended", "exchange", "expects_batch", "replied", "span",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, span: Span, admitted: float) -> None:
        self.exchange = exchange
        self.span = span
        self.admitted = admitted
        self.replied = 0.0
        self.expects_batch = False
        self.compute: list[tuple[float, float, float, Link]] = []
        self.encode = (0.0, 0.0)
        self.ended = 0.0

    def header(self) -> tuple[bytes, bytes]:
        """Return the header with the trace context, for clients with or without a context."""
        context = self.span.get_span_context()
        text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        return (b"traceresponse", text.encode())


class TracedReply:
    """A reply that records when its answer arrived."""

    __slots__ = ("_reply", "trace")

    def __init__(self, reply: Reply, trace: Trace) -> None:
        self._reply = reply
        self.trace = trace

    def done(self) -> bool:
        return self._reply.done()

    def set_result(self, outputs: Arrays) -> None:
        self.trace.replied, self.trace.expects_batch = perf_counter(), True
        self._reply.set_result(outputs)

    def set_exception(self, error: BaseException) -> None:
        # A request that was refused while it waited was in no batch.
        self.trace.replied = perf_counter()
        self.trace.expects_batch = not isinstance(error, TransientError)
        self._reply.set_exception(error)


def _traced(span: Span) -> Traced:
    context = span.get_span_context()
    return Traced(0.0, time(), f"{context.trace_id:032x}", f"{context.span_id:016x}")


def _whole(reply: object) -> object:
    """Return the reply of the whole request, for a part of it or for a run shared by equal
    requests."""
    while (whole := getattr(reply, "whole", None)) is not None:
        reply = whole
    return reply
