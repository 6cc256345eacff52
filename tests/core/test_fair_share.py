"""Cores are shared by weight, no core is idle while a model waits, and no model waits forever."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from service.core.fair_share import Claimant, FairShare

MODELS = st.lists(
    st.tuples(st.floats(0.25, 8), st.floats(0.1, 10)), min_size=2, max_size=6
)  # weight, and seconds of a run


@dataclass
class Machine:
    """A simulation: models that always have requests, on cores that run every run that begins."""

    cores: int
    models: list[tuple[float, float]]
    instances: int
    served: list[float] = field(default_factory=list)
    idle: bool = False

    def run(self, runs: int) -> None:
        share, order, ends = FairShare(self.cores), count(), list[tuple[float, int, int]]()
        claimants = [Claimant(weight, 1, lambda: None) for weight, _ in self.models]
        self.served = [0.0] * len(self.models)

        def begin(index: int, now: float) -> None:
            claimant = claimants[index]
            while claimant.running < self.instances and share.ask(claimant):
                share.begin(claimant)
                heappush(ends, (now + self.models[index][1], next(order), index))
            if claimant.running == self.instances:
                share.rest(claimant)

        def settle(now: float) -> None:
            while (found := share.next()) is not None:
                begin(claimants.index(found), now)

        for index in range(len(self.models)):
            begin(index, 0.0)
        settle(0.0)
        for _ in range(runs):
            now, _, index = heappop(ends)
            share.end(claimants[index], self.models[index][1], more=True)
            self.served[index] += self.models[index][1]
            settle(now)
            busy = sum(each.running for each in claimants)
            room = sum(each.running < self.instances for each in claimants)
            self.idle |= busy < self.cores and bool(room)


@given(st.integers(1, 4), MODELS)
def test_models_that_always_wait_get_cores_by_weight(
    cores: int, models: list[tuple[float, float]]
) -> None:
    machine = Machine(cores, models, instances=cores)
    machine.run(600)
    shares = [served / weight for served, (weight, _) in zip(machine.served, models, strict=True)]
    longest = max(seconds / weight for weight, seconds in models)
    assert max(shares) - min(shares) <= 2 * (cores + 1) * longest
    assert not machine.idle


@given(st.integers(1, 4), MODELS)
def test_no_core_is_idle_while_a_model_waits(cores: int, models: list[tuple[float, float]]) -> None:
    machine = Machine(cores, models, instances=2)
    machine.run(200)
    assert not machine.idle
    assert all(machine.served)


@given(st.integers(1, 8), st.integers(1, 16), st.floats(0.01, 100))
def test_a_model_that_runs_alone_is_not_delayed(cores: int, runs: int, weight: float) -> None:
    share, alone = FairShare(cores), Claimant(weight, 2, lambda: None)
    for _ in range(runs):
        assert share.ask(alone)
        share.begin(alone)


@given(st.integers(1, 8), st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_model_with_few_requests_begins_at_once_beside_a_flood(
    cores: int, flood: float, few: float
) -> None:
    share = FairShare(cores)
    many, rare = (Claimant(1.0, 1, lambda: None) for _ in range(2))
    for _ in range(cores):
        share.begin(many)
    for _ in range(5):
        for _ in range(2 * cores):  # the flood takes more than as much, then the other one comes
            share.end(many, flood + few)
            if share.ask(many):
                share.begin(many)
            while many.running < cores:
                share.begin(many)
        assert share.ask(rare)
        share.begin(rare)
        share.end(rare, few)


def test_the_flood_waits_until_cores_are_free_again() -> None:
    share = FairShare(2)
    many, rare = (Claimant(1.0, 1, lambda: None) for _ in range(2))
    for claimant in (many, many, rare):
        assert share.ask(claimant)
        share.begin(claimant)
    share.end(many, 1.0)
    assert not share.ask(many)
    assert share.next() is None
    share.end(rare, 1.0)
    assert share.next() is many


def test_a_model_without_a_run_gives_up_its_turn() -> None:
    share = FairShare(1)
    first, second, third = (Claimant(1.0, 1, lambda: None) for _ in range(3))
    share.begin(first)
    share.begin(second)  # beside it: its own core
    share.begin(third)
    assert not share.ask(second)
    assert not share.ask(third)
    for claimant in (first, second, third):
        share.end(claimant, 1.0)
    waiting = share.next()
    assert waiting is second
    share.rest(second)
    assert share.next() is third
