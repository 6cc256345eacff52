"""The last traced value of each bucket is kept, by histogram."""

from service.core.exemplars import Exemplars, Traced
from service.core.statistics import SECONDS


def test_a_value_replaces_only_the_previous_value_of_its_bucket() -> None:
    exemplars = Exemplars()
    fast, faster, slow = (Traced(value, 0.0, "t", "s") for value in (SECONDS[0], 0.0, 1e9))
    for traced in (fast, faster, slow):
        exemplars.put("request", traced)
    assert exemplars.of("request") == {0: faster, len(SECONDS): slow}
    assert exemplars.of("queue") == {}
