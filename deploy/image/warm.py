"""Serve every model of a folder once during the build of the image, and request every page.

    python warm.py models

This checks that no needed file was removed. It also writes the compiled form of every module that
serving imports, including the standard library: the base image has no compiled modules, and a
container with a read-only root file system could not store them.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import grpc

PORT = 18237
"""A port that is unlikely to be in use if the build shares the network of its machine."""
PATIENCE = 120.0
KEY = secrets.token_hex(32)
PAGES = (
    "/docs",
    "/openapi.json",
    "/metrics",
    "/v2",
    "/v2/models/stats",
    "/v2/health/live",
)


def main(models: Path) -> int:
    server = subprocess.Popen(
        [
            "quantserve",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(PORT),
            "--grpc-port",
            str(PORT + 1),
            "--models",
            str(models),
        ],
        env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY},
    )
    try:
        wait(server)
        for page in PAGES:
            ask("GET", page)
        call("ServerReady")
        call("ServerMetadata")
        for example in sorted(models.glob("*/example.json")):
            predict(example.parent, example.read_bytes())
    finally:
        server.send_signal(signal.SIGTERM)
    return server.wait(30)


def call(name: str) -> None:
    """Make a gRPC call with an empty message."""
    with grpc.insecure_channel(f"127.0.0.1:{PORT + 1}") as channel:
        assert channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b"", timeout=PATIENCE)


def predict(model: Path, body: bytes) -> None:
    """Swap to each version and send it a request."""
    for number in sorted(int(each.name) for each in model.iterdir() if each.name.isdigit()):
        swap = json.dumps({"version": number}).encode()
        ask("POST", f"/admin/models/{model.name}/swap", swap)
        answer = json.loads(ask("POST", f"/v2/models/{model.name}/infer", body))
        assert answer["model_version"] == str(number), answer
        assert answer["outputs"][0]["data"], answer
        ask("POST", f"/v2/models/{model.name}/infer", body, "gzip")


def wait(server: subprocess.Popen[bytes]) -> None:
    """Wait until the server is ready."""
    end = time.monotonic() + PATIENCE
    while subprocess.run(
        ["quantserve", "ready", "--url", f"http://127.0.0.1:{PORT}"], check=False
    ).returncode:
        assert server.poll() is None, "the server did not start"
        assert time.monotonic() < end, "the server did not become ready"
        time.sleep(0.2)


def ask(method: str, path: str, body: bytes = b"", encoding: str = "identity") -> bytes:
    """Send a request. Return the body of its answer, which must have status 200."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    headers = {"Accept-Encoding": encoding, "X-API-Key": KEY}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, f"{method} {path}: {answer.status} {content[:200]!r}"
    return content


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
