"""Division of the process's memory limit between models and traffic."""

from dataclasses import dataclass

SMALLEST_TRAFFIC = 4 * 2**20
HALF_UP_TO = 256 * 2**20
LARGEST_TRAFFIC = 4 * 2**30


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Shares of ``total``, all in bytes.

    ``models`` is for the process itself and its models, ``traffic`` for requests and answers in
    flight: bodies, what is decoded from them, and answers that are built or not yet taken.
    """

    total: int
    models: int
    traffic: int


def share_out(total: int, base: int) -> MemoryPlan:
    """Divide ``total`` bytes; the process uses ``base`` of them before any model is loaded.

    Of the rest traffic has half up to 256 MiB, so that a body of the default limit fits in a small
    container, then a quarter up to 4 GiB: more than that models need, not requests.
    """
    free = max(0, total - base)
    traffic = max(min(free // 2, HALF_UP_TO), min(free // 4, LARGEST_TRAFFIC), SMALLEST_TRAFFIC)
    return MemoryPlan(total, max(0, total - traffic), traffic)
