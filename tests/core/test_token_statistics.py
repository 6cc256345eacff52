from service.core.events import TokensGenerated
from service.core.statistics import Statistics
from service.core.token_statistics import SECONDS


def test_steps_are_added_up() -> None:
    counted = Statistics(lambda: 0.0)
    counted(TokensGenerated("m", 1, 20, 7, 3, (0.5,), (0.25, 100.0), (0.0005,)))
    counted(TokensGenerated("m", 1, 0, 0, 2, (), (), (0.001, 0.0011)))
    found = counted.tokens["m", 1]
    assert (found.read, found.reused, found.chosen) == (20, 7, 5)
    assert sum(found.queued.counts) == 1 and found.queued.total == 0.5
    assert found.first.counts[-1] == 1 and found.first.counts[SECONDS.index(0.25)] == 1
    assert found.between.counts[:2] == [2, 1]
