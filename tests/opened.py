"""A repository of scale models in this process: asked what it serves, it answers with a factor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.core.events import Event, PhaseStatus, Swapped, SwapPhase
from service.core.requests import Terms
from service.core.tensors import DATATYPES, Arrays, Tensor
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.storage.folder import ModelFolder

SWAP, ROLLBACK = RolloutOptions(Cause.SWAP), RolloutOptions(Cause.ROLLBACK)
FORCE = RolloutOptions(Cause.SWAP, force=True)
ONE = (Tensor("x", DATATYPES["FP32"], np.ones((1, 2), np.float32)),)


@dataclass
class Opened:
    """A repository, its events so far, and hooks that are called for each event."""

    repository: ModelRepository
    events: list[Event]
    hooks: list[Callable[[Event], None]]
    seen: dict[str, ModelFolder] = field(default_factory=dict)

    def submit(self, number: int | None = None, name: str = "m") -> asyncio.Future[Arrays]:
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        self.repository.version(name, number).submit(ONE, Terms(), reply)
        return reply

    async def factor(self, number: int | None = None, name: str = "m") -> float:
        """Return the factor of the model."""
        (output,) = await self.submit(number, name)
        return float(output[0, 0])

    async def swap(self, version: int, options: RolloutOptions = SWAP, name: str = "m") -> None:
        await self.repository.swap(name, version, options)

    async def poll(self, times: int = 2) -> None:
        """Check the folder this many times; files must be unchanged in two checks."""
        for _ in range(times):
            self.seen = await self.repository.poll(self.seen)
            await self.repository.wait_idle()

    def states(self, name: str = "m") -> dict[int, str]:
        return {
            s.number: f"{s.state} {s.reason}".strip() for s in self.repository.model(name).status()
        }

    def phases(self, version: int) -> list[str]:
        """Return the finished phases of a version, since the start."""
        told = [e for e in self.events if isinstance(e, SwapPhase) and e.version == version]
        return [e.phase for e in told if e.status is not PhaseStatus.STARTED]

    def swaps(self) -> list[tuple[int, int, str]]:
        told = [e for e in self.events if isinstance(e, Swapped)]
        return [(e.old, e.new, e.cause) for e in told]


@asynccontextmanager
async def opened(root: Path, budget: int = 0, **more: Any) -> AsyncIterator[Opened]:
    """Load all models of a folder, and drain them at the end; ``more`` goes to the Context."""
    events: list[Event] = []
    hooks: list[Callable[[Event], None]] = []

    def observe(event: Event) -> None:
        events.append(event)
        for hook in hooks:
            hook(event)

    repository = ModelRepository(root, Context(1, observe, budget, 5, **more))
    await repository.load_all()
    yield Opened(repository, events, hooks)
    await repository.stop()
    assert all(not model.active for model in repository)
