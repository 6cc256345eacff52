"""Start the Ray Serve application on two replicas, predict until both have answered, stop it."""

import json
import re
import time
from http.client import HTTPConnection
from pathlib import Path

import ray
from ray import serve

from deploy.ray.app import app

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "models/digits/example.json").read_bytes()
PATIENCE = 60.0


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 8000})
        serve.run(app)
        replicas = set[str]()
        end = time.monotonic() + PATIENCE
        while len(replicas) < 2:
            assert time.monotonic() < end, f"only {replicas} answered"
            predict()
            replicas |= {answered()} - {""}
        print(f"{len(replicas)} replicas answered")
    finally:
        serve.shutdown()
        ray.shutdown()


def predict() -> None:
    answer = json.loads(ask("POST", "/v2/models/digits/infer", EXAMPLE))
    assert answer["outputs"][0]["data"][0].endswith(":7:7"), answer


def answered() -> str:
    """Return the start time of the process that answers, or nothing if it has not predicted."""
    page = ask("GET", "/metrics").decode()
    found = re.search(r'quantserve_requests_total{[^}]*"digits"[^}]*outcome="ok"[^}]*} (\S+)', page)
    started = re.search(r"^process_start_time_seconds (\S+)", page, re.MULTILINE)
    return started[1] if started and found and float(found[1]) > 0 else ""


def ask(method: str, path: str, body: bytes = b"") -> bytes:
    connection = HTTPConnection("127.0.0.1", 8000, timeout=30)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return content


if __name__ == "__main__":
    main()
