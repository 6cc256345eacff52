"""The limit of a queue, for requests of several priorities."""

import pytest

from service.core.queue_limit import is_full


@pytest.mark.parametrize(
    ("waiting", "behind", "full"),
    [(0, 0, False), (3, 0, False), (4, 0, True), (4, 1, False), (7, 4, False), (8, 8, True)],
)
def test_less_urgent_requests_count_only_towards_twice_the_limit(
    waiting: int, behind: int, full: bool
) -> None:
    assert is_full(4, waiting, behind) is full
