"""Decides how a model is run, from its file, the probe's measurements and model.toml."""

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
INLINE_ROW_SECONDS = 0.0001
"""A batch whose rows take longer runs in a thread too: a second core then gains more than a thread
costs."""
MADE_UP = re.compile(r"unk__\d+|.*_dynamic_axes_\d+|[su]\d+|DynamicDimension\.\d+|unknown\w*", re.I)
"""Names that tf2onnx, PyTorch's two exporters and Paddle make up, a new one for each axis."""
MOST_NAMES = 3
"""Inputs that a note names."""
LONG_SECONDS = 0.002
"""Time of a row from which several threads are tried for it."""
EFFICIENT = 0.7
"""Least efficiency of threads on one row; below it, running rows side by side gives more rows a
second."""
LONE_GAIN = 1.2
"""Least speedup of a lone row for which a second session is kept in memory."""
HELD_CORES = 1.3
"""Slowdown of runs side by side from which other programs are taken to hold the cores."""
HARMLESS = 0.8
"""Least speedup of a second session that is kept without a good measurement."""
LONE_SHARE = 1 / 3
"""Largest share of the memory that a process may hold with a further session for lone requests, so
that it keeps no model out which would fit without."""
SESSION_FACTOR = 2
"""Most bytes of memory that a session takes while it is loaded, for each byte of its files."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run. ``note`` is for the operator: why it does not combine or pad, for
    example. ``lone_threads``: those of a run in the second session, which is for runs that begin
    while nothing else runs or waits; 0 if there is none."""

    mode: BatchingMode
    preferred_rows: int
    instances: int
    threads: int
    inline: bool
    note: str
    lone_threads: int = 0


def choose_mode(
    signature: Signature, precision: Precision, probe: Probe, batching: BatchingConfig
) -> tuple[BatchingMode, str]:
    """Whether rows of different requests may share a run, and the reason where they may not.

    Only the effect of other rows counts. Kernels for another batch size may round differently,
    which does not make an answer depend on its neighbours.
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
        return BatchingMode.COMBINE, f"{answers}; combined all the same, as model.toml says"
    if precision.dynamic and probe.equivariant and probe.repeatable:
        return BatchingMode.ROWS, f"{answers} (one scale for the whole batch): run row by row"
    # Not the known cause: the first axis may be time, or a set. Splitting it could be wrong.
    return BatchingMode.REQUESTS, f"{answers}: run request by request"


def not_a_batch(
    signature: Signature, precision: Precision, probe: Probe, batching: BatchingConfig
) -> str:
    """Why the first axes of the inputs are not one batch axis; "" if they are, or may be."""
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
            f"{names} may differ in their number of rows, one goes with several: run request by"
            ' request (batching.combine = "always" holds them to the same number)'
        )
    if probe.failure and not (2 in probe.seconds and probe.row_per_row):
        return probe.failure
    if not always and _moves(probe, batching) and not (precision.dynamic and probe.equivariant):
        return f"{_what_moves(probe)}: run request by request"
    return ""


def named_apart(signature: Signature) -> bool:
    """Whether the first axes of two inputs have different names that a person chose, and so count
    different objects."""
    firsts = {spec.shape[0] for spec in signature.inputs if spec.shape}
    return sum(isinstance(dim, str) and not MADE_UP.fullmatch(dim) for dim in firsts) > 1


def _names(signature: Signature) -> str:
    names = [f'inputs "{signature.inputs[0].name}"']
    names += [f'"{spec.name}"' for spec in signature.inputs[1:]]
    more = len(names) - MOST_NAMES
    return " and ".join(names if more <= 0 else [*names[:MOST_NAMES], f"{more} more"])


def _declared_otherwise(signature: Signature) -> str:
    """Why the first axis is no batch axis, according to the signature; "" if it may be."""
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
    """Whether a row's answers depend on the rows beside it."""
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
    """A share of the largest value, for people."""
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
    """Batch size, instances and threads; the times decide what model.toml leaves open.

    ``probe`` was taken with one thread. ``unbounded`` is what in the graph may take any time,
    whatever was measured; see ``core.bounded``.
    """
    rows = 1
    if mode is BatchingMode.COMBINE:
        # "always" asks for batches even where the times do not.
        measured = probe.preferred_rows(2 if batching.combine == "always" else 1)
        rows = min(batching.preferred_batch_size or measured, batching.run_rows)
    one_run = probe.seconds.get(rows, rows * probe.row_seconds)
    short = one_run <= INLINE_SECONDS and (cores == 1 or one_run / rows <= INLINE_ROW_SECONDS)
    # A size that was not measured is none of which it is known that it is short.
    known = rows <= short_rows(probe) and not unbounded
    if short and known and not (instances.count or instances.threads):
        return Plan(mode, rows, 1, 1, True, note)
    threads = instances.threads or 1
    count = instances.count or max(1, cores // threads)
    return Plan(mode, rows, count, threads, False, note)


def short_rows(probe: Probe) -> int:
    """The largest number of rows that was measured to be short, up to which all were."""
    largest = 0
    for rows, seconds in sorted(probe.seconds.items()):
        if seconds > INLINE_SECONDS:
            break
        largest = rows
    return largest


def wants_threads(plan: Plan, probe: Probe, instances: InstancesConfig, cores: int) -> bool:
    """Whether to measure one instance with all cores for every request."""
    combines = plan.mode is not BatchingMode.ROWS
    return combines and _long_and_open(plan, probe, instances, cores)


def wants_lone(
    plan: Plan, probe: Probe, instances: InstancesConfig, cores: int, has_room: bool
) -> bool:
    """Whether to try a second session for lone requests. ``has_room``: see ``room_for_lone``."""
    if instances.lone_threads is not None:
        return not plan.inline and instances.lone_threads > plan.threads
    return has_room and _long_and_open(plan, probe, instances, cores)


def room_for_lone(file_bytes: int, held: int, memory: int) -> bool:
    """Whether there is room for a second session of a model with such files, in a process that
    holds so many bytes and may hold ``memory``."""
    return held + SESSION_FACTOR * file_bytes <= memory * LONE_SHARE


def worth_lone(speedup: float, slowdown: float) -> bool:
    """Whether a second session is worth its memory, with this speedup. ``slowdown``: how many times
    as long a run takes with one on each core; a large one shows that other programs held the cores.
    """
    return speedup >= LONE_GAIN or (slowdown >= HELD_CORES and speedup >= HARMLESS)


def _long_and_open(plan: Plan, probe: Probe, instances: InstancesConfig, cores: int) -> bool:
    open_choice = not plan.inline and instances.count is None and instances.threads is None
    return open_choice and cores > 1 and probe.row_seconds >= LONG_SECONDS


def uses_cores(speedup: float, cores: int) -> bool:
    """Whether one run with a thread for each core is worth it, being so many times as fast."""
    return speedup >= EFFICIENT * cores
