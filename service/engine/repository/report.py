"""The report of a rollout: its phases, each reported to the observer as it begins and ends, and the
checks that they add. An exception in a check is a failed check.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple, ParamSpec, TypeVar

from service.core.checks import Check, failures
from service.core.errors import QuantserveError
from service.core.events import Observer, PhaseStatus, SwapPhase
from service.core.names import displayed
from service.engine.host.heap import forget_frames
from service.engine.loading.thread import LoadingThread

P = ParamSpec("P")
T = TypeVar("T")


class Phase(NamedTuple):
    """A phase that has ended; ``detail`` is for people."""

    name: str
    status: PhaseStatus
    seconds: float
    detail: str


class Report:
    """The report of one rollout. ``phases`` and ``checks`` grow while it runs. Slow work runs in
    ``thread``."""

    def __init__(self, label: tuple[str, int], thread: LoadingThread, observe: Observer) -> None:
        self.phases: list[Phase] = []
        self.checks: list[Check] = []
        self._label = label
        self._thread = thread
        self._observe = observe

    @contextmanager
    def phase(self, name: str) -> Iterator[list[str]]:
        """Time a phase and report it to the observer.

        The phase fails if the body raises or adds a failed check. Otherwise the texts that the body
        adds to the yielded list are the detail of the phase.
        """
        started, before = perf_counter(), len(self.checks)
        self._observe(SwapPhase(*self._label, name, PhaseStatus.STARTED))
        status, detail = PhaseStatus.DONE, ""
        told: list[str] = []
        try:
            yield told
            detail = "; ".join(told)
        except BaseException as error:
            status, detail = PhaseStatus.FAILED, str(error) or type(error).__name__
            raise
        finally:
            if failed := failures(self.checks[before:]):
                status, detail = PhaseStatus.FAILED, failed
            self._end(Phase(name, status, perf_counter() - started, detail))

    def skip(self, name: str, why: str) -> None:
        """Report that a phase does not apply."""
        self._end(Phase(name, PhaseStatus.SKIPPED, 0.0, why))

    async def run(
        self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Run a whole phase in the thread; see ``caught``."""
        with self.phase(name):
            return await self.caught(name, call, *args, **kwargs)

    async def check(
        self, name: str, call: Callable[P, Check | None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Add the check that a call in the thread returns, if any; see ``caught``."""
        if (found := await self.caught(name, call, *args, **kwargs)) is not None:
            self.checks.append(found)

    async def caught(
        self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Call in the thread. If the call raises, add a failed check and return None."""
        try:
            return await self._thread.run(call, *args, **kwargs)
        except Exception as error:
            self.refuse(name, error)
            forget_frames(error)  # the check of the next version needs this memory free
            return None

    def refuse(self, name: str, error: Exception) -> None:
        """Add an error as a failed check, with a text that is safe in JSON and on a terminal."""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, QuantserveError):
            reason = str(error)
        elif isinstance(error, OSError):
            reason = f"the files of the version: {error.strerror}"
        self.checks.append(Check(name, "", displayed(reason), "", False))

    def _end(self, phase: Phase) -> None:
        self.phases.append(phase)
        name, status, seconds, detail = phase
        self._observe(SwapPhase(*self._label, name, status, seconds, detail))
