"""The tables of a connection's states."""

from service.api.http1.states import TIMEOUTS, TRANSITIONS, Event, State


def test_every_state_has_its_events_and_each_can_fail_and_close() -> None:
    assert set(TRANSITIONS) == set(State)
    for events in TRANSITIONS.values():
        assert {Event.FAILED, Event.CLOSED} <= set(events)


def test_every_state_is_reachable() -> None:
    reached = {State.OPENED}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)


def test_an_ending_connection_never_reopens() -> None:
    for state in (State.ENDING, State.CLOSING):
        assert min(TRANSITIONS[state].values()) >= State.ENDING
    assert set(TRANSITIONS[State.CLOSING].values()) == {State.CLOSING}


def test_every_state_that_waits_for_the_client_has_a_timeout() -> None:
    of_the_server = {State.ANSWERING, State.ENDING, State.CLOSING}
    assert set(TIMEOUTS) == set(State) - of_the_server
