"""A version is blamed for a crash only if it was the only one at work."""

from service.core.crashes import Crashes
from service.core.ledger import Work

A, B = Work("a", 1), Work("b", 2)


def test_a_version_alone_at_work_in_two_crashes_is_quarantined() -> None:
    once = Crashes().with_crash("SIGSEGV", [A])
    assert once.quarantined == () and once.total == 1
    twice = once.with_crash("SIGABRT", [A])
    assert twice.quarantined == (A,)
    assert "2 crashes" in twice.reasons[A] and "swap" in twice.reasons[A]
    assert twice.counts == {("SIGSEGV", "a"): 1, ("SIGABRT", "a"): 1}
    assert twice.last == 'SIGABRT, at work: model "a" version 1'


def test_no_version_is_blamed_if_several_were_at_work() -> None:
    crashes = Crashes()
    for _ in range(5):
        crashes = crashes.with_crash("SIGSEGV", [A, B]).with_crash("SIGKILL", [])
    assert crashes.quarantined == () and crashes.total == 10
    assert crashes.counts == {("SIGSEGV", ""): 5, ("SIGKILL", ""): 5}


def test_versions_of_a_model_are_blamed_separately() -> None:
    crashes = Crashes().with_crash("SIGSEGV", [A]).with_crash("SIGSEGV", [Work("a", 2)])
    assert crashes.quarantined == ()


def test_without_blame_forgets_earlier_crashes() -> None:
    crashes = Crashes().with_crash("SIGSEGV", [A]).with_crash("SIGSEGV", [A]).without_blame(A)
    assert crashes.quarantined == () and crashes.total == 2
    assert crashes.with_crash("SIGSEGV", [A]).quarantined == ()


def test_crashes_survive_a_json_round_trip() -> None:
    crashes = Crashes().with_crash("SIGSEGV", [A]).with_crash("exit code 1", [A, B])
    assert Crashes.from_json(crashes.to_json()) == crashes
    assert Crashes.from_json(Crashes().to_json()) == Crashes()
