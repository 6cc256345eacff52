"""Traces of requests to a language model, as a real OTLP receiver gets them."""

import json
import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.tracing.text import MOST_EVENTS
from tests.engine.generation import tiny_llama
from tests.patience import until
from tests.system.process import running
from tests.tracing.test_spans import PARENT, Receiver, attributes, post, receiving


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, str]]:
    folder = tmp_path_factory.mktemp("models")
    tiny_llama.write(folder / "tiny/1", context=512)
    with receiving() as receiver:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with patch.dict(os.environ, given), running(folder, "--tracing") as server:
            yield receiver, server.address


def ask(address: str, **asked: object) -> int:
    body = {"model": "tiny", "prompt": [5] * 9, "max_tokens": 6, "ignore_eos": True} | asked
    headers = {"traceparent": PARENT, "x-request-id": str(asked.get("user", "a"))}
    return post(address, "/v1/completions", json.dumps(body).encode(), headers)[0]


def span_of(receiver: Receiver, name: str, request: str) -> Span:
    def found() -> list[Span]:
        return [
            span
            for span in receiver.named(name)
            if attributes(span).get("quantserve.request_id") == request
        ]

    until(found, f"no span of {request}: {[attributes(each) for each in receiver.spans]}")
    return found()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_events_of_the_clients_trace(traced: tuple[Receiver, str], stream: bool) -> None:
    receiver, address = traced
    name = f"stream {stream}".replace(" ", "-")
    assert ask(address, user=name, stream=stream, n=2) == 200
    span = span_of(receiver, "generate tiny", name)
    assert span.parent_span_id.hex() == PARENT[36:52] and span.kind == Span.SPAN_KIND_SERVER
    found = attributes(span)
    assert found["quantserve.outcome"] == "ok" and found["quantserve.protocol"] == "openai"
    assert (found["quantserve.prompt_tokens"], found["quantserve.generation_tokens"]) == (18, 12)
    children = receiver.children(span)
    assert sorted(each.name for each in children) == ["decode"] * 2 + ["prefill"] * 2 + ["receive"]
    for decode in (each for each in children if each.name == "decode"):
        tokens = [each.attributes[0].value.int_value for each in decode.events]
        assert tokens == sorted(tokens) and tokens[-1] == 6 and 1 <= len(tokens) <= 6
        times = [each.time_unix_nano for each in decode.events]
        assert decode.start_time_unix_nano == times[0] and decode.end_time_unix_nano == times[-1]
        assert span.start_time_unix_nano < times[0] <= times[-1] <= span.end_time_unix_nano


def test_long_answers_have_a_bounded_number_of_events(traced: tuple[Receiver, str]) -> None:
    receiver, address = traced
    assert ask(address, user="long", max_tokens=400) == 200
    (decode,) = [
        each
        for each in receiver.children(span_of(receiver, "generate tiny", "long"))
        if each.name == "decode"
    ]
    assert len(decode.events) == MOST_EVENTS
    assert decode.events[-1].attributes[0].value.int_value == 400


def test_refused_requests_have_no_answer_spans(traced: tuple[Receiver, str]) -> None:
    receiver, address = traced
    assert ask(address, user="refused", max_tokens=5000) == 400
    span = span_of(receiver, "generate tiny", "refused")
    assert attributes(span)["quantserve.outcome"] == "rejected" or span.status.code in (
        Status.STATUS_CODE_UNSET,
        Status.STATUS_CODE_ERROR,
    )
    assert [each.name for each in receiver.children(span)] == ["receive"]
