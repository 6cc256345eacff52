"""A model: a name, the versions of it that are loaded, and the one that serves."""

from dataclasses import dataclass, field
from pathlib import Path

from service.config import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import NotFound, NotReady
from service.core.events import Observer, StateChanged
from service.core.lifecycle import State, move
from service.core.requests import Terms
from service.core.tensors import Signature, Tensor
from service.engine.batcher import DynamicBatcher, Reply
from service.engine.loading import Loaded

UNLOADED = "unloaded"
"""Why a version that was drained is not available."""


class ModelVersion:
    """One version: its state, and while it is READY its batcher."""

    def __init__(
        self, model: str, number: int, folder: Path, config: ModelConfig, observe: Observer
    ) -> None:
        self.config = config
        self.model = model
        self.number = number
        self.folder = folder
        self._observe = observe
        # All mutable state: these four change together, in `start`, `fail` and `stop`.
        self.state = State.LOADING
        self.reason = ""
        self.loaded: Loaded | None = None
        self.batcher: DynamicBatcher | None = None

    def start(self, loaded: Loaded) -> None:
        """Serve: the version is loaded and warm."""
        self.loaded = loaded
        self.batcher = DynamicBatcher(
            (self.model, self.number),
            loaded.policy,
            loaded.instances,
            self._observe,
            inline=loaded.plan.inline,
        )
        self._move(State.READY, "")

    def fail(self, reason: str) -> None:
        """Note why the version cannot serve."""
        self._move(State.UNAVAILABLE, reason)

    async def stop(self) -> None:
        """Answer what was admitted, then let go of everything."""
        if self.batcher is None:
            return
        self._move(State.UNLOADING, "")
        await self.batcher.drain()
        self.batcher.close()
        self.batcher = self.loaded = None
        self._move(State.UNAVAILABLE, UNLOADED)

    def labels(self, output: str) -> tuple[str, ...]:
        """The names of an output's classes; none where model.toml gives none."""
        found = self.config.outputs.get(output)
        return found.labels if found else ()

    def submit(self, inputs: tuple[Tensor, ...], terms: Terms, reply: Reply) -> None:
        """Check a request against the signature and queue it.

        Raises:
            RequestError, MomentError: see ``Signature.check`` and ``DynamicBatcher.submit``.
        """
        loaded, batcher = self.serving()
        arrays = loaded.signature.check(inputs)
        whole = loaded.plan.mode is BatchingMode.REQUESTS
        rows = loaded.signature.rows(arrays) if loaded.signature.batchable else 1
        # Run whole, a request counts as one row, once its size has been found to fit.
        counted = 1 if whole and rows <= loaded.policy.max_rows else rows
        batcher.submit(arrays, counted, terms, reply)

    @property
    def signature(self) -> Signature:
        """What the version takes and gives.

        Raises:
            NotReady: it does not serve.
        """
        return self.serving()[0].signature

    def withdraw(self) -> None:
        """Take requests whose reply was cancelled out of the queue."""
        if self.batcher is not None:
            self.batcher.withdraw()

    def serving(self) -> tuple[Loaded, DynamicBatcher]:
        """What runs requests.

        Raises:
            NotReady: the version does not serve; with its state and the reason.
        """
        if self.loaded is None or self.batcher is None or self.state is not State.READY:
            why = f": {self.reason}" if self.reason else ""
            raise NotReady(f'model "{self.model}" version {self.number} is {self.state}{why}')
        return self.loaded, self.batcher

    def _move(self, state: State, reason: str) -> None:
        self.state, self.reason = move(self.state, state), reason
        self._observe(StateChanged(self.model, self.number, state, reason))


@dataclass(eq=False, slots=True)
class Model:
    """A name and its versions; ``latest`` is what a request without a version gets."""

    name: str
    config: ModelConfig
    versions: dict[int, ModelVersion] = field(default_factory=dict)
    on_disk: tuple[int, ...] = ()
    reason: str = ""

    @property
    def serving(self) -> ModelVersion | None:
        """The version that answers requests that name none."""
        return self.versions[max(self.versions)] if self.versions else None

    def version(self, number: int | None = None) -> ModelVersion:
        """A version by its number, or the serving one.

        Raises:
            NotFound: there is none, or it is not loaded.
            NotReady: the model as a whole is not usable.
        """
        if number is None:
            if self.serving is None:
                raise NotReady(f'model "{self.name}" is UNAVAILABLE: {self.reason}')
            return self.serving
        if number in self.versions:
            return self.versions[number]
        loaded = ", ".join(map(str, sorted(self.versions))) or "none"
        what = "is not loaded" if number in self.on_disk else "does not exist"
        raise NotFound(f'model "{self.name}" version {number} {what} (loaded: {loaded})')
