"""One run gets all cores only if they make it fast enough."""

import pytest

from service.engine.loading.plan import uses_cores


@pytest.mark.parametrize(
    ("speedup", "cores", "worth"),
    [(1.39, 2, False), (1.4, 2, True), (2.0, 2, True), (2.7, 4, False), (2.9, 4, True)],
)
def test_all_cores_are_used_only_for_a_sufficient_speedup(
    speedup: float, cores: int, worth: bool
) -> None:
    assert uses_cores(speedup, cores) is worth
