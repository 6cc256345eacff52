"""Finds the best way to run a loaded graph on this machine: probes it, plans, pads, tries threads.

probe.py and padding.py measure, plan.py decides; this module connects them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter, thread_time

from service.config.model import BatchingConfig, InstancesConfig, ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import LoadFailed, QuantserveError
from service.core.extent import Extent, measured_extent
from service.core.lone import LoneCores
from service.core.padding import Padding
from service.core.tensors import Arrays, Signature
from service.engine.loading.all_cores import lone_session, try_threads
from service.engine.loading.axes import Counts, counts_taken
from service.engine.loading.padding import padding_deviation, padding_for
from service.engine.loading.plan import (
    Plan,
    choose_mode,
    choose_plan,
    inline_rows,
    named_apart,
    not_a_batch,
    percent,
    wants_lone,
    wants_threads,
)
from service.engine.loading.probe import ENOUGH_ROWS, SAME, Probe, probe
from service.engine.loading.samples import generated_rows
from service.engine.onnx_file.summary import GraphSummary, Precision
from service.engine.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Tuned:
    """How to run a graph, and with which session.

    ``signature`` is the session's, with the batch axis as measured. ``padding`` is None if nothing
    is padded. ``extent`` is the size up to which inputs run in the event loop; None if the plan
    does not use the event loop. ``lone`` is a second session for lone requests, if there is one.
    """

    session: Session
    signature: Signature
    plan: Plan
    probe: Probe
    padding: Padding | None
    extent: Extent | None = None
    lone: Session | None = None


def tune(
    session: Session,
    summary: GraphSummary,
    rows: Sequence[Arrays],
    note: str,
    config: ModelConfig,
    cores: int,
    room_for_lone: bool = False,
    lone_cores: LoneCores | None = None,
) -> Tuned:
    """Warm up, measure, and choose how to run a graph.

    ``rows`` are requests of one row. If there are none, ``note`` says why. ``room_for_lone`` is
    True if memory allows a second session for lone requests. It runs on ``lone_cores``, None for
    ``cores``.

    Raises:
        LoadFailed: the model cannot run its own rows, or model.toml does not fit it.
    """
    batching, precision = config.batching, summary.precision
    signature, found, padding = session.signature, Probe(), None
    mode = BatchingMode.REQUESTS
    if batching.padding:
        padding = padding_for(batching.padding, signature)
    if rows:
        found = _probe(session, rows, batching)
        signature = _settled(signature, precision, found, batching)
        mode, note = choose_mode(signature, precision, found, batching)
    if padding is not None:
        padding, why = _choose_padding(session, rows, mode, padding, batching)
        note = "; ".join(filter(None, (note, why)))
    shaped = rows and measured_extent(signature, rows[0], 1, padding)
    unbounded = summary.unbounded or ("" if shaped else "an input without a shape")
    plan = choose_plan(mode, note, found, batching, config.instances, cores, unbounded)
    extent = None
    if plan.inline:
        most = inline_rows(plan, found, batching)
        extent = measured_extent(signature, rows[0], most, padding)
    lone = None
    lone_cores = lone_cores or LoneCores(cores)
    if rows and wants_lone(plan, found, config.instances, lone_cores.threads, room_for_lone):
        lone, plan = _try_lone(session, plan, rows, config.instances, lone_cores)
    elif wants_threads(plan, found, config.instances, cores):
        session, plan = try_threads(session, plan, rows, cores)
    return Tuned(session, signature, plan, found, padding, extent, lone)


def _try_lone(
    session: Session,
    plan: Plan,
    rows: Sequence[Arrays],
    instances: InstancesConfig,
    cores: LoneCores,
) -> tuple[Session | None, Plan]:
    asked = instances.lone_threads
    cores = replace(cores, threads=asked or cores.threads)
    lone, why = lone_session(session, rows, cores, measured=asked is None)
    note = "; ".join(filter(None, (plan.note, why)))
    threads = lone.options.threads if lone is not None else 0
    return lone, replace(plan, note=note, lone_threads=threads)


def settled_signature(session: Session, precision: Precision) -> Signature:
    """Return the signature of a graph. If the file leaves the batch axis open, find it by running
    generated rows.

    Raises:
        LoadFailed: the graph fails on rows that it ran before.
    """
    signature = session.signature
    if signature.declared is not None:
        return signature
    rows, _ = generated_rows(signature, {}, session.run)
    if not rows:
        return signature
    batching = BatchingConfig(max_batch_size=ENOUGH_ROWS)
    found = _probe(session, rows, batching)
    return _settled(signature, precision, found, batching)


def _settled(
    signature: Signature, precision: Precision, found: Probe, batching: BatchingConfig
) -> Signature:
    batch = not not_a_batch(signature, precision, found, batching)
    loose = found.counts is Counts.BROADCAST and batching.combine != "always"
    return signature.settled(batch and not loose, batch and loose)


def _probe(session: Session, rows: Sequence[Arrays], batching: BatchingConfig) -> Probe:
    clock = thread_time if session.options.threads == 1 else perf_counter
    signature, counts, limit = session.signature, Counts.UNTRIED, 1
    try:
        if signature.declared is None:
            counts = counts_taken(session.run, signature, rows)
        if signature.declared:
            limit = batching.run_rows
        elif counts is Counts.EQUAL or (
            counts is Counts.BROADCAST
            and (batching.combine == "always" or not named_apart(signature))
        ):
            limit = max(2, batching.run_rows)  # at least two, to test whether they are rows
        found = probe(session.run, signature.outputs, rows, limit, clock)
    except QuantserveError as failure:
        raise LoadFailed(str(failure)) from failure
    return replace(found, counts=counts)


def _choose_padding(
    session: Session,
    rows: Sequence[Arrays],
    mode: BatchingMode,
    padding: Padding,
    batching: BatchingConfig,
) -> tuple[Padding | None, str]:
    """Return the padding, and a warning or "". Return None and the reason if padding has no use
    or changes answers."""
    if mode is not BatchingMode.COMBINE:
        return None, "not padded, since requests do not share runs"
    try:
        moved = padding_deviation(session.run, session.signature.outputs, rows[0], padding)
    except QuantserveError as error:
        return None, f"not padded: {error}"
    if moved <= max(SAME, batching.tolerance):
        return padding, ""
    answers = f"answers change by {percent(moved)} when padded"
    if batching.combine == "always":
        return padding, f"{answers}; padded anyway, as model.toml says"
    return None, f"{answers}: not padded"
