"""States of a connection, the events that change the state, and the timeout of each state, as
tables."""

from enum import IntEnum, auto
from typing import NamedTuple


class State(IntEnum):
    """The next thing that the server expects from the client."""

    OPENED = 0
    """The first request; no byte has been received."""
    HEAD = auto()
    """The rest of a request head."""
    BODY = auto()
    """The rest of a request body."""
    ANSWERING = auto()
    """Nothing: replies are due."""
    IDLE = auto()
    """The next request: every reply is sent."""
    DISCARDING = auto()
    """The rest of a body whose reply is already sent. It is dropped: closing while the client still
    sends would reset the connection, and the client may lose the reply."""
    ENDING = auto()
    """Nothing, and nothing more is parsed. Replies are due; then the connection is closed."""
    CLOSING = auto()
    """That the client reads the rest of the write buffer."""


class Event(IntEnum):
    """An event that changes the state."""

    HEAD_BEGUN = 0
    """The first byte of a request was received."""
    HEAD_COMPLETE = auto()
    BODY_COMPLETE = auto()
    ANSWERED = auto()
    """The last reply that was due is sent."""
    ANSWERED_EARLY = auto()
    """A reply is sent before the end of its request."""
    FAILED = auto()
    """The client violated the protocol or a limit. Replies may be due."""
    CLOSED = auto()
    """The connection is to be closed once the write buffer is sent."""


class Expiry(IntEnum):
    """The action when the timeout of a state expires."""

    CLOSE = 0
    HEAD_TIMEOUT = auto()
    """Reply with status 408, then close."""
    BODY_TIMEOUT = auto()
    """Call ``time_out`` of the request's receiver, which replies."""


class Timeout(NamedTuple):
    """A timeout: the name of its setting in ``Limits``, and the action when it expires."""

    setting: str
    expiry: Expiry


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.OPENED: {Event.HEAD_BEGUN: State.HEAD},
    State.IDLE: {Event.HEAD_BEGUN: State.HEAD},
    State.ANSWERING: {Event.HEAD_BEGUN: State.HEAD, Event.ANSWERED: State.IDLE},
    State.HEAD: {
        Event.HEAD_BEGUN: State.HEAD,  # parsed again, without an offer of another protocol
        Event.HEAD_COMPLETE: State.BODY,
        Event.ANSWERED: State.HEAD,
    },
    State.BODY: {
        Event.BODY_COMPLETE: State.ANSWERING,
        Event.ANSWERED_EARLY: State.DISCARDING,
    },
    State.DISCARDING: {Event.BODY_COMPLETE: State.IDLE},
    State.ENDING: {Event.ANSWERED: State.CLOSING},
    State.CLOSING: {Event.ANSWERED: State.CLOSING},
}
"""In addition, ``CLOSED`` leads to CLOSING from every state, and ``FAILED`` leads to ENDING from
every state but CLOSING, which it keeps. Any other pair is a defect and raises KeyError."""
for _state, _events in TRANSITIONS.items():
    _events[Event.FAILED] = max(_state, State.ENDING)
    _events[Event.CLOSED] = State.CLOSING

TIMEOUTS = {
    State.OPENED: Timeout("head", Expiry.CLOSE),
    State.HEAD: Timeout("head", Expiry.HEAD_TIMEOUT),
    State.BODY: Timeout("body", Expiry.BODY_TIMEOUT),
    State.IDLE: Timeout("keep_alive", Expiry.CLOSE),
    State.DISCARDING: Timeout("linger", Expiry.CLOSE),
}
"""States without a timeout wait for the server itself, or, in CLOSING, have ``Limits.stall``."""
