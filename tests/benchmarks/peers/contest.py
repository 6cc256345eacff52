"""Runs the servers alternately: each is started, its answers are verified, and it is timed. Every
other round is in reverse order, so that a machine that slows down favours no server."""

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from service.engine.cpu.kernels import Kernels, kernels_for
from service.engine.onnx_file.snapshot import ModelFile
from tests.benchmarks import processes, wrk
from tests.benchmarks.peers.forms import Form
from tests.benchmarks.peers.installed import installed
from tests.benchmarks.peers.models import Subject, build
from tests.benchmarks.peers.peers import Peer
from tests.benchmarks.protocol import Protocol
from tests.benchmarks.servers import ServerError, ask, free_port, says_yes, started
from tests.benchmarks.wrk import Load, LoadError

SAMPLES = 16
READY_WITHIN = 120.0
WARM_UP_CLIENTS, WARM_UP_SECONDS = 8, 1
APART = 0.1
"""How far an answer may be from the row's own, relative to the largest value: the scales of a
dynamically quantized model depend on the rows that share a run. The rows of the others are much
further away, which is verified as well."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk. ``exact`` is True if all answers equal those of single rows."""

    peer: str
    subject: str
    wire: Protocol
    clients: int
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Contest:
    """What to measure. ``failed`` collects descriptions of failures."""

    peers: tuple[Peer, ...]
    subjects: tuple[Subject, ...]
    clients: tuple[int, ...]
    rounds: int
    seconds: int
    folder: Path
    failed: Callable[[str], None]

    def run(self) -> Iterator[Measured]:
        """Measure everything."""
        for number in range(self.rounds):
            for subject in self.subjects:
                prepare(subject, self.folder / "models")
                for peer in self.peers[:: 1 if number % 2 == 0 else -1]:
                    try:
                        yield from self._one(peer, subject)
                    except (ServerError, LoadError, OSError) as error:
                        self.failed(f"{peer.name}, {subject.name}: {error}")

    def _one(self, peer: Peer, subject: Subject) -> Iterator[Measured]:
        models, port = self.folder / "models", free_port()
        bin_ = installed(peer.name, peer.packages, self.folder)
        command = peer.command(bin_, subject, models, port)
        first = peer.forms[0]
        probe = first.request(subject, subject.row(0))

        def ready() -> bool:
            if peer.health and not says_yes(port, peer.health):
                return False
            try:
                ask(peer.name, port, first.path, probe)
            except (OSError, ServerError, http.client.HTTPException):
                return False
            return True

        log = self.folder / f"{peer.name}-{subject.name}.log".replace(" ", "-")
        environment = peer.environment(subject, models, port)
        with started(peer.name, command, environment, log, ready, READY_WITHIN) as pid:
            for form in peer.forms:
                exact = verified(peer.name, port, form, subject, models)
                yield from self._timed(peer, subject, form, port, pid, exact)

    def _timed(
        self, peer: Peer, subject: Subject, form: Form, port: int, pid: int, exact: bool
    ) -> Iterator[Measured]:
        message = form.request(subject, subject.row(1))
        body = self.folder / "body"
        body.write_bytes(message.content)
        load = Load(f"http://127.0.0.1:{port}{form.path}", body, message)
        wrk.run(load, WARM_UP_CLIENTS, WARM_UP_SECONDS)
        for clients in self.clients:
            before = processes.cpu_seconds(pid)
            found = wrk.run(load, clients, self.seconds)
            spent = processes.cpu_seconds(pid) - before
            yield Measured(
                peer.name, subject.name, form.wire, clients,
                found.requests / found.seconds, found.p50_ms, found.p99_ms,
                1000 * spent / found.requests, processes.memory(pid).rss_mb, exact,
            )  # fmt: skip


def prepare(subject: Subject, folder: Path) -> None:
    """Write the model as a file, and as a folder that quantserve serves."""
    file = build(subject, folder)
    version = folder / f"models-{subject.name}" / "m" / "1"
    if not version.exists():
        version.mkdir(parents=True)
        (version / "model.onnx").hardlink_to(file)
        (version.parent / "model.toml").write_text('[batching]\ncombine = "always"\n')


def verified(name: str, port: int, form: Form, subject: Subject, models: Path) -> bool:
    """Compare the answers to concurrent rows with those of the model itself; return whether all
    were equal.

    Raises:
        ServerError: an answer is not that of its row.
    """
    rows = [subject.row(seed) for seed in range(SAMPLES)]
    file = models / f"{subject.name}.onnx"
    wanted = [_direct(file, row) for row in rows]

    def got(row: dict[str, np.ndarray]) -> np.ndarray:
        return form.answer(subject, ask(name, port, form.path, form.request(subject, row)))

    with ThreadPoolExecutor(SAMPLES) as pool:
        answers = list(pool.map(got, rows))
    size = max(float(np.abs(each).max()) for each in wanted)
    for number, answer in enumerate(answers):
        distances = [float(np.abs(answer - each).max()) for each in wanted]
        nearest = int(np.argmin(distances))
        if nearest != number and distances[number] > APART * size:
            raise ServerError(f"{name}: the answer to row {number} is that of row {nearest}")
        if distances[number] > APART * size:
            raise ServerError(f"{name}: the answer to row {number} is off by {distances[number]:g}")
    pairs = zip(answers, wanted, strict=True)
    return all(np.allclose(answer, want, 1e-3, 1e-4) for answer, want in pairs)


def _direct(file: Path, row: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    kernels_for(ModelFile(file), Kernels.DEFAULT).apply(options)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    first: np.ndarray = session.run(None, row)[0]
    return first.ravel()
