"""Versions change their state only by the transitions in the table."""

from itertools import product

import pytest

from service.core.lifecycle import TRANSITIONS, State, move


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_transitions_follow_the_table(old: State, new: State) -> None:
    if new in TRANSITIONS[old]:
        assert move(old, new) is new
    else:
        with pytest.raises(AssertionError, match=f"from {old} to {new}"):
            move(old, new)


def test_a_version_is_ready_only_after_loading_and_unavailable_only_after_draining() -> None:
    before_ready = {old for old, new in TRANSITIONS.items() if State.READY in new}
    assert before_ready == {State.LOADING}
    assert TRANSITIONS[State.READY] == {State.UNLOADING}
