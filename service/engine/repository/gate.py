"""The measurements of the gate: a loaded version against its golden set, the memory budget and the
version that serves. Blocks; is called in a thread.
"""

from functools import lru_cache
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from service.config.model import GateConfig
from service.core.batching import BatchingMode
from service.core.checks import Check
from service.core.errors import LoadFailed, QuantserveError
from service.core.gate import (
    Tolerance,
    compare,
    default_tolerance,
    memory_check,
    rows_check,
    speed_check,
)
from service.core.names import GOLDEN_FILE
from service.core.tensors import Array, Arrays
from service.engine.host.heap import trim_heap
from service.engine.host.resources import resident_bytes
from service.engine.loading.loaded import Loaded
from service.engine.loading.probe import run_together
from service.engine.onnx_file.summary import file_size, summarise
from service.engine.runtime.execution import Control, Places
from service.engine.storage.golden import GoldenSet

if TYPE_CHECKING:
    from service.engine.generation.language_model import LanguageModel

ROUNDS = 5
SECONDS = 0.3
"""Two versions are timed alternately for at least so many rounds and seconds, and for at most
``MOST_SECONDS``."""
MOST_SECONDS = 10.0


class Abandoned(Exception):  # noqa: N818 - no error: no client waits for a result
    """The gate was stopped because the server shuts down."""


def golden_checks(
    loaded: Loaded, golden: GoldenSet | None, config: GateConfig, control: Control
) -> list[Check]:
    """Run the golden rows and compare the answers; return one check for each figure of each output.
    An output of model.toml that the golden set lacks is a failed check.

    Raises:
        Abandoned: ``control`` was told to stop meanwhile.
    """
    references = golden.outputs if golden else {}
    checks = [
        Check("golden", "", f'model.toml names output "{name}", {GOLDEN_FILE} lacks it', "", False)
        for name in config.outputs
        if name not in references
    ]
    if golden is None:
        return checks
    try:
        got = answers(loaded, golden.inputs, control)
    except QuantserveError as error:
        return [*checks, Check("golden", "", str(error), "", False)]
    for spec, array in zip(loaded.signature.outputs, got, strict=True):
        if spec.name in references:
            checks += _compare(spec.name, array, golden, config)
    return checks


def _compare(output: str, got: Array, golden: GoldenSet, config: GateConfig) -> list[Check]:
    told, reference = config.outputs.get(output), golden.outputs[output]
    tolerance = Tolerance(**told.model_dump()) if told else default_tolerance(reference)
    labels = golden.labels.get(output, golden.labels.get(""))
    return compare(output, got, reference, labels, tolerance)


def answers(loaded: Loaded, inputs: Arrays, control: Control) -> Arrays:
    """Return the answers of a version to many rows, in runs of the same kind as in serving.

    Raises:
        QuantserveError: a run fails.
        Abandoned: ``control`` was told to stop meanwhile.
    """
    instance, plan = loaded.instances[0], loaded.plan

    def run(inputs: Arrays, outputs: Places) -> Arrays:
        return instance.run(inputs, outputs, control)

    signature = loaded.signature
    if not (signature.batchable or (signature.loose and signature.common_rows(inputs))):
        return run(inputs, None)
    whole = plan.mode is BatchingMode.REQUESTS
    alone = plan.mode is BatchingMode.ROWS or (whole and loaded.probe.failure)
    size = 1 if alone else loaded.policy.max_rows if whole else plan.preferred_rows
    total = min(len(array) for array in inputs)
    parts: list[Arrays] = []
    for start in range(0, total, size):
        if control.terminate:
            raise Abandoned
        rows = tuple(array[start : start + size] for array in inputs)
        if whole:
            parts.append(run(rows, None))
        else:
            single = [tuple(a[i : i + 1] for a in rows) for i in range(len(rows[0]))]
            parts += run_together(run, single, loaded.policy)
    return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))


def run_rows(live: Loaded, new: Loaded, control: Control) -> Check | None:
    """Run the generated rows of the live version on the new version.

    Returns None if there are no such rows. Returns None also if the inputs of the new version
    differ: the signature check reports that.

    Raises:
        Abandoned: ``control`` was told to stop meanwhile.
    """
    wanted = [(spec.name, spec.datatype) for spec in new.signature.inputs]
    given = {spec.name: (place, spec) for place, spec in enumerate(live.signature.inputs)}
    if any(name not in given or given[name][1].datatype != kind for name, kind in wanted):
        return None
    ran, error = 0, ""
    for row in live.rows:
        if control.terminate:
            raise Abandoned
        try:
            inputs = tuple(row[given[name][0]] for name, _ in wanted)
            new.instances[0].run(inputs, None, control)
            ran += 1
        except QuantserveError as failure:
            error = error or str(failure)
    return rows_check(ran, len(live.rows), error) if live.rows else None


def language_golden_checks(
    language: "LanguageModel", path: Path, config: GateConfig, control: Control
) -> list[Check]:
    """Run a language model over the texts of its golden set, with every next token prescribed.

    Raises:
        LoadFailed: the set is not usable.
        ExecutionFailed: the model fails on a text of the set.
        Abandoned: ``control`` was told to stop meanwhile.
    """
    # Imported here: servers without language models do not need these modules.
    from service.core.language_gate import language_checks
    from service.engine.generation.teacher import force
    from service.engine.storage.language_golden import read_language_golden

    golden = read_language_golden(path, language.config.vocab_size, language.context)
    try:
        got = force(language.decoders[0], golden.tokens, lambda: not control.terminate)
    except InterruptedError:
        raise Abandoned from None
    return language_checks(
        got, golden.forced, config.max_perplexity_ratio, config.min_top1_agreement
    )


def budget_check(budget: int, promised: int = 0) -> Check:
    """Check that the process, with the new version loaded, is within its budget of bytes.
    ``promised`` are bytes by which caches may still grow."""
    trim_heap()
    return memory_check(resident_bytes(), budget, promised)


def speed_against(
    live: Loaded, new: Loaded, golden: GoldenSet, max_slowdown: float, control: Control
) -> Check:
    """Time both versions on the golden rows, alternately, so that other load on the machine affects
    both alike.

    Raises:
        Abandoned: ``control`` was told to stop meanwhile.
    """
    times: tuple[list[float], list[float]] = ([], [])
    started = perf_counter()
    for number in count():
        spent = perf_counter() - started
        if spent > MOST_SECONDS or (number >= ROUNDS and spent > SECONDS):
            break
        for version, taken in zip((live, new), times, strict=True):
            before = perf_counter()
            answers(version, golden.inputs, control)
            taken.append(perf_counter() - before)
    return speed_check(median(times[0]), median(times[1]), max_slowdown)


def room_check(model: Path, budget: int, promised: int = 0) -> Check:
    """Check that a model file can fit the budget at all.

    The version needs at least the bytes of the file and of its external data, and caches may grow
    by ``promised`` bytes. If a version that does not fit were loaded, the system would kill the
    process, and all other models with it. The graph, which names the external data, is not read if
    the file alone is too large.
    """
    measure = "bytes of the process with the version's files"
    resident, own = resident_bytes() + promised, file_size(model) or 0
    held = resident + (own if resident + own > budget else _size(model))
    return Check("memory", measure, float(held), float(budget), held <= budget)


def room_left(model: Path, budget: int, promised: int = 0) -> int:
    """Return the bytes by which a process may grow while it loads a version.

    The ``promised`` bytes of caches are kept free. The size of the files is added: during loading
    the process holds a copy of the files beside the session.
    """
    return max(0, budget - promised - resident_bytes()) + _size(model)


def _size(model: Path) -> int:
    try:
        found = model.stat()
        names = _external_files(model, (found.st_mtime_ns, found.st_size, found.st_ino))
    except (LoadFailed, OSError):  # the load will report the error
        names = ()
    files = [model, *(model.parent / name for name in names)]
    return sum(file_size(file) or 0 for file in files)


@lru_cache(maxsize=64)
def _external_files(model: Path, _: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the names of a model's external files.

    They are needed several times during one load, and each time the whole file would be read, so
    they are cached. The second argument (time, size, inode) makes a changed file a new cache key.
    """
    return summarise(model).external_files
