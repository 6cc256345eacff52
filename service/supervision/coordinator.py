"""Changes in two phases, for all workers or none: decided from messages only, without I/O or clock.

A change, such as a swap, is proposed by one worker and begun by all workers that are members.
Before a worker switches a version, it votes and waits for the verdict. The verdict is yes once all
have voted yes in the same round for the same version, and no as soon as this is no longer possible.
Changes of one model run one after the other; changes of different models run concurrently. The
proposer gets the answer when all workers have ended the change.

The coordinator remembers which versions the workers serve, so that a worker that starts later
serves the same versions. It becomes a member once it serves the same versions as the others and no
change is running.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Message = Mapping[str, Any]
MOST_RESTORES = 3
"""Attempts of a worker to load the versions of the others. After these it is accepted even if its
versions differ."""
GONE = "a worker ended while it prepared the version"
DIFFERS = "the workers do not agree on what comes next; try again"


class Order(NamedTuple):
    """A message to a worker."""

    worker: int
    message: Message


class Proposal(NamedTuple):
    """A proposed change. ``worker`` is None if the supervisor proposes it. ``number`` is the
    worker's own number of the proposal."""

    worker: int | None
    number: int
    model: str
    verb: str
    arguments: Mapping[str, Any] = {}


class Vote(NamedTuple):
    """A worker's vote. ``version`` is the version to switch to; ``reason`` and ``checks`` explain a
    no."""

    version: int
    yes: bool
    reason: str = ""
    checks: Sequence[Any] = ()


@dataclass(eq=False, slots=True)
class Change:
    """A running change."""

    proposal: Proposal
    leader: int
    votes: dict[int, list[Vote]]
    """The votes of the workers that still run, by worker, in order."""
    ended: dict[int, bool] = field(default_factory=dict)
    verdicts: list[Message] = field(default_factory=list)
    lost: str = ""

    def verdict(self) -> tuple[bool, str, Sequence[Any]] | None:
        """Return the verdict of the next round; None while it is open."""
        place = len(self.verdicts)
        cast = {w: votes[place] for w, votes in self.votes.items() if len(votes) > place}
        if not cast:
            return None
        for worker in sorted(cast):
            vote = cast[worker]
            if not vote.yes:
                return False, f"worker {worker}: {vote.reason}", vote.checks
        if self.lost:
            return False, self.lost, ()
        if len({vote.version for vote in cast.values()}) > 1:
            return False, DIFFERS, ()
        silent = self.votes.keys() - cast.keys()
        if silent & self.ended.keys():
            return False, DIFFERS, ()
        return None if silent else (True, "", ())


class Coordinator:
    """All methods return messages to workers, in order."""

    def __init__(self) -> None:
        self.members: set[int] = set()
        self.standing: dict[str, Any] | None = None
        """The versions that the members serve, by model; None before the first member."""
        self._changes: dict[int, Change] = {}
        self._waiting: deque[Proposal] = deque()
        self._joining: dict[int, Mapping[str, Any]] = {}
        self._restores: dict[int, int] = {}
        self._last = 0

    @property
    def busy(self) -> bool:
        """True if a change is running or queued."""
        return bool(self._changes or self._waiting)

    def join(self, worker: int, standing: Mapping[str, Any]) -> Iterator[Order]:
        """Handle a worker that has loaded its models and serves these versions."""
        self._joining[worker] = standing
        yield from self._go_on()

    def propose(self, proposal: Proposal) -> Iterator[Order]:
        """Handle a proposed change."""
        self._waiting.append(proposal)
        yield from self._go_on()

    def vote(self, worker: int, number: int, vote: Vote) -> Iterator[Order]:
        """Handle the vote of a worker: it is ready to switch, or cannot switch."""
        change = self._changes.get(number)
        if change is not None and worker in change.votes and worker not in change.ended:
            votes = change.votes[worker]
            votes.append(vote)
            if len(votes) <= len(change.verdicts):  # the verdict is known without this vote
                verdict = change.verdicts[len(votes) - 1]
                yield Order(worker, {**verdict, "leads": worker == change.leader})
            yield from self._judge(number, change)

    def end(
        self, worker: int, number: int, done: bool, standing: Mapping[str, Any]
    ) -> Iterator[Order]:
        """Handle the end of a change in a worker; ``standing`` has the versions that it now serves
        of the changed model."""
        change = self._changes.get(number)
        if change is None or worker not in change.votes:
            return
        change.ended[worker] = done
        if worker == change.leader and self.standing is not None:
            self.standing = {
                model: serves
                for model, serves in {**self.standing, **standing}.items()
                if serves is not None
            }
        yield from self._judge(number, change)
        yield from self._finish(number, change)

    def gone(self, worker: int) -> Iterator[Order]:
        """Handle the end of a worker."""
        self.members.discard(worker)
        self._joining.pop(worker, None)
        self._restores.pop(worker, None)
        self._waiting = deque(each for each in self._waiting if each.worker != worker)
        for number, change in list(self._changes.items()):
            votes = change.votes.pop(worker, None)
            change.ended.pop(worker, None)
            if votes is None:
                continue
            if change.leader == worker and change.votes:
                change.leader = min(change.votes)
            # The ended worker no longer blocks a version, but the files that it wrote may be lost.
            change.lost = GONE
            yield from self._judge(number, change)
            yield from self._finish(number, change)
        yield from self._go_on()

    def _judge(self, number: int, change: Change) -> Iterator[Order]:
        while (found := change.verdict()) is not None:
            yes, reason, checks = found
            place = len(change.verdicts)
            cast = {w: votes[place] for w, votes in change.votes.items() if len(votes) > place}
            verdict = {
                "event": "verdict",
                "change": number,
                "round": place,
                "yes": yes,
                "reason": reason,
                "checks": checks,
                "again": all(vote.yes for vote in cast.values()),
            }
            change.verdicts.append(verdict)
            change.lost = ""
            for worker in sorted(cast):
                yield Order(worker, {**verdict, "leads": worker == change.leader})

    def _finish(self, number: int, change: Change) -> Iterator[Order]:
        if change.votes.keys() - change.ended.keys():
            return
        del self._changes[number]
        if change.votes:
            expected = change.ended[change.leader]
            for worker, done in sorted(change.ended.items()):
                if done != expected:
                    yield Order(worker, {"event": "replace"})
        proposal = change.proposal
        if proposal.worker in change.votes and proposal.worker is not None:
            yield Order(proposal.worker, {"event": "finished", "proposal": proposal.number})
        yield from self._go_on()

    def _go_on(self) -> Iterator[Order]:
        """Admit waiting workers, then start queued changes."""
        if not self._changes:
            for worker in sorted(self._joining):
                yield from self._take_in(worker, self._joining.pop(worker))
        if self._joining or not self.members:
            return
        taken = {change.proposal.model for change in self._changes.values()}
        for proposal in list(self._waiting):
            if proposal.model in taken:
                continue
            taken.add(proposal.model)
            self._waiting.remove(proposal)
            yield from self._begin(proposal)

    def _take_in(self, worker: int, standing: Mapping[str, Any]) -> Iterator[Order]:
        if not self.members and self.standing is None:
            self.standing = dict(standing)
        assert self.standing is not None, "it is set with the first member. This is a bug."
        tries = self._restores.get(worker, 0)
        if standing != self.standing and tries < MOST_RESTORES:
            self._restores[worker] = tries + 1
            yield Order(worker, {"event": "restore", "standing": self.standing})
            return
        self._restores.pop(worker, None)
        self.members.add(worker)
        yield Order(worker, {"event": "joined"})

    def _begin(self, proposal: Proposal) -> Iterator[Order]:
        self._last += 1
        leader = proposal.worker if proposal.worker in self.members else min(self.members)
        assert leader is not None, "a proposer that is no member is replaced. This is a bug."
        change = Change(proposal, leader, {worker: [] for worker in self.members})
        self._changes[self._last] = change
        for worker in sorted(self.members):
            yield Order(
                worker,
                {
                    "event": "begin",
                    "change": self._last,
                    "model": proposal.model,
                    "verb": proposal.verb,
                    "arguments": proposal.arguments,
                    "leads": worker == leader,
                    "proposal": proposal.number if worker == proposal.worker else None,
                },
            )
