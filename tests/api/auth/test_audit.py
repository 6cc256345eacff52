"""Every change is reported once, with its outcome."""

import asyncio

import pytest
from fastapi import Request

from service.api.auth.audit import NOBODY, Audit
from service.api.transport.body import ClientGone
from service.core.errors import GateFailed, NotFound, StorageFull
from service.core.events import Actor, ChangeCompleted, Event, Outcome, Verb

SOMEBODY = Actor("key 1a2b3c4d", "10.0.0.1", "r1")


def request(actor: Actor | None = SOMEBODY) -> Request:
    state = {} if actor is None else {"actor": actor}
    return Request({"type": "http", "headers": [], "state": state})


def reported(told: list[Event]) -> ChangeCompleted:
    (event,) = told
    assert isinstance(event, ChangeCompleted) and event.seconds >= 0
    return event._replace(seconds=0.0)


def test_a_completed_change_is_reported_with_its_actor() -> None:
    told: list[Event] = []
    with Audit(told.append).change(request(), Verb.SWAP, "m", forced=True) as change:
        change.before, change.after, change.note = 1, 2, "not pinned"
        assert told == []
    assert reported(told) == ChangeCompleted(
        SOMEBODY, Verb.SWAP, "m", 1, 2, True, Outcome.OK, 0.0, note="not pinned"
    )


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (NotFound("no version 7"), Outcome.REJECTED, "no version 7"),
        (GateFailed("version 2", "golden"), Outcome.REJECTED, "version 2: golden"),
        (StorageFull("no room"), Outcome.FAILED, "no room"),
        (ZeroDivisionError("oh"), Outcome.FAILED, "oh"),
        (ClientGone(), Outcome.CANCELLED, ""),
        (asyncio.CancelledError(), Outcome.CANCELLED, ""),
    ],
)
def test_a_failed_change_is_reported_and_its_error_is_raised_again(
    error: BaseException, outcome: Outcome, text: str
) -> None:
    told: list[Event] = []
    with (
        pytest.raises(type(error)) as raised,
        Audit(told.append).change(request(), Verb.UPLOAD, "m") as change,
    ):
        change.after = 3
        raise error
    assert raised.value is error
    event = reported(told)
    assert (event.outcome, event.error, event.after, event.forced) == (outcome, text, 3, False)


def test_a_change_without_an_actor_is_reported() -> None:
    told: list[Event] = []
    with Audit(told.append).change(request(None), Verb.LOAD, "m"):
        pass
    assert reported(told).actor == NOBODY
