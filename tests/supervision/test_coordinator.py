"""Changes in two phases: in any order of events, all workers switch or none."""

from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.supervision.coordinator import (
    DIFFERS,
    GONE,
    MOST_RESTORES,
    Coordinator,
    Order,
    Proposal,
    Vote,
)


def joined(*workers: int) -> Coordinator:
    it = Coordinator()
    for worker in workers:
        assert list(it.join(worker, {"m": 1})) == [Order(worker, {"event": "joined"})]
    return it


def begun(it: Coordinator, worker: int | None = 0, model: str = "m") -> int:
    orders = list(it.propose(Proposal(worker, 7, model, "swap", {"choice": 2})))
    assert [order.worker for order in orders] == sorted(it.members)
    number: int = orders[0].message["change"]
    return number


def verdicts(orders: list[Order]) -> dict[int, Any]:
    return {o.worker: o.message for o in orders if o.message["event"] == "verdict"}


def test_all_workers_switch_once_all_have_voted_yes() -> None:
    it = joined(0, 1)
    change = begun(it)
    assert list(it.vote(0, change, Vote(2, True))) == []
    found = verdicts(list(it.vote(1, change, Vote(2, True))))
    assert {worker: each["yes"] for worker, each in found.items()} == {0: True, 1: True}
    assert [each["leads"] for each in found.values()] == [True, False]
    assert list(it.end(0, change, True, {"m": 2})) == []
    assert list(it.end(1, change, True, {"m": 2})) == [
        Order(0, {"event": "finished", "proposal": 7})
    ]
    assert it.standing == {"m": 2} and not it.busy


def test_one_no_stops_the_change_for_all_with_its_reason() -> None:
    it = joined(0, 1)
    change = begun(it)
    list(it.vote(0, change, Vote(2, True)))
    found = verdicts(list(it.vote(1, change, Vote(2, False, "cosine is 0.1", ["check"]))))
    assert found[0]["yes"] is False and found[0]["reason"] == "worker 1: cosine is 0.1"
    assert found[0]["checks"] == ["check"] and found[0]["again"] is False


def test_a_death_before_the_vote_stops_the_change_for_a_retry() -> None:
    it = joined(0, 1)
    change = begun(it)
    list(it.vote(0, change, Vote(2, True)))
    found = verdicts(list(it.gone(1)))
    assert (found[0]["yes"], found[0]["reason"], found[0]["again"]) == (False, GONE, True)


def test_a_worker_that_ends_without_a_vote_stops_the_change() -> None:
    it = joined(0, 1)
    change = begun(it)
    list(it.end(1, change, True, {}))
    found = verdicts(list(it.vote(0, change, Vote(2, True))))
    assert found[0]["reason"] == DIFFERS


def test_another_worker_leads_when_the_leader_dies() -> None:
    it = joined(0, 1, 2)
    change = begun(it)
    list(it.vote(1, change, Vote(2, True)))
    found = verdicts(list(it.gone(0)))
    assert found[1]["leads"] is True


def test_a_worker_whose_result_differs_from_the_leaders_is_replaced() -> None:
    it = joined(0, 1)
    change = begun(it)
    list(it.end(0, change, True, {"m": 2}))
    orders = list(it.end(1, change, False, {"m": 1}))
    assert Order(1, {"event": "replace"}) in orders


def test_changes_of_one_model_are_serialised_and_others_are_not() -> None:
    it = joined(0)
    first = begun(it)
    assert list(it.propose(Proposal(0, 8, "m", "swap"))) == []
    assert begun(it, model="other") != first
    events = [order.message["event"] for order in it.end(0, first, True, {})]
    assert events == ["finished", "begin"]


def test_a_late_worker_restores_the_versions_of_the_others() -> None:
    it = joined(0)
    for _ in range(MOST_RESTORES):
        assert list(it.join(1, {"m": 2})) == [Order(1, {"event": "restore", "standing": {"m": 1}})]
    assert list(it.join(1, {"m": 2})) == [Order(1, {"event": "joined"})]


def test_no_worker_joins_during_a_change_and_joins_come_first() -> None:
    it = joined(0)
    change = begun(it)
    assert list(it.join(1, {"m": 1})) == []
    assert list(it.propose(Proposal(0, 8, "other", "load"))) == []
    orders = list(it.end(0, change, True, {"m": 2}))
    events = [(order.worker, order.message["event"]) for order in orders]
    assert events[:2] == [(0, "finished"), (1, "restore")]


class Fleet(RuleBasedStateMachine):
    """A state machine of workers that vote, end and die in any order, with the versions they
    serve."""

    def __init__(self) -> None:
        super().__init__()
        self.it = Coordinator()
        self.serves: dict[int, int] = {}
        # The work of each worker: (change, wanted version, rounds voted, waits, voted yes).
        self.work: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.answered: dict[int, int] = {}
        self.said: dict[tuple[int, int], set[bool]] = defaultdict(set)
        self.proposed = 0

    def deliver(self, orders: Any) -> None:
        for worker, message in orders:
            event = message["event"]
            if worker not in self.serves:
                continue
            if event == "begin":
                wanted = message["arguments"]["version"]
                self.work[worker][message["change"]] = {"to": wanted, "state": "open"}
            elif event == "verdict":
                self.said[message["change"], message["round"]].add(message["yes"])
                task = self.work[worker][message["change"]]
                if message["yes"]:
                    assert task["state"] == "voted yes"
                    self.serves[worker] = task["to"]
                    task["state"] = "done"
                else:
                    task["state"] = "failed"
            elif event == "restore":
                self.serves[worker] = message["standing"]["m"]
                self.deliver(list(self.it.join(worker, {"m": self.serves[worker]})))
            elif event == "finished":
                self.answered[message["proposal"]] = worker

    @rule(worker=st.integers(0, 3), version=st.integers(1, 3))
    def start(self, worker: int, version: int) -> None:
        if worker not in self.serves:
            self.serves[worker] = version
            self.deliver(list(self.it.join(worker, {"m": version})))

    @precondition(lambda self: self.it.members)
    @rule(data=st.data(), version=st.integers(1, 9))
    def propose(self, data: Any, version: int) -> None:
        worker = data.draw(st.sampled_from(sorted(self.it.members)))
        self.proposed += 1
        proposal = Proposal(worker, self.proposed, "m", "swap", {"version": version})
        self.deliver(list(self.it.propose(proposal)))

    @rule(data=st.data(), yes=st.booleans())
    def vote(self, data: Any, yes: bool) -> None:
        open_ = [(w, c) for w in self.serves for c, t in self.work[w].items()
                 if t["state"] == "open"]  # fmt: skip
        if open_:
            worker, change = data.draw(st.sampled_from(open_))
            task = self.work[worker][change]
            task["state"] = "voted yes" if yes else "voted no"
            self.deliver(list(self.it.vote(worker, change, Vote(task["to"], yes, "why"))))

    @rule(data=st.data())
    def end(self, data: Any) -> None:
        over = [(w, c) for w in self.serves for c, t in self.work[w].items()
                if t["state"] in ("done", "failed")]  # fmt: skip
        if over:
            worker, change = data.draw(st.sampled_from(over))
            done = self.work[worker].pop(change)["state"] == "done"
            standing = {"m": self.serves[worker]}
            self.deliver(list(self.it.end(worker, change, done, standing)))

    @rule(data=st.data())
    def die(self, data: Any) -> None:
        if self.serves:
            worker = data.draw(st.sampled_from(sorted(self.serves)))
            del self.serves[worker]
            self.work.pop(worker, None)
            self.deliver(list(self.it.gone(worker)))

    @invariant()
    def no_round_says_both(self) -> None:
        assert all(len(said) == 1 for said in self.said.values())

    @invariant()
    def at_rest_all_members_serve_the_same(self) -> None:
        if not self.it.busy and self.it.members:
            assert len({self.serves[worker] for worker in self.it.members}) == 1
            assert self.it.standing == {"m": self.serves[min(self.it.members)]}

    def teardown(self) -> None:
        """Check that every change ends, unless all workers have died."""
        for _ in range(1000):
            tasks = [(w, c, t) for w in self.serves for c, t in self.work[w].items()]
            if not tasks:
                break
            for worker, change, task in tasks:
                if task["state"] == "open":
                    task["state"] = "voted no"
                    self.deliver(list(self.it.vote(worker, change, Vote(task["to"], False))))
                elif task["state"] in ("done", "failed"):
                    done = self.work[worker].pop(change)["state"] == "done"
                    standing = {"m": self.serves[worker]}
                    self.deliver(list(self.it.end(worker, change, done, standing)))
        if self.it.members:
            assert not self.it.busy


Fleet.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
