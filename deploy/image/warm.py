"""Serve every model of a folder once, in the build of the image, and ask for everything.

    python warm.py models

It shows that what was taken out is not missed, and leaves the compiled form of every module that
serving imports, those of the standard library included: the base image has none, and a container
with a read-only root file system could not keep them.
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
"""Not one that a build which shares the network of its machine could meet a server at."""
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
    """Ask over gRPC, with an empty message."""
    with grpc.insecure_channel(f"127.0.0.1:{PORT + 1}") as channel:
        assert channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b"", timeout=PATIENCE)


def predict(model: Path, body: bytes) -> None:
    """Let each version serve in turn, and ask it."""
    for number in sorted(int(each.name) for each in model.iterdir() if each.name.isdigit()):
        swap = json.dumps({"version": number}).encode()
        ask("POST", f"/admin/models/{model.name}/swap", swap)
        answer = json.loads(ask("POST", f"/v2/models/{model.name}/infer", body))
        assert answer["model_version"] == str(number), answer
        assert answer["outputs"][0]["data"], answer
        ask("POST", f"/v2/models/{model.name}/infer", body, "gzip")


def wait(server: subprocess.Popen[bytes]) -> None:
    """Until the server is ready."""
    end = time.monotonic() + PATIENCE
    while subprocess.run(
        ["quantserve", "ready", "--url", f"http://127.0.0.1:{PORT}"], check=False
    ).returncode:
        assert server.poll() is None, "the server did not start"
        assert time.monotonic() < end, "the server did not become ready"
        time.sleep(0.2)


def ask(method: str, path: str, body: bytes = b"", encoding: str = "identity") -> bytes:
    """The answer's body; it must be a good one."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    headers = {"Accept-Encoding": encoding, "X-API-Key": KEY}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, f"{method} {path}: {answer.status} {content[:200]!r}"
    return content


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
