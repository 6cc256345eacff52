"""Sessions of small graphs, and programs in an interpreter of their own."""

import os
import subprocess
import sys
from pathlib import Path

import onnx

from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs


def session(model: onnx.ModelProto, folder: Path, threads: int = 1) -> Session:
    return Session(graphs.save(model, folder) / "model.onnx", SessionOptions(threads))


def identity(kind: int, shape: graphs.Shape = ("batch", 3)) -> onnx.ModelProto:
    ends = (graphs.value("x", shape, kind), graphs.value("y", shape, kind))
    return graphs.model([graphs.node("Identity", "x", to="y")], ends[:1], ends[1:])


def python(program: str, home: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(home), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
