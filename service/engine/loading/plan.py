"""Decides how to run a model, from its file, the probe's measurements and model.toml."""

import re
from dataclasses import dataclass
from math import isinf

from service.config.model import BatchingConfig, InstancesConfig
from service.core.batching import BatchingMode
from service.core.tensors import Signature
from service.engine.loading.axes import Counts
from service.engine.loading.probe import SAME, Probe
from service.engine.onnx_file.summary import Precision

INLINE_SECONDS = 0.001
"""A batch that takes longer runs in a thread: in the event loop it would delay other requests."""
SOLE_SECONDS = 0.004
"""The same limit for a process with one core, while no other model is in use. A thread would take
the core from the event loop too, and requests would be run in more and smaller batches."""
INLINE_ROW_SECONDS = 0.0001
"""A batch with a longer time per row runs in a thread too, if there are several cores: a second
core then gains more than a thread costs."""
MADE_UP = re.compile(r"unk__\d+|.*_dynamic_axes_\d+|[su]\d+|DynamicDimension\.\d+|unknown\w*", re.I)
"""Axis names that tf2onnx, PyTorch's two exporters and Paddle generate, a new one for each axis."""
MOST_NAMES = 3
"""The maximum number of inputs that a note names."""
FAST_ENOUGH = 0.85
"""The largest batch size within ``SOLE_SECONDS``, larger or smaller than the preferred one, is used
if it gives at least this share of its rows/s: each run costs an iteration of the event loop."""
LONG_SECONDS = 0.002
"""If one row takes at least this time, several threads are tried for it."""
EFFICIENT = 0.7
"""Minimum efficiency of several threads on one row. Below this, concurrent runs give more
rows/s."""
LONE_GAIN = 1.2
"""Minimum speedup of a lone row for which a second session is kept in memory."""
HELD_CORES = 1.3
"""If concurrent runs are slower by this factor, other programs are assumed to use the cores."""
HARMLESS = 0.8
"""Minimum speedup of a second session that is kept while other programs use the cores."""
LONE_SHARE = 1 / 3
"""Maximum share of the memory that a process may use with a second session for lone requests, so
that this session does not prevent the load of other models."""
SESSION_FACTOR = 2
"""Most bytes of memory that a session needs while it is loaded, for each byte of its files."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a model.

    ``inline``: runs execute in the event loop. With ``if_sole`` they do so only while no other
    model is in use, because they are so long that they would delay its requests. ``note`` is for
    the operator: for example, why rows are not combined or padded.
    ``lone_threads`` are the threads of a run in the second session; 0 if there is none. That
    session is for runs that begin while no other request runs or waits.
    """

    mode: BatchingMode
    preferred_rows: int
    instances: int
    threads: int
    inline: bool
    note: str
    lone_threads: int = 0
    if_sole: bool = False


def choose_mode(
    signature: Signature, precision: Precision, probe: Probe, batching: BatchingConfig
) -> tuple[BatchingMode, str]:
    """Decide whether rows of different requests may share a run; return the reason if they may not.

    Only the effect of the other rows counts. Kernels for another batch size may round differently,
    but that does not make an answer depend on the other rows.
    """
    apart = not_a_batch(signature, precision, probe, batching)
    if apart:
        return BatchingMode.REQUESTS, apart
    if batching.combine == "never":
        return BatchingMode.REQUESTS, "model.toml says never to combine"
    moves = _moves(probe, batching)
    if probe.failure:
        independent = probe.row_per_row and probe.equivariant and probe.repeatable and not moves
        return BatchingMode.ROWS if independent else BatchingMode.REQUESTS, probe.failure
    if not moves and probe.repeatable and not probe.alike:
        return BatchingMode.COMBINE, ""
    answers = _what_moves(probe)
    if batching.combine == "always":
        return BatchingMode.COMBINE, f"{answers}; combined anyway, as model.toml says"
    if precision.dynamic and probe.equivariant and probe.repeatable:
        return BatchingMode.ROWS, f"{answers} (one scale for the whole batch): run row by row"
    # The cause is unknown: the first axis may be time, or a set. Splitting it could be wrong.
    return BatchingMode.REQUESTS, f"{answers}: run request by request"


def not_a_batch(
    signature: Signature, precision: Precision, probe: Probe, batching: BatchingConfig
) -> str:
    """Return why the first axes of the inputs are not one batch axis; "" if they are, or may be."""
    declared = _declared_otherwise(signature)
    if declared or signature.declared:
        return declared
    names = _names(signature)
    always = batching.combine == "always"
    if probe.counts is Counts.UNTRIED:
        return f"nothing shows that {names} share a batch: run request by request"
    if probe.counts is Counts.ANY:
        return f"{names} may differ in their number of rows: run request by request"
    if probe.counts is Counts.BROADCAST and not always and named_apart(signature):
        return (
            f"{names} may differ in their number of rows, one row with several: run request by"
            ' request (batching.combine = "always" requires the same number)'
        )
    if probe.failure and not (2 in probe.seconds and probe.row_per_row):
        return probe.failure
    if not always and _moves(probe, batching) and not (precision.dynamic and probe.equivariant):
        return f"{_what_moves(probe)}: run request by request"
    return ""


def named_apart(signature: Signature) -> bool:
    """True if the first axes of two inputs have different names chosen by a person, and so count
    different objects."""
    firsts = {spec.shape[0] for spec in signature.inputs if spec.shape}
    return sum(isinstance(dim, str) and not MADE_UP.fullmatch(dim) for dim in firsts) > 1


def _names(signature: Signature) -> str:
    names = [f'inputs "{signature.inputs[0].name}"']
    names += [f'"{spec.name}"' for spec in signature.inputs[1:]]
    more = len(names) - MOST_NAMES
    return " and ".join(names if more <= 0 else [*names[:MOST_NAMES], f"{more} more"])


def _declared_otherwise(signature: Signature) -> str:
    """Return why the first axis is no batch axis according to the signature; "" if it may be."""
    if not signature.inputs:
        return "the model takes no input"
    for spec in signature.inputs:
        if not spec.ranked:
            return f'input "{spec.name}" has no shape in the file'
        if not spec.batchable:
            what = "a first axis of fixed length" if spec.shape else "no axes"
            return f'input "{spec.name}" has {what}'
    firsts = {spec.shape[0] for spec in signature.inputs} - {None}
    for spec in signature.inputs:
        for dim in spec.shape[1:]:
            if dim in firsts:
                return f'input "{spec.name}" has the length "{dim}" on two axes'
    return ""


def _moves(probe: Probe, batching: BatchingConfig) -> bool:
    """True if a row's answers depend on the other rows of its batch."""
    tolerance = batching.tolerance
    return probe.neighbours > tolerance or probe.deviation > max(SAME, tolerance)


def _what_moves(probe: Probe) -> str:
    if probe.alike:
        return "one row does not show whether rows influence each other (add rows to golden.npz)"
    if not probe.repeatable:
        return "answers differ from one run to the next"
    if isinf(probe.deviation):
        return "answers have another shape, or other infinities or NaN, when rows share a run"
    return f"answers change by {percent(probe.deviation)} with the other rows of a batch"


def percent(share: float) -> str:
    """Format a share of the largest value, for people."""
    return f"up to {100 * share:.1f} %" if share <= 1 else "more than 100 %"


def choose_plan(
    mode: BatchingMode,
    note: str,
    probe: Probe,
    batching: BatchingConfig,
    instances: InstancesConfig,
    cores: int,
    unbounded: str = "",
) -> Plan:
    """Choose batch size, instances and threads. The measured times decide what model.toml leaves
    open.

    ``probe`` was measured with one thread. ``unbounded`` names the part of the graph that may take
    any time, whatever was measured; see ``core.bounded``.
    """
    rows = _preferred_rows(mode, probe, batching)
    if not (unbounded or instances.count or instances.threads):
        seconds = probe.seconds.get(rows, rows * probe.row_seconds)
        # The run time of a batch size that was not measured is not known to be short.
        short = rows <= short_rows(probe, INLINE_SECONDS)
        if short and (cores == 1 or seconds / rows <= INLINE_ROW_SECONDS):
            return Plan(mode, rows, 1, 1, True, note)
        # Models with longer rows or with lone threads run in a thread. A lone request can then use
        # a second session with the cores of other workers.
        if cores == 1 and probe.row_seconds < LONG_SECONDS and (instances.lone_threads or 1) == 1:
            sole_rows = _sole_rows(mode, rows, probe, batching)
            if sole_rows:
                return Plan(mode, sole_rows, 1, 1, True, note, if_sole=True)
    threads = instances.threads or 1
    count = instances.count or max(1, cores // threads)
    return Plan(mode, rows, count, threads, False, note)


def _preferred_rows(mode: BatchingMode, probe: Probe, batching: BatchingConfig) -> int:
    if mode is not BatchingMode.COMBINE:
        return 1
    measured = probe.preferred_rows(_least_rows(batching))
    return min(batching.preferred_batch_size or measured, batching.run_rows)


def _least_rows(batching: BatchingConfig) -> int:
    # "always" requires batches even if they are not faster.
    return 2 if batching.combine == "always" else 1


def _sole_rows(mode: BatchingMode, preferred: int, probe: Probe, batching: BatchingConfig) -> int:
    """Return the rows of a batch in the event loop while no other model is in use; 0 if a batch
    takes too long for that, or gives far fewer rows/s than one of ``preferred`` rows."""
    most = short_rows(probe, SOLE_SECONDS)
    if mode is BatchingMode.COMBINE and not batching.preferred_batch_size:
        rows = min(most, batching.run_rows)
        measured = rows in probe.seconds and preferred in probe.seconds
        enough = measured and probe.rate(rows) >= FAST_ENOUGH * probe.rate(preferred)
        return rows if rows >= _least_rows(batching) and enough else 0
    return preferred if preferred <= most else 0


def short_rows(probe: Probe, limit: float) -> int:
    """Return the largest measured number of rows whose run takes at most ``limit`` seconds, as do
    those of all smaller numbers."""
    largest = 0
    for rows, seconds in sorted(probe.seconds.items()):
        if seconds > limit:
            break
        largest = rows
    return largest


def inline_rows(plan: Plan, probe: Probe, batching: BatchingConfig) -> int:
    """Return the most rows of a request that may run in the event loop, by the plan. If rows run
    one by one, that is the limit of any other run: a request with more rows would compete with all
    others for long."""
    if plan.mode is BatchingMode.ROWS:
        return batching.run_rows
    return short_rows(probe, SOLE_SECONDS if plan.if_sole else INLINE_SECONDS)


def divided_rows(probe: Probe, batching: BatchingConfig, instances: InstancesConfig) -> int:
    """Return the least rows of the batches into which idle instances divide the waiting rows; 0 if
    they do not, because of the measurements or of a setting for batches or instances."""
    if batching.preferred_batch_size or batching.max_queue_delay or instances.count:
        return 0
    rows = probe.divided_rows()
    return max(rows, _least_rows(batching)) if rows else 0


def wants_threads(plan: Plan, probe: Probe, instances: InstancesConfig, cores: int) -> bool:
    """Return True to measure one instance with all cores for every request."""
    combines = plan.mode is not BatchingMode.ROWS
    return combines and _long_and_open(plan, probe, instances, cores)


def wants_lone(
    plan: Plan, probe: Probe, instances: InstancesConfig, cores: int, has_room: bool
) -> bool:
    """Return True to try a second session for lone requests; see ``room_for_lone``."""
    if instances.lone_threads is not None:
        return not plan.inline and instances.lone_threads > plan.threads
    return has_room and _long_and_open(plan, probe, instances, cores)


def room_for_lone(file_bytes: int, held: int, memory: int) -> bool:
    """Return True if a second session for a model file of ``file_bytes`` fits in memory. The
    process holds ``held`` bytes and may hold ``memory``."""
    return held + SESSION_FACTOR * file_bytes <= memory * LONE_SHARE


def worth_lone(speedup: float, slowdown: float) -> bool:
    """Return True if a second session with this speedup is worth its memory.

    ``slowdown`` is the time of a run while each core has one, divided by the time of a single run.
    A large value shows that other programs used the cores.
    """
    return speedup >= LONE_GAIN or (slowdown >= HELD_CORES and speedup >= HARMLESS)


def _long_and_open(plan: Plan, probe: Probe, instances: InstancesConfig, cores: int) -> bool:
    open_choice = not plan.inline and instances.count is None and instances.threads is None
    return open_choice and cores > 1 and probe.row_seconds >= LONG_SECONDS


def uses_cores(speedup: float, cores: int) -> bool:
    """Return True if one run with a thread on each core is worth it, given its speedup."""
    return speedup >= EFFICIENT * cores
