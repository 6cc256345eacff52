"""What a report has of phases, checks and exceptions."""

import pytest

from service.core.checks import Check
from service.core.events import Event, PhaseStatus, SwapPhase
from service.engine.loading.thread import LoadingThread
from service.engine.repository.report import Report
from service.engine.runtime.execution import Unheeded


def reported() -> tuple[Report, list[Event]]:
    events: list[Event] = []
    return Report(("m", 2), LoadingThread(Unheeded(), 60.0), events.append), events


async def test_a_phase_is_reported_as_it_begins_and_ends() -> None:
    report, events = reported()
    with report.phase("signature") as told:
        assert events == [SwapPhase("m", 2, "signature", PhaseStatus.STARTED)]
        told += ["one", "two"]
    report.skip("golden", "there is none")
    assert [(each.name, each.status, each.detail) for each in report.phases] == [
        ("signature", PhaseStatus.DONE, "one; two"),
        ("golden", PhaseStatus.SKIPPED, "there is none"),
    ]
    assert events[1:] == [
        SwapPhase("m", 2, name, status, seconds, detail)
        for name, status, seconds, detail in report.phases
    ]


async def test_a_phase_fails_with_its_body_or_a_check() -> None:
    report, _ = reported()
    with pytest.raises(KeyError), report.phase("switch"):
        raise KeyError
    with report.phase("memory"):
        report.checks.append(Check("memory", "", "too large", "", False))
    assert [(each.status, each.detail) for each in report.phases] == [
        (PhaseStatus.FAILED, "KeyError"),
        (PhaseStatus.FAILED, "memory: too large"),
    ]


async def test_an_exception_in_the_thread_is_a_failed_check() -> None:
    report, _ = reported()
    assert await report.run("load", divmod, 7, 2) == (3, 1)
    assert await report.caught("load", divmod, 7, 0) is None
    await report.check("rows", lambda: None)
    passed = Check("rows", "", "", "", True)
    await report.check("rows", lambda: passed)
    report.refuse("golden", OSError(2, "No such file"))
    refused = [str(check) for check in report.checks if not check.passed]
    assert refused[0].startswith("load: ZeroDivisionError: ")
    assert refused[1:] == ["golden: the files of the version: No such file"]
    assert passed in report.checks
