"""What the peers' model code shares: settings, session, batches. Imports numpy and ONNX Runtime
only, since it runs in each peer's own environment.

The environment variable ``PEER`` has a JSON object: ``model`` (a path), ``inputs`` (dtype and width
of each), ``output``, ``width``, ``threads``, ``batch`` (rows), ``wait_ms`` and ``port``.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

SETTINGS = json.loads(os.environ["PEER"])
INPUTS: dict[str, tuple[str, int]] = {
    name: (dtype, width) for name, (dtype, width) in SETTINGS["inputs"].items()
}
OUTPUT: str = SETTINGS["output"]
BATCH: int = SETTINGS["batch"]
WAIT_MS: int = SETTINGS["wait_ms"]
PORT: int = SETTINGS["port"]


def free_port() -> int:
    """A port for what a peer serves beside its models."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def session() -> onnxruntime.InferenceSession:
    """ONNX Runtime's defaults on so many threads, which sleep while there is no work: those that
    spin take the cores of the server."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = SETTINGS["threads"]
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        SETTINGS["model"], options, providers=["CPUExecutionProvider"]
    )


def from_lists(requests: Sequence[Mapping[str, list[float]]]) -> dict[str, np.ndarray]:
    """One batch of requests, each a list of numbers for each input."""
    return {
        name: np.array([request[name] for request in requests], dtype)
        for name, (dtype, _) in INPUTS.items()
    }


def from_bytes(bodies: Sequence[bytes]) -> dict[str, np.ndarray]:
    """One batch of requests, each the raw values of all inputs behind each other."""
    rows = np.frombuffer(b"".join(bodies), np.uint8).reshape(len(bodies), -1)
    feed, at = {}, 0
    for name, (dtype, width) in INPUTS.items():
        size = np.dtype(dtype).itemsize * width
        feed[name] = np.ascontiguousarray(rows[:, at : at + size]).view(dtype)
        at += size
    return feed
