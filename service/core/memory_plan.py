"""Division of the process's memory limit between models and traffic."""

from dataclasses import dataclass

SMALLEST_TRAFFIC = 4 * 2**20
HALF_UP_TO = 256 * 2**20
LARGEST_TRAFFIC = 4 * 2**30


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Shares of ``total``, all in bytes.

    ``models`` is for the process itself and its models. ``traffic`` is for requests and answers in
    flight: bodies, the tensors decoded from them, and answers that are being built or not yet read
    by the client.
    """

    total: int
    models: int
    traffic: int


def share_out(total: int, base: int) -> MemoryPlan:
    """Divide ``total`` bytes; the process uses ``base`` of them before any model is loaded.

    Traffic gets half of the rest up to 256 MiB, so that a body of the default limit fits in a small
    container, then a quarter up to 4 GiB. It needs no more than that; models may.
    """
    free = max(0, total - base)
    traffic = max(min(free // 2, HALF_UP_TO), min(free // 4, LARGEST_TRAFFIC), SMALLEST_TRAFFIC)
    return MemoryPlan(total, max(0, total - traffic), traffic)
