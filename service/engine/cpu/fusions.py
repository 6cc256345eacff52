"""Fusions of ONNX Runtime that are slower than the operators that they replace, on this machine.
Each is measured once per process.

ONNX Runtime replaces an Add and the LayerNormalization behind it by SkipLayerNormalization. Its
kernel in ONNX Runtime 1.32 took 101 us for [64, 384], where the two operators took 15 us; in 1.20
it took 20 us against 22 us. Transformers have two of them in each layer.
"""

import struct
from collections.abc import Iterator
from functools import cache
from time import perf_counter

import numpy as np

from service.engine.cpu.trial_session import trial_session
from service.engine.onnx_file.writing import FLOAT, model_of, node, tensor, value

SKIP_LAYER_NORM = "SkipLayerNormFusion"
ROWS, WIDTH = 64, 256
ROUNDS = 15
WORSE = 1.3
"""A fusion is disabled if it takes this many times as long as its parts."""
NORMALISING = ({"LayerNormalization"}, {"ReduceMean", "Sqrt"})
"""The fusion may apply to LayerNormalization, and to its decomposition."""


def slow_fusions(operators: frozenset[str]) -> tuple[str, ...]:
    """Return the names of the ONNX Runtime optimizers to disable for a graph with these
    operators."""
    if not any(each <= operators for each in NORMALISING):
        return ()
    return (SKIP_LAYER_NORM,) if costs_more(*_seconds()) else ()


def costs_more(fused: float, apart: float) -> bool:
    """Return whether to disable a fusion, given the seconds with it and without it."""
    return fused > WORSE * apart


@cache
def _seconds() -> tuple[float, float]:
    """Measure the shortest run in seconds with the fusion, and without it. The runs alternate, so
    that other load on the machine affects both."""
    try:
        model = model_of("normalisation", _parts(), 17)
        sessions = [trial_session(model, disabled) for disabled in ((), (SKIP_LAYER_NORM,))]
        feed = {name: np.ones((1, ROWS, WIDTH), np.float32) for name in ("x", "y")}
        taken: tuple[list[float], ...] = ([], [])
        for _ in range(ROUNDS):
            for session, times in zip(sessions, taken, strict=True):
                started = perf_counter()
                session.run(None, feed)
                times.append(perf_counter() - started)
    except Exception:  # a build without the operator has no such fusion either
        return 0.0, 0.0
    return min(taken[0]), min(taken[1])


def _parts() -> Iterator[bytes]:
    shape = ("n", ROWS, WIDTH)
    for name in ("x", "y"):
        yield value(11, name, FLOAT, shape)
    for name, number in (("scale", 1.0), ("bias", 0.0)):
        yield tensor(name, FLOAT, (WIDTH,), struct.pack("<f", number) * WIDTH)
    yield node("Add", ("x", "y"), "sum")
    yield node("LayerNormalization", ("sum", "scale", "bias"), "z")
    yield value(12, "z", FLOAT, shape)
