"""Decides how a model is run, from its file, what the probe measured and what model.toml says."""

from dataclasses import dataclass
from math import isinf

from service.config import BatchingConfig, InstancesConfig
from service.core.batching import BatchingMode
from service.core.tensors import Signature
from service.engine.graph import Precision
from service.engine.probe import Probe

INLINE_SECONDS = 0.001
"""A run up to this long stays in the event loop: it is in the order of the way to a thread and
back, and holds no other request up for longer than a batch's own answers take to write."""
LONG_SECONDS = 0.002
"""From here on a row is worth several threads, if they make it faster."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run. ``note`` says, for people, why it is not run at its best, if so."""

    mode: BatchingMode
    preferred_rows: int
    instances: int
    threads: int
    inline: bool
    note: str


def choose_mode(
    signature: Signature, precision: Precision, probe: Probe, batching: BatchingConfig
) -> tuple[BatchingMode, str]:
    """Whether rows of different requests may share a run, and the reason where they may not."""
    if not signature.batchable:
        return BatchingMode.REQUESTS, "an input has a first axis of fixed length"
    if batching.combine == "never":
        return BatchingMode.REQUESTS, "model.toml says never to combine"
    moves = probe.deviation > batching.tolerance
    answers = f"answers move by {probe.deviation:.2g} with the rows beside them"
    if isinf(probe.deviation):
        answers = "answers have another shape when rows share a run"
    if probe.failure:
        independent = probe.combined and probe.equivariant and not moves
        return BatchingMode.ROWS if independent else BatchingMode.REQUESTS, probe.failure
    if not moves:
        return BatchingMode.COMBINE, ""
    if batching.combine == "always":
        return BatchingMode.COMBINE, f"{answers}; combined all the same, as model.toml says"
    if precision.dynamic and probe.equivariant:
        return BatchingMode.ROWS, f"{answers} (one scale for the whole batch)"
    # Not the known cause: the first axis may be time, or a set. Taking it apart could be wrong.
    return BatchingMode.REQUESTS, answers


def choose_plan(
    mode: BatchingMode,
    note: str,
    probe: Probe,
    batching: BatchingConfig,
    instances: InstancesConfig,
    cores: int,
) -> Plan:
    """Batch size, instances and threads: what model.toml leaves open comes from the times.

    ``probe`` was taken with one thread.
    """
    rows = 1
    if mode is BatchingMode.COMBINE:
        rows = min(batching.preferred_batch_size or probe.preferred_rows, batching.max_batch_size)
    one_run = probe.seconds.get(rows, rows * probe.row_seconds)
    chosen = instances.count or instances.threads
    inline = not chosen and bool(probe.seconds) and one_run <= INLINE_SECONDS
    if inline:
        return Plan(mode, rows, 1, 1, True, note)
    threads = instances.threads or 1
    count = instances.count or max(1, cores // threads)
    return Plan(mode, rows, count, threads, False, note)


def wants_threads(plan: Plan, probe: Probe, instances: InstancesConfig, cores: int) -> bool:
    """Whether it is worth measuring one instance with all cores."""
    open_choice = not plan.inline and instances.count is None and instances.threads is None
    combines = plan.mode is not BatchingMode.ROWS
    return open_choice and combines and cores > 1 and probe.row_seconds >= LONG_SECONDS
