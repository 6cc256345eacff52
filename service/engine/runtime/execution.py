"""Execution of one batch by an instance: assemble, run, split. Synchronous, so that it can be
called in an instance's thread or, for very short runs, in the event loop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from service.core.assembly import assemble, split
from service.core.batching import Batch, BatchingMode, BatchPolicy, Entry
from service.core.errors import ExecutionFailed, ModelError, QuantserveError, RequestError
from service.core.events import Timing
from service.core.tensors import Arrays


class Control(Protocol):
    """Ends runs from another thread.

    When ``terminate`` becomes True, all runs that have this control fail at the next node of the
    graph, and so do later runs. ONNX Runtime's ``RunOptions`` is a control.
    """

    terminate: bool


@dataclass(slots=True)
class Unheeded:
    """A control for a run that cannot be ended, such as a function in place of a graph."""

    terminate: bool = False


# In Python 3.11 looking up a member of an enumeration takes ten times as long as a module's name.
_REQUESTS = BatchingMode.REQUESTS
Places = tuple[int, ...] | None
Run = Callable[[Arrays, Places], Arrays]
"""Runs a graph: inputs in signature order, and the indices of the requested outputs (None: all)."""
ControlledRun = Callable[[Arrays, Places, Control | None], Arrays]
"""The same, with a control that ends the run."""


Result = Arrays | QuantserveError


class Execution(NamedTuple):
    """The result of a batch: one for each entry, and its timing."""

    results: tuple[Result, ...]
    timing: Timing

    def instead(self, why: QuantserveError) -> "Execution":
        """Return the same with this error in place of each error, for a run that was ended."""
        told = [why if isinstance(each, QuantserveError) else each for each in self.results]
        return Execution(tuple(told), self.timing)


@dataclass(frozen=True, slots=True)
class Instance:
    """A runnable graph that runs one batch at a time."""

    run: ControlledRun
    policy: BatchPolicy

    def execute(self, batch: Batch[Any], control: Control | None = None) -> Execution:
        """Run a batch. If it fails, run each request alone once: only the bad request fails."""
        execution = self._together(batch.entries, control)
        if len(batch.entries) == 1 or not isinstance(execution.results[0], QuantserveError):
            return execution
        alone = [self._together((entry,), control) for entry in batch.entries]
        timings = [execution.timing, *(single.timing for single in alone)]
        return Execution(tuple(single.results[0] for single in alone), _sum(timings))

    def _together(self, entries: tuple[Entry[Any], ...], control: Control | None) -> Execution:
        started = assembled = computed = perf_counter()
        key = entries[0].key
        share = 0.0
        whole = self.policy.mode is _REQUESTS or key.alone is not None
        padding = None if whole else self.policy.padding  # a whole request is not padded
        results: tuple[Result, ...]
        try:
            inputs, share = assemble(entries, padding)
            assembled = computed = perf_counter()
            outputs = self.run(inputs, key.outputs, control)
            computed = perf_counter()
            results = (outputs,) if whole else tuple(split(entries, outputs, padding))
        except (RequestError, ModelError) as error:
            results = (error,) * len(entries)
        except Exception as error:
            failed = ExecutionFailed(f"{type(error).__name__}: {error}")
            failed.__cause__ = error
            results = (failed,) * len(entries)
        done = perf_counter()
        timing = Timing(assembled - started, computed - assembled, done - computed, share)
        return Execution(results, timing)


def _sum(timings: list[Timing]) -> Timing:
    return Timing(
        sum(t.assemble for t in timings),
        sum(t.compute for t in timings),
        sum(t.split for t in timings),
        timings[0].padding,
        len(timings),
    )
