"""Events reach each observer of their kind, even if another observer fails."""

import logging
from typing import get_args

import pytest

from service.core import events
from service.core.events import (
    TRAFFIC,
    Event,
    Observers,
    Outcome,
    Polled,
    RequestCompleted,
    RequestDropped,
    Timing,
)

DROPPED = RequestDropped("m", 1, Outcome.EXPIRED, 0.5)
COMPLETED = RequestCompleted("m", 1, "v2", Outcome.OK, 0.01)


def test_requests_and_changes_have_separate_observers() -> None:
    traffic: list[Event] = []
    changes: list[Event] = []
    observers = Observers([traffic.append], [changes.append])
    for event in (COMPLETED, Polled("no folder"), DROPPED):
        observers(event)
    assert traffic == [COMPLETED, DROPPED]
    assert changes == [Polled("no folder")]


def test_every_event_class_is_in_the_union() -> None:
    named = {
        each
        for each in vars(events).values()
        if isinstance(each, type)
        and hasattr(each, "_fields")
        and each.__module__ == events.__name__
    }
    parts_of_others = {events.Timing, events.Actor}
    assert named - parts_of_others == set(get_args(Event))
    assert set(get_args(Event)) >= TRAFFIC


def test_an_observer_that_raises_is_logged_and_others_still_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Event] = []

    def fail(event: Event) -> None:
        raise ZeroDivisionError(event)

    with caplog.at_level(logging.ERROR):
        Observers([fail, told.append], [])(COMPLETED)
    assert told == [COMPLETED]
    assert "RequestCompleted" in caplog.text and "ZeroDivisionError" in caplog.text


def test_the_time_of_a_batch_is_the_sum_of_its_parts() -> None:
    assert Timing(assemble=1.0, compute=20.0, split=300.0, padding=0.5).total == 321.0
