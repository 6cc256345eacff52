"""The states of a model version and the transitions between them.

The states have the names of the protocol's repository index. A version becomes READY after its
warm-up, and UNLOADING before any of its resources is released.
"""

from enum import StrEnum


class State(StrEnum):
    """The state of a version."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.UNAVAILABLE: frozenset({State.LOADING}),
    State.LOADING: frozenset({State.READY, State.UNAVAILABLE}),
    State.READY: frozenset({State.UNLOADING}),
    State.UNLOADING: frozenset({State.UNAVAILABLE}),
}


def move(old: State, new: State) -> State:
    """Return the new state if ``TRANSITIONS`` allows it. A transition that is not allowed is a
    bug."""
    if new not in TRANSITIONS[old]:
        raise AssertionError(f"a version cannot go from {old} to {new}. This is a bug.")
    return new
