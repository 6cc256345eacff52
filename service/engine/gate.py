"""Measures what the gate judges: a loaded version against its golden set, the memory budget and
the version that serves. Blocks; is called in a thread.
"""

from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from service.config import GateConfig
from service.core.batching import BatchingMode
from service.core.checks import Check
from service.core.errors import QuantserveError
from service.core.gate import Tolerance, compare, default_tolerance, memory_check, speed_check
from service.core.tensors import Arrays
from service.engine.golden import GoldenSet
from service.engine.hardware import resident_bytes
from service.engine.loading import Loaded
from service.engine.memory import trim_heap
from service.engine.probe import run_together

ROUNDS = 5
SECONDS = 0.3
"""Two versions are timed in turn, at least so often and for so long, but no longer than MOST."""
MOST_SECONDS = 10.0


def golden_checks(loaded: Loaded, golden: GoldenSet, config: GateConfig) -> list[Check]:
    """Run the golden rows and compare the answers; one check for each figure of each output."""
    try:
        got = answers(loaded, golden.inputs)
    except QuantserveError as error:
        return [Check("golden", "run", str(error), "answers", False)]
    checks = []
    for spec, array in zip(loaded.signature.outputs, got, strict=True):
        reference = golden.outputs.get(spec.name)
        if reference is None:
            continue
        told = config.outputs.get(spec.name)
        tolerance = Tolerance(**told.model_dump()) if told else default_tolerance(reference)
        labels = golden.labels.get(spec.name, golden.labels.get(""))
        checks += compare(spec.name, array, reference, labels, tolerance)
    return checks


def answers(loaded: Loaded, inputs: Arrays) -> Arrays:
    """The answers of a version to many rows, in runs such as serving makes.

    Raises:
        QuantserveError: a run fails.
    """
    run, plan = loaded.instances[0].run, loaded.plan
    if not loaded.signature.batchable:
        return run(inputs, None)
    whole = plan.mode is BatchingMode.REQUESTS
    alone = plan.mode is BatchingMode.ROWS or (whole and loaded.probe.failure)
    size = 1 if alone else loaded.policy.max_rows if whole else plan.preferred_rows
    total = min(len(array) for array in inputs)
    parts: list[Arrays] = []
    for start in range(0, total, size):
        rows = tuple(array[start : start + size] for array in inputs)
        if whole:
            parts.append(run(rows, None))
        else:
            single = [tuple(a[i : i + 1] for a in rows) for i in range(len(rows[0]))]
            parts += run_together(run, single, loaded.policy)
    return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))


def budget_check(budget: int) -> Check:
    """Whether the process, with the new version in it, is inside its budget of bytes."""
    trim_heap()
    return memory_check(resident_bytes(), budget)


def speed_against(live: Loaded, new: Loaded, golden: GoldenSet, max_slowdown: float) -> Check:
    """Time both versions on the golden rows, in turn, so that what else runs hits both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    started = perf_counter()
    for number in count():
        spent = perf_counter() - started
        if spent > MOST_SECONDS or (number >= ROUNDS and spent > SECONDS):
            break
        for version, taken in zip((live, new), times, strict=True):
            before = perf_counter()
            answers(version, golden.inputs)
            taken.append(perf_counter() - before)
    return speed_check(median(times[0]), median(times[1]), max_slowdown)


def room_check(version: Path, budget: int) -> Check:
    """Whether a version can fit the budget at all: it will hold at least its files. Loading one
    that does not would be stopped by the system, and all other models with it.
    """
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    measure = "bytes of the process with the version's files"
    held = resident_bytes() + size
    return Check("memory", measure, float(held), float(budget), held <= budget)
