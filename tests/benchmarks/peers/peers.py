"""The servers: the packages, command and API of each.

Each batches up to the same number of rows and waits at most 2 ms for them, has one copy of the
model, and the number of threads that was best for it. quantserve chooses these itself. ``combine``
lets rows of several requests share a run, although the answers of a dynamically quantized model
then depend on each other, as on all other servers.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers.forms import Batchable, Form, Inference, Lists, Raw
from tests.benchmarks.peers.models import Subject
from tests.benchmarks.protocol import Protocol

APPS = Path(__file__).with_name("apps")
WAIT_MS = 2
V2 = (Inference(Protocol.JSON), Inference(Protocol.BINARY))
RUNTIME = ("onnxruntime", "numpy")

Command = Callable[[Path, Subject, Path, int], list[str]]
"""From the environment's ``bin``, the model, the folder it is in, and the port."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to measure."""

    name: str
    packages: tuple[str, ...]
    """Empty: those of this environment."""
    command: Command
    forms: tuple[Form, ...]
    health: str = ""
    """What answers 200 once the whole server is ready; empty: its first answer tells."""

    def environment(self, subject: Subject, folder: Path, port: int) -> dict[str, str]:
        """Return the environment variables of its model code; see ``apps/shared.py``."""
        settings = {
            "model": str(folder / f"{subject.name}.onnx"), "inputs": subject.inputs,
            "output": subject.output, "width": subject.width, "threads": subject.threads,
            "batch": subject.batch, "wait_ms": WAIT_MS, "port": port,
        }  # fmt: skip
        return {"PEER": json.dumps(settings), "BENTOML_DO_NOT_TRACK": "True"}


def _quantserve(*options: str) -> Command:
    def command(bin_: Path, subject: Subject, folder: Path, port: int) -> list[str]:
        models = folder / f"models-{subject.name}"
        start = [sys.executable, "-m", "service", "serve", "--models", str(models)]
        return [*start, "--port", str(port), "--log-level", "error", *options]

    return command


def _mosec(*options: str) -> Command:
    def command(bin_: Path, subject: Subject, folder: Path, port: int) -> list[str]:
        start = [str(bin_ / "python"), str(APPS / "mosec_app.py")]
        return [*start, "--address", "127.0.0.1", "--port", str(port), *options]

    return command


def _app(name: str) -> Command:
    return lambda bin_, *_: [str(bin_ / "python"), str(APPS / name)]


def _bentoml(bin_: Path, subject: Subject, folder: Path, port: int) -> list[str]:
    start = [str(bin_ / "bentoml"), "serve", "bentoml_app:Service", "--working-dir", str(APPS)]
    return [*start, "--host", "127.0.0.1", "--port", str(port)]


QUANTSERVE = "quantserve"
READY = "/v2/health/ready"
PEERS = (
    Peer(QUANTSERVE, (), _quantserve(), V2, READY),
    Peer("quantserve, 2 workers", (), _quantserve("--workers", "2"), V2, READY),
    Peer("mosec", ("mosec==0.9.8", *RUNTIME), _mosec(), (Lists("/inference"),)),
    Peer("mosec, raw", ("mosec==0.9.8", *RUNTIME), _mosec("--raw"), (Raw("/inference"),)),
    Peer("Triton", ("nvidia-pytriton==0.7.0", *RUNTIME), _app("triton_start.py"), V2),
    # With uvloop 0.22 its worker process does not start.
    Peer("MLServer", ("mlserver==1.7.1", "uvloop<0.22", *RUNTIME),
         _app("mlserver_start.py"), V2[:1]),
    Peer("BentoML", ("bentoml==1.4.40", *RUNTIME), _bentoml, (Batchable(),)),
    Peer("LitServe", ("litserve==0.2.19", *RUNTIME), _app("litserve_app.py"), (Lists("/predict"),)),
    Peer(
        "FastAPI", ("fastapi", "uvicorn[standard]", *RUNTIME), _app("fastapi_app.py"),
        (Lists("/predict"),),
    ),
)  # fmt: skip
