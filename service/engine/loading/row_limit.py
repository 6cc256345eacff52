"""The handling of a request with more rows than the limit of one run."""

from service.config.model import BatchingConfig
from service.core.batching import BatchingMode
from service.engine.loading.plan import Plan
from service.engine.loading.probe import Probe

SETTING = "max_batch_size in [batching] of model.toml"
PART_SECONDS = 0.01
"""Longest run of a part: other requests wait for it. A part may take longer if fewer rows would be
inefficient."""


def part_rows(plan: Plan, probe: Probe, batching: BatchingConfig) -> int:
    """Return the rows of the parts that a larger request is cut into.

    Return 0 if such a request is refused: the operator has set a limit, or requests are run whole.
    Other requests can run between small parts. Large parts have less overhead beside the graph.
    """
    if batching.max_batch_size is not None or plan.mode is BatchingMode.REQUESTS:
        return 0
    if plan.mode is BatchingMode.ROWS:
        return 1
    short = [rows for rows, seconds in probe.seconds.items() if seconds <= PART_SECONDS]
    return min(batching.run_rows, max([plan.preferred_rows, *short]))


def refusal(plan: Plan, batching: BatchingConfig) -> str:
    """Return why a larger request is refused, and what the client can do."""
    whole = plan.mode is BatchingMode.REQUESTS
    if batching.max_batch_size is None:
        why = f" ({plan.note})" if plan.note else ""
        return (
            f"this model runs each request in one run{why}, so it cannot be cut: send fewer rows,"
            f" or set {SETTING}"
        )
    cut = "" if whole else ", or remove it, and larger requests are cut into several runs"
    return f"the limit is {SETTING}: send fewer rows, or raise it{cut}"
