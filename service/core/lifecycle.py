"""The states of a model version and the moves between them; every move is in this table.

The names of the states are those of the protocol's repository index. A version is READY only
after it is warm, and it is UNLOADING before anything of it is taken away.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a version is in its life."""

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
    """The new state, if the table allows the move; an illegal move is a bug, not a condition."""
    if new not in TRANSITIONS[old]:
        raise AssertionError(f"a version cannot go from {old} to {new}. This is a bug.")
    return new
