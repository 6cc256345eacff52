"""The next step, from the versions on disk, pinned, allowed, loaded and refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.versions import (
    Action,
    Found,
    Load,
    PolicyKind,
    Serve,
    Unload,
    VersionPolicy,
    View,
    candidates,
    next_action,
)

LATEST = VersionPolicy()
TWO = VersionPolicy(PolicyKind.LATEST, 2)
ALL = VersionPolicy(PolicyKind.ALL)
ONLY_1 = VersionPolicy(PolicyKind.SPECIFIC, numbers=frozenset({1}))


def found(*numbers: int, growing: int = 0) -> tuple[Found, ...]:
    return tuple(Found(n, f"r{n}", f"e{n}", n != growing) for n in numbers)


def held(*numbers: int) -> tuple[tuple[int, str], ...]:
    return tuple((n, f"r{n}") for n in numbers)


def refused(*numbers: int) -> frozenset[tuple[int, str]]:
    return frozenset((n, f"e{n}") for n in numbers)


TABLE = [
    ("nothing on disk asks for nothing", View(), None),
    ("at the start the highest serves", View(found(1, 2)), Serve(2)),
    ("the pinned one serves, not the highest", View(found(1, 2), pin=1), Serve(1)),
    ("a pin that is gone counts for nothing", View(found(2, 3), pin=1), Serve(3)),
    ("a refused version gives way to a lower one", View(found(1, 2), refused=refused(2)), Serve(1)),
    (
        "below a pin that fails, only lower ones are tried",
        View(found(1, 2, 3), pin=2, refused=refused(2)),
        Serve(1),
    ),
    ("nothing above a pin that fails is tried", View(found(1, 2), pin=1, refused=refused(1)), None),
    ("other evidence gives a new trial", View(found(2), refused=frozenset({(2, "old")})), Serve(2)),
    ("a growing version waits", View(found(1, 2, growing=2), held=held(1), serving=1), None),
    ("one that has grown takes over", View(found(1, 2), held=held(1), serving=1), Serve(2)),
    ("what agrees is left alone", View(found(1, 2), held=held(2), serving=2), None),
    (
        "a failed newcomer changes nothing",
        View(found(1, 2), held=held(1), serving=1, refused=refused(2)),
        None,
    ),
    (
        "changed files or settings load the serving version again",
        View(found(1), held=((1, "old"),), serving=1),
        Serve(1),
    ),
    (
        "but not while they change",
        View(found(1, growing=1), held=((1, "old"),), serving=1),
        None,
    ),
    (
        "one whose new files fail serves on from the old",
        View(found(1), held=((1, "old"),), serving=1, refused=refused(1)),
        None,
    ),
    ("of the latest two both are loaded", View(found(1, 2, 3), None, TWO, held(3), 3), Load(2)),
    ("counted from the pin down", View(found(1, 2, 3), 2, TWO, held(2), 2), Load(1)),
    ("all are loaded", View(found(1, 2), None, ALL, held(2), 2), Load(1)),
    ("a specific version serves", View(found(1, 2), None, ONLY_1), Serve(1)),
    ("a pin goes beyond a policy", View(found(1, 2), 2, ONLY_1), Serve(2)),
    ("what nothing asks for goes", View(found(1, 2), None, LATEST, held(1, 2), 2), Unload(1)),
    ("unless it is kept for a rollback", View(found(1, 2), None, LATEST, held(1, 2), 2, 1), None),
    ("or gone from disk", View(found(2), None, LATEST, held(1, 2), 2, 1), Unload(1)),
    ("the serving one goes when it is off the disk", View((), held=held(1), serving=1), Unload(1)),
    ("and after another has taken over", View(found(2), held=held(1), serving=1), Serve(2)),
    (
        "what serves stays though the policy is against it, until another can",
        View(found(1, 2), None, ONLY_1, held(2), 2, refused=refused(1)),
        None,
    ),
]


@pytest.mark.parametrize(("view", "action"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_the_next_step_follows_from_the_state(view: View, action: Action | None) -> None:
    assert next_action(view) == action


def test_candidates_are_the_pin_and_then_lower_versions() -> None:
    assert candidates([1, 2, 3], 2, LATEST) == [2, 1]
    assert candidates([1, 2, 3], None, LATEST) == [3, 2, 1]
    assert candidates([1, 2, 3], 4, LATEST) == [3, 2, 1]


numbers = st.sets(st.integers(1, 5))
policies = st.one_of(
    st.builds(VersionPolicy, st.just(PolicyKind.LATEST), st.integers(1, 3)),
    st.just(ALL),
    st.builds(VersionPolicy, st.just(PolicyKind.SPECIFIC), st.just(1), numbers.map(frozenset)),
)


@given(numbers, numbers, numbers, st.none() | st.integers(1, 5), policies)
def test_steps_end_with_the_best_version_that_passes(
    on_disk: set[int], broken: set[int], before: set[int], pin: int | None, policy: VersionPolicy
) -> None:
    serving = max(before, default=None)
    view = View(found(*sorted(on_disk)), pin, policy, held(*before), serving)
    for _ in range(30):
        action = next_action(view)
        if action is None:
            break
        view = perform(view, action, broken)
    assert next_action(view) is None
    fit = [n for n in on_disk if n not in broken or n in before]
    best = [n for n in candidates(on_disk, pin, policy) if n in fit]
    if best:
        assert view.serving == best[0]
    loaded = {n for n, _ in view.held}
    wanted = {n for n in policy.loaded(on_disk, pin) if n in fit}
    assert wanted <= loaded <= on_disk


def perform(view: View, action: Action, broken: set[int]) -> View:
    number = action.number
    if isinstance(action, Unload):
        serving = None if view.serving == number else view.serving
        kept = tuple(each for each in view.held if each[0] != number)
        return replace(view, held=kept, serving=serving)
    if number in broken and number not in {n for n, _ in view.held}:
        return replace(view, refused=view.refused | refused(number))
    kept = tuple({*view.held, *held(number)})
    return replace(view, held=kept, serving=number if isinstance(action, Serve) else view.serving)
