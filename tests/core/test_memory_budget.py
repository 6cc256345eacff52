"""Bytes are never counted twice, never lost, never negative."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.core.memory_budget import Budget, Reservation

SIZES = st.integers(0, 200)


class Holders(RuleBasedStateMachine):
    """A state machine with random operations of holders."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(300)
        self.holders = [Reservation(self.budget) for _ in range(5)]
        self.lent = [0] * 5
        self.ended: set[int] = set()

    @rule(holder=st.integers(0, 4), size=SIZES, beyond=st.sampled_from([0, 50]))
    def resize(self, holder: int, size: int, beyond: int) -> None:
        if holder in self.ended:
            return
        before, held = self.holders[holder].size, self.budget.held
        if self.holders[holder].resize(size, beyond):
            assert self.holders[holder].size == size
            assert size <= before or self.budget.held <= self.budget.limit + beyond
        else:
            assert (self.holders[holder].size, self.budget.held) == (before, held)
            assert held + size - before > self.budget.limit + beyond

    @rule(holder=st.integers(0, 4), size=SIZES)
    def force(self, holder: int, size: int) -> None:
        if holder in self.ended:
            return
        self.holders[holder].force(size)
        assert self.holders[holder].size == size

    @rule(holder=st.integers(0, 4))
    def lend(self, holder: int) -> None:
        if holder not in self.ended:
            self.holders[holder].lend()
            self.lent[holder] += 1

    @rule(holder=st.integers(0, 4))
    def take_back(self, holder: int) -> None:
        if self.lent[holder]:
            before = self.holders[holder].size
            self.holders[holder].take_back()
            self.lent[holder] -= 1
            ended = holder in self.ended and not self.lent[holder]
            assert self.holders[holder].size == (0 if ended else before)
            self.ended -= {holder} if ended else set()

    @rule(holder=st.integers(0, 4))
    def release(self, holder: int) -> None:
        before = self.holders[holder].size
        self.holders[holder].release()
        lent = self.lent[holder] > 0
        assert self.holders[holder].size == (before if lent else 0)
        self.ended |= {holder} if lent else set()

    @invariant()
    def all_is_counted_once(self) -> None:
        assert self.budget.held == sum(each.size for each in self.holders) >= 0

    def teardown(self) -> None:
        for each, lent in zip(self.holders, self.lent, strict=True):
            each.release()
            each.release()
            for _ in range(lent):
                each.take_back()
        assert self.budget.held == 0


TestHolders = Holders.TestCase


@given(st.lists(SIZES, max_size=10))
def test_reservations_never_exceed_the_limit(sizes: list[int]) -> None:
    budget = Budget(500)
    for size in sizes:
        Reservation(budget).resize(size)
        assert budget.held <= budget.limit
