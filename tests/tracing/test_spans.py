"""Traces of a real server, as a real receiver of OTLP over HTTP gets them, and none when off."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

import numpy as np
import pytest
import tritonclient.grpc as triton
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.patience import PATIENCE, until
from tests.system.process import ROOT, running

EXAMPLE = (ROOT / "models/digits/example.json").read_bytes()
PATH = "/v2/models/digits/infer"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"
PHASES = ["receive", "decode", "queue", "compute", "encode"]


class Receiver:
    """The received spans, and the address to send them to."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def wait(self, name: str, count: int = 1) -> list[Span]:
        """Wait for this many spans of a name; return them."""
        until(lambda: len(self.named(name)) >= count, f"no {count} spans {name}")
        return self.named(name)

    def children(self, parent: Span) -> list[Span]:
        found = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """An OTLP receiver of a few lines."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    receiver.spans += scope.spans
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def address(receiver: Receiver) -> Iterator[str]:
    """A server that sends traces to the receiver at short intervals."""
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with patch.dict(os.environ, given), running(ROOT / "models", "--tracing") as server:
        yield server.address


def post(
    address: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Send a request; return the status and the traceresponse of the answer."""
    with closing(HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        answer.read()
    return answer.status, answer.getheader("traceresponse", "")


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def of(receiver: Receiver, traceresponse: str) -> Span:
    """Return the span that a response names."""
    _, trace, span, _ = traceresponse.split("-")

    def found() -> list[Span]:
        named = (trace, span)
        return [s for s in receiver.spans if (s.trace_id.hex(), s.span_id.hex()) == named]

    until(found, f"no span {traceresponse}")
    return found()[0]


@pytest.mark.parametrize("way", ["direct", "through ASGI", "read elsewhere"])
def test_a_request_is_a_span_in_the_clients_trace_with_a_child_for_each_phase(
    receiver: Receiver, address: str, way: str
) -> None:
    body, headers = EXAMPLE, {"traceparent": PARENT}
    if way == "read elsewhere":
        body += b" " * 40_000
    elif way != "direct":
        # A compressed body is handled by the ASGI application.
        body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
    status, answered = post(address, PATH, body, headers)
    assert status == 200 and answered.startswith(PARENT[:36])
    span = of(receiver, answered)
    assert span.name == "infer digits" and span.kind == Span.SPAN_KIND_SERVER
    assert span.parent_span_id.hex() == PARENT[36:52]
    assert attributes(span)["quantserve.version"] == 2
    assert attributes(span)["quantserve.outcome"] == "ok"
    children = receiver.children(span)
    assert [child.name for child in children] == PHASES
    moments = [(each.start_time_unix_nano, each.end_time_unix_nano) for each in children]
    assert all(began <= ended for began, ended in moments)
    assert moments[0][0] >= span.start_time_unix_nano
    assert moments[-1][1] <= span.end_time_unix_nano
    later = [began for began, _ in moments[1:]]
    # Each begins when the one before has ended, within the rounding of clocks.
    assert all(a[1] <= b + 1_000_000 for a, b in zip(moments, later, strict=False))
    assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 60


def test_without_a_context_a_trace_begins(receiver: Receiver, address: str) -> None:
    _, answered = post(address, PATH, EXAMPLE)
    assert not of(receiver, answered).parent_span_id


def test_compute_spans_link_to_the_batch_and_the_batch_to_its_requests(
    receiver: Receiver, address: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, address, PATH, EXAMPLE) for _ in range(40)]
    spans = [of(receiver, each.result()[1]) for each in answers]
    batches = {span.span_id: span for span in receiver.named("batch digits")}
    for span in spans:
        (compute,) = [c for c in receiver.children(span) if c.name == "compute"]
        (link,) = compute.links
        batch = batches[link.span_id]
        assert span.span_id in [each.span_id for each in batch.links]
        assert attributes(batch)["quantserve.batch.requests"] == len(batch.links)


def test_a_request_that_fails_has_a_span_without_a_batch(receiver: Receiver, address: str) -> None:
    status, answered = post(address, PATH, b"{}")
    assert status == 400
    span = of(receiver, answered)
    assert [child.name for child in receiver.children(span)] == ["receive", "decode", "encode"]
    assert attributes(span)["quantserve.outcome"] == "invalid"


def test_unsampled_traces_are_not_sent(receiver: Receiver, address: str) -> None:
    other = UNSAMPLED.replace("0af7", "0bf7")
    status, answered = post(address, PATH, EXAMPLE, {"traceparent": other})
    assert status == 200 and answered.endswith("-00")
    _, later = post(address, PATH, EXAMPLE)
    of(receiver, later)
    assert other[3:35] not in [span.trace_id.hex() for span in receiver.spans]


def test_histograms_have_exemplars_of_traces(receiver: Receiver, address: str) -> None:
    _, answered = post(address, PATH, EXAMPLE)
    of(receiver, answered)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with closing(HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics", headers=accept)
        text = connection.getresponse().read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    known = {span.trace_id.hex() for span in receiver.spans}
    for name in ("request", "queue", "compute"):
        samples = families[f"quantserve_{name}_duration_seconds"].samples
        exemplars = [sample.exemplar for sample in samples if sample.exemplar]
        assert exemplars and all(each.labels["trace_id"] in known for each in exemplars)
        assert all(
            each.exemplar.value <= float(each.labels["le"]) for each in samples if each.exemplar
        )


def test_remaining_spans_are_sent_at_the_stop() -> None:
    with receiving() as last:
        slow = {"OTEL_EXPORTER_OTLP_ENDPOINT": last.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        with patch.dict(os.environ, slow), running(ROOT / "models", "--tracing") as server:
            post(server.address, PATH, EXAMPLE)
            assert not last.spans
        assert last.named("infer digits")


def test_a_request_over_grpc_is_a_trace_in_its_context(receiver: Receiver) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    flags = ("--tracing", "--grpc-port", "0")
    with patch.dict(os.environ, given), running(ROOT / "models", *flags) as server:
        by_grpc = json.loads(server.printed.splitlines()[-1])["grpc"]
        image = triton.InferInput("image", [1, 1, 28, 28], "FP32")
        image.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))
        with triton.InferenceServerClient(by_grpc) as client:
            client.infer("digits", [image], headers={"traceparent": PARENT})
        until(
            lambda: any(attributes(s).get("quantserve.protocol") == "grpc" for s in receiver.spans)
        )
    [span] = [s for s in receiver.spans if attributes(s).get("quantserve.protocol") == "grpc"]
    assert span.trace_id.hex() == PARENT.split("-")[1]
    assert span.parent_span_id.hex() == PARENT.split("-")[2]
    assert [each.name for each in receiver.children(span)] == PHASES


def test_when_off_nothing_is_imported_and_no_header_is_added() -> None:
    code = (
        "import sys, service.commands.serve, service.app; print('opentelemetry.sdk' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
    with running(ROOT / "models") as server:
        assert post(server.address, PATH, EXAMPLE, {"traceparent": PARENT}) == (200, "")


def test_without_the_packages_the_error_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from service.cli import main; "
        "sys.exit(main(['serve', '--tracing', '--port', '0']))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and "pip install 'quantserve[tracing]'" in found.stderr
