"""From a version's folder to something that can serve: read, load, probe, plan. Blocks; is called
in a thread.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from service.config import ModelConfig, PaddingConfig
from service.core.batching import BatchingMode, BatchPolicy, Padding
from service.core.errors import LoadFailed, QuantserveError
from service.core.tensors import Arrays, Signature
from service.engine.execution import Instance
from service.engine.folder import GOLDEN_FILE, MODEL_FILE, golden_file
from service.engine.golden import read_golden
from service.engine.graph import GraphSummary, Precision, check_external_files, summarise
from service.engine.hardware import resident_bytes
from service.engine.memory import trim_heap
from service.engine.paths import leads_outside
from service.engine.plan import Plan, choose_mode, choose_plan, wants_threads
from service.engine.probe import Probe, probe
from service.engine.samples import generated_rows, single_rows
from service.engine.session import Session, SessionOptions

WORTH_THREADS = 1.3
"""Threads must make a row this much faster; else as many rows side by side do more."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that is loaded and warm.

    ``memory_bytes`` is by how much the process grew; ``file_bytes`` counts the model's files.
    """

    signature: Signature
    instances: tuple[Instance, ...]
    policy: BatchPolicy
    plan: Plan
    probe: Probe
    precision: Precision
    sha256: str
    file_bytes: int
    memory_bytes: int
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A version that ONNX Runtime has taken, and that has not run yet.

    ``memory_before`` is what the process held before, in bytes.
    """

    folder: Path
    session: Session
    summary: GraphSummary
    policy: BatchPolicy
    seconds: float
    memory_before: int


def load(folder: Path, config: ModelConfig, cores: int) -> Loaded:
    """Open the version in a folder ``models/<name>/<version>`` and warm it up.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    return warm_up(open_version(folder, config), config, cores)


def open_version(folder: Path, config: ModelConfig) -> Opened:
    """Read a version's files and give them to ONNX Runtime.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    started, memory = perf_counter(), resident_bytes()
    path = folder / MODEL_FILE
    if not path.is_file():
        raise LoadFailed(f"there is no {MODEL_FILE} in the folder of the version")
    if leads_outside(folder.parent.parent, path):
        raise LoadFailed(f"{MODEL_FILE} leads outside the model repository")
    summary = summarise(path)
    check_external_files(summary, folder)
    session = Session(path, SessionOptions(config.instances.threads or 1))
    policy = _policy(config, session.signature)
    return Opened(folder, session, summary, policy, perf_counter() - started, memory)


def warm_up(opened: Opened, config: ModelConfig, cores: int) -> Loaded:
    """Run a version until it is warm, find out what a batch does, and decide how it is run.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    started, session, policy = perf_counter(), opened.session, opened.policy
    path = opened.folder / MODEL_FILE
    rows, note = _rows(session, golden_file(opened.folder), config)
    found = _probe(session, rows, policy)
    if not note:
        precision = opened.summary.precision
        mode, note = choose_mode(session.signature, precision, found, config.batching)
    else:
        mode = BatchingMode.REQUESTS
    plan = choose_plan(mode, note, found, config.batching, config.instances, cores)
    session, plan = _try_threads(path, session, plan, found, rows, config, cores)
    policy = replace(policy, mode=plan.mode, preferred_rows=plan.preferred_rows)
    instances = _instances(path, session, plan, config, policy)
    files = [path, *(opened.folder / name for name in opened.summary.external_files)]
    trim_heap()  # what the probe has left is not the model's
    return Loaded(
        session.signature,
        instances,
        policy,
        plan,
        found,
        opened.summary.precision,
        _sha256(path),
        sum(file.stat().st_size for file in files),
        max(0, resident_bytes() - opened.memory_before),
        opened.seconds + perf_counter() - started,
    )


def _policy(config: ModelConfig, signature: Signature) -> BatchPolicy:
    batching = config.batching
    known = {spec.name for spec in signature.outputs}
    for name in config.outputs:
        if name not in known:
            raise LoadFailed(f'model.toml: the model has no output "{name}"')
    return BatchPolicy(
        max_rows=batching.max_batch_size,
        max_delay=batching.max_queue_delay,
        max_queue=batching.max_queue_size,
        timeout=batching.timeout,
        padding=padding_for(batching.padding, signature) if batching.padding else None,
    )


def padding_for(config: PaddingConfig, signature: Signature) -> Padding:
    """What to fill and where to cut; an output's axis is cut where it shares its symbolic name
    with an axis of an input that is filled.

    Raises:
        LoadFailed: the model has no such input.
    """
    names = [spec.name for spec in signature.inputs]
    for name in config.values:
        if name not in names:
            raise LoadFailed(f'model.toml: batching.padding names "{name}", which is no input')
    sources = {
        dim: (index, axis)
        for index, spec in enumerate(signature.inputs)
        for axis, dim in enumerate(spec.shape)
        if axis and isinstance(dim, str) and spec.name in config.values
    }
    return Padding(
        tuple(sorted(config.buckets)),
        tuple(config.values.get(name) for name in names),
        tuple(tuple(not isinstance(d, int) for d in s.shape[1:]) for s in signature.inputs),
        tuple(
            tuple((axis, *sources[d]) for axis, d in enumerate(s.shape) if axis and d in sources)
            for s in signature.outputs
        ),
    )


def _rows(session: Session, golden: Path, config: ModelConfig) -> tuple[list[Arrays], str]:
    """Requests of one row to warm up with; the note says why there are none, if so."""
    signature = session.signature
    known = read_golden(golden, signature)
    if known is not None:
        return (single_rows(known.inputs) if signature.batchable else [known.inputs]), ""
    rows, error = generated_rows(signature, config.probe.dims, session.run)
    if rows:
        return rows, ""
    return [], f"no rows to try it with could be made up ({error}); add {GOLDEN_FILE}"


def _probe(session: Session, rows: list[Arrays], policy: BatchPolicy) -> Probe:
    """Warm up and measure.

    Raises:
        LoadFailed: the model cannot run its own rows.
    """
    if not rows:
        return Probe()
    if not session.signature.batchable:
        rows, policy = rows[:1], replace(policy, max_rows=1)
    try:
        return probe(session.run, rows, policy)
    except QuantserveError as failure:
        raise LoadFailed(f"warm-up: {failure}") from failure


def _try_threads(
    path: Path,
    session: Session,
    plan: Plan,
    found: Probe,
    rows: list[Arrays],
    config: ModelConfig,
    cores: int,
) -> tuple[Session, Plan]:
    """A session with all cores for one run, where that makes a long row enough faster."""
    if not wants_threads(plan, found, config.instances, cores):
        return session, plan
    wide = Session(path, SessionOptions(cores))
    fast = probe(wide.run, rows[:1], BatchPolicy(max_rows=1)).row_seconds
    if found.row_seconds < WORTH_THREADS * fast:
        return session, plan
    return wide, replace(plan, instances=1, threads=cores)


def _instances(
    path: Path, session: Session, plan: Plan, config: ModelConfig, policy: BatchPolicy
) -> tuple[Instance, ...]:
    sessions = [session] * plan.instances
    if config.instances.kind == "sessions":
        more = range(plan.instances - 1)
        sessions = [session, *(Session(path, SessionOptions(plan.threads)) for _ in more)]
    return tuple(Instance(each.run, policy) for each in sessions)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
