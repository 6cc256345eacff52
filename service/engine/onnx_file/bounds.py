"""Collects the nodes and constants of a file, from which ``core.bounded`` decides whether shapes
bound the graph's run time."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.core.bounded import Step, unbounded_step

ALL_LISTED = 4
"""Before this version of ONNX's IR each constant was also listed as an input, and no request could
replace it."""


class _Scope:
    """The nodes of a graph or a function, with the names of its tensors and inputs."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.tensors: set[str] = set()
        self.entries: set[str] = set()


class Bounds:
    """The scopes of a file: its graph and each function. Each scope has its own names."""

    def __init__(self) -> None:
        self._graph = self._current = _Scope()
        self._scopes = [self._graph]
        self._functions: set[tuple[str, str]] = set()

    def visit(self, step: Step) -> None:
        """Add a node. Nodes of its subgraphs come before it."""
        self._current.steps.append(step)
        if step.operator != "Constant":  # its tensor was added by ``keep``
            self._current.tensors.difference_update(step.outputs)

    def keep(self, name: str) -> None:
        """Add a constant tensor."""
        self._current.tensors.add(name)

    def entry(self, name: str) -> None:
        """Add an input of a graph. A request may replace a tensor of the same name."""
        self._current.entries.add(name)

    @contextmanager
    def function(self, domain: str, name: str) -> Iterator[None]:
        """Collect everything that is added in this context as parts of a function."""
        self._current = _Scope()
        self._scopes.append(self._current)
        self._functions.add((domain, name))
        yield
        self._current = self._graph

    def broken(self, ir_version: int) -> str:
        """Describe the first step whose cost shapes do not bound; "" if there is none."""
        for scope in self._scopes:
            fixed = 0 < ir_version < ALL_LISTED
            constants = scope.tensors if fixed else scope.tensors - scope.entries
            if found := unbounded_step(scope.steps, constants, self._functions):
                return found
        return ""
