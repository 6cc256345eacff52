"""The handling of a request with more rows than one run takes."""

from service.config.model import BatchingConfig
from service.core.batching import BatchingMode
from service.engine.loading.plan import Plan
from service.engine.loading.probe import Probe

SETTING = "max_batch_size in [batching] of model.toml"
PART_SECONDS = 0.01
"""Longest run of a part, unless its rows are too few to be efficient: other requests wait for
it."""


def part_rows(plan: Plan, probe: Probe, batching: BatchingConfig) -> int:
    """How many rows the parts have that a larger request is cut into; 0 where it is refused: the
    operator has set a limit, or rows influence each other.

    Small parts let other requests in between, large ones cost less beside the graph.
    """
    if batching.max_batch_size is not None or plan.mode is BatchingMode.REQUESTS:
        return 0
    if plan.mode is BatchingMode.ROWS:
        return 1
    short = [rows for rows, seconds in probe.seconds.items() if seconds <= PART_SECONDS]
    return min(batching.run_rows, max([plan.preferred_rows, *short]))


def refusal(plan: Plan, batching: BatchingConfig) -> str:
    """Why a larger request is refused, and what the client can do."""
    whole = plan.mode is BatchingMode.REQUESTS
    if batching.max_batch_size is None:
        why = f" ({plan.note})" if plan.note else ""
        return (
            f"this model takes each request in one run{why}, so it cannot be cut: send fewer rows,"
            f" or set {SETTING}"
        )
    cut = "" if whole else ", or remove it, and larger requests are cut into several runs"
    return f"the limit is {SETTING}: send fewer rows, or raise it{cut}"
