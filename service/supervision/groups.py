"""Groups of workers that change together."""

from collections.abc import Mapping, Sequence

from service.supervision.coordinator import Coordinator


class Groups:
    """The workers that share the port are one group. Each dedicated worker is a group of its own.
    A coordinator orders the changes of each group.

    Workers are numbered from 0: first the ``shared`` ones, then the dedicated workers of the models
    ``own``.
    """

    def __init__(self, shared: int, own: Sequence[str]) -> None:
        self.own: Mapping[str, int] = {name: shared + at for at, name in enumerate(own)}
        """The dedicated worker of each model that has one."""
        self._shared = shared
        self._coordinators = [Coordinator() for _ in range(1 + len(own))]

    def of_worker(self, worker: int) -> Coordinator:
        """Return the coordinator of the worker's group."""
        return self._coordinators[max(0, worker - self._shared + 1)]

    def of_model(self, model: str) -> Coordinator:
        """Return the coordinator of the group that serves a model."""
        return self.of_worker(self.own.get(model, 0))
