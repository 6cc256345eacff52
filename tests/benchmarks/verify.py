"""Checks the answers of a server against a direct `session.run`, before it is timed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from service.engine.cpu.kernels import Kernels
from tests.benchmarks import protocol
from tests.benchmarks.compute import load
from tests.benchmarks.models import ModelError, Served, inputs
from tests.benchmarks.protocol import Message, Protocol, Tensors
from tests.benchmarks.servers import Server, ServerError

SAMPLES = 24
AT_ONCE = 8
RTOL = 1e-3
ATOL = 1e-4


def expected(
    served: Served, samples: int, kernels: Kernels | None = None
) -> list[tuple[Tensors, Tensors]]:
    """Return different inputs, and the answers of the model to each, one row at a time."""
    session = load(served.graph, threads=1, kernels=kernels)
    names = [output.name for output in session.get_outputs()]
    pairs = []
    for seed in range(samples):
        feed = inputs(served.graph, seed)
        pairs.append((feed, dict(zip(names, session.run(names, feed), strict=True))))
    _require_difference([outputs for _, outputs in pairs])
    return pairs


def verify(server: Server, wire: Protocol, pairs: list[tuple[Tensors, Tensors]]) -> None:
    """Request all rows concurrently, so that batches form and errors of batching appear."""
    names = tuple(pairs[0][1])

    def check(pair: tuple[Tensors, Tensors]) -> None:
        feed, wanted = pair
        reply = server.ask(protocol.request(wire, feed, names))
        _compare(server, wire, protocol.decode(reply), wanted)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(check, pairs))


def verify_constant(server: Server, question: Message, constant: Message) -> None:
    if server.ask(question) != constant:
        raise ServerError(f"{server.name} does not answer its constant")


def _require_difference(answers: list[Tensors]) -> None:
    """Check that the answers differ; else a server that mixes up rows would not be noticed."""
    first, *others = answers
    for answer in others:
        if all(np.allclose(answer[name], first[name], RTOL, ATOL) for name in first):
            raise ModelError("two inputs have the same answer: nothing could be verified")


def _compare(server: Server, wire: Protocol, got: Tensors, wanted: Tensors) -> None:
    if got.keys() != wanted.keys():
        raise ServerError(f"{server.name}, {wire}: wanted {list(wanted)}, got {list(got)}")
    for name, array in wanted.items():
        if got[name].shape != array.shape:
            shapes = f"wanted {array.shape}, got {got[name].shape}"
            raise ServerError(f'{server.name}, {wire}: output "{name}": {shapes}')
        if not np.allclose(got[name], array, RTOL, ATOL):
            worst = float(np.abs(got[name] - array).max())
            raise ServerError(f'{server.name}, {wire}: output "{name}" is off by {worst:g}')
