"""The spans of a request to a language model, created once it has ended; imported only if tracing
is on.

    generate smollm2     from the request's start to the end of its last answer
      receive            until its prompts are queued
      prefill            of an answer: until its first token; waiting for a row is a part of it
      decode             of an answer: from its first token to its last, an event for each piece
"""

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from service.core.events import TextAnswered
from service.tracing.spans import OURS

MOST_EVENTS = 128
"""Events of one answer, evenly chosen: receivers refuse spans with many more."""


def trace_text(
    tracer: Tracer, event: TextAnswered, parent: Context, at: Callable[[float], int]
) -> Span:
    """Create the span of a request. ``at`` converts a time of ``perf_counter`` to nanoseconds since
    the epoch."""
    name = f"generate {event.model}" if event.version else "generate"
    span = tracer.start_span(name, parent, SpanKind.SERVER, start_time=at(event.started))
    if not span.is_recording():
        return span
    span.set_attributes(
        {
            "quantserve.model": event.model,
            "quantserve.version": event.version,
            "quantserve.protocol": event.protocol,
            "quantserve.request_id": event.id,
            "quantserve.outcome": event.outcome.value,
            "quantserve.prompt_tokens": sum(event.prompts),
            "quantserve.generation_tokens": sum(p[-1][1] for p in event.pieces if p),
        }
    )
    if event.outcome in OURS:
        span.set_status(StatusCode.ERROR, event.error)
    inside = set_span_in_context(span)
    received = tracer.start_span("receive", inside, start_time=at(event.started))
    received.end(at(event.admitted or event.ended))
    for place, pieces in enumerate(event.pieces if event.admitted else ()):
        _answer(tracer, event, inside, place, pieces, at)
    span.end(at(event.ended))
    return span


def _answer(
    tracer: Tracer,
    event: TextAnswered,
    inside: Context,
    place: int,
    pieces: Sequence[tuple[float, int]],
    at: Callable[[float], int],
) -> None:
    first = pieces[0][0] if pieces else event.ended
    numbers = {"quantserve.answer": place, "quantserve.prompt_tokens": event.prompts[place]}
    prefill = tracer.start_span("prefill", inside, start_time=at(event.admitted))
    prefill.set_attributes(numbers)
    prefill.end(at(first))
    if not pieces:
        return
    decode = tracer.start_span("decode", inside, start_time=at(first))
    decode.set_attributes({"quantserve.answer": place, "quantserve.tokens": pieces[-1][1]})
    for moment, tokens in _some(pieces):
        decode.add_event("tokens", {"quantserve.tokens": tokens}, at(moment))
    decode.end(at(pieces[-1][0]))


def _some(pieces: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    """Return at most ``MOST_EVENTS`` items, including the first and the last."""
    if len(pieces) <= MOST_EVENTS:
        return pieces
    step = (len(pieces) - 1) / (MOST_EVENTS - 1)
    return [pieces[round(place * step)] for place in range(MOST_EVENTS)]
