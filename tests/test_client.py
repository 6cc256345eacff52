"""The client, with a small server that answers like the admin routes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.client import Client, Unreachable, model_path, parse_events
from service.commands.progress import change
from service.core.errors import ConfigError
from tests.patience import PATIENCE

CHECK = {
    "name": "golden", "measure": "cosine", "output": "probabilities", "measured": 0.42,
    "required": 0.9, "passed": False,
}  # fmt: skip


class Admin(BaseHTTPRequestHandler):
    """A swap of "good" takes two phases, a swap of "bad" fails the gate. No other models exist."""

    protocol_version = "HTTP/1.1"
    asked = threading.Event()
    told = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200 if "/good/" in self.path else 404)
        self.send_header("Connection", "close")
        self.end_headers()
        if "/good/" not in self.path:
            return
        self.wfile.write(b": hello\n\n")
        self.asked.wait(PATIENCE)
        for phase, status in [("load", "started"), ("load", "done"), ("golden", "done")]:
            data = {"model": "good", "version": 2, "phase": phase, "status": status, "seconds": 0.5}
            self.wfile.write(f"event: phase\ndata: {json.dumps(data)}\n\n".encode())
        self.told.set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.set()
        if "/good/" in self.path:
            self.told.wait(PATIENCE)
            seen = self.headers.get("Authorization", "")
            done = {"model": "good", "from_version": 1, "to_version": body["version"]}
            self._answer(200, {**done, "seconds": 1.25, "note": seen, "checks": []})
        elif "/bad/" in self.path:
            self._answer(409, {"error": "version 2 is not fit to serve", "checks": [CHECK]})
        elif "/odd/" in self.path:
            self._answer(200, ["no object"])
        else:
            self.close_connection = True  # without an answer

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_server_sent_events_are_parsed_by_the_standard() -> None:
    stream = b'\xef: comment\n\ndata: {"a":\ndata: 1}\n\nevent:phase\r\ndata:{}\r\n\r\nevent: x\n\n'
    found = list(parse_events(stream.splitlines(keepends=True)))
    assert found == [("message", {"a": 1}), ("phase", {})]


def test_a_swap_reports_each_phase(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert change(Client(url, "sesame"), "good", "swap", {"version": 2}) == 0
    out = capsys.readouterr().out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("  v")] == [
        "load",
        "golden",
    ]
    assert "0.500 s" in out
    assert out.splitlines()[-1].split() == ["good", "1", "2", "1.250", "s", "Bearer", "sesame"]


def test_the_gate_reports_each_check(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert change(Client(url), "bad", "swap", {"version": 2}) == 1
    told = capsys.readouterr().err
    assert "(409): version 2 is not fit" in told
    (line,) = [line for line in told.splitlines() if line.startswith("golden")]
    assert line.split() == ["golden:", "cosine", "probabilities", "0.42", "0.9", "FAILED"]


def test_a_server_that_closes_the_connection_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable, match=url):
        Client(url).post(model_path("gone", "swap"), {})


def test_answers_that_are_not_json_objects_are_wrapped(url: str) -> None:
    assert Client(url).post(model_path("odd", "swap"), {}) == {"answer": ["no object"]}


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:99999"])
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="address|Port"):
        Client(address).post("/x", {})


def test_a_model_name_is_escaped_in_the_path() -> None:
    assert model_path("a/../b", "swap") == "/admin/models/a%2F..%2Fb/swap"


def test_a_client_does_not_show_its_key() -> None:
    assert "sesame" not in repr(Client("http://x", "sesame"))
