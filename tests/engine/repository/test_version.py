"""A version serves while it is READY, answers admitted requests, and then frees its memory."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from weakref import ref

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.errors import NotReady, ShuttingDown, SignatureMismatch
from service.core.events import Event, StateChanged, ThreadLost
from service.core.lifecycle import State
from service.core.requests import Terms
from service.core.tensors import DATATYPES, Arrays, Tensor
from service.engine.loading.loader import load
from service.engine.repository.version import STUCK, UNLOADED, ModelVersion
from service.engine.storage.folder import VersionFiles
from tests.repositories import put, scale

WAITING = {"batching": {"max_queue_delay": 0.1, "preferred_batch_size": 4}}


class Made:
    """A version of a model that doubles its rows, and its events."""

    def __init__(self, root: Path, config: ModelConfig) -> None:
        self.told: list[Event] = []
        self.lost: list[ModelVersion] = []
        home = put(root, "m", 1, scale(2))
        files = VersionFiles(home / "model.onnx", home, home.parent, root)
        self.version = ModelVersion(
            "m", 1, files, config, self.told.append, when_lost=self.lost.append
        )
        self.home = home

    def start(self) -> None:
        self.version.start(load(self.home, self.version.config, 1))

    def ask(self, rows: int = 1, name: str = "x") -> asyncio.Future[Arrays]:
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        array = np.ones((rows, 2), np.float32)
        self.version.submit((Tensor(name, DATATYPES["FP32"], array),), Terms(), reply)
        return reply

    @property
    def states(self) -> list[str]:
        return [f"{e.state} {e.reason}".strip() for e in self.told if isinstance(e, StateChanged)]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    one = Made(tmp_path, ModelConfig())
    yield one
    await one.version.stop(0.0)


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[Made]:
    """A version whose requests wait for a full batch."""
    one = Made(tmp_path, ModelConfig.model_validate(WAITING))
    one.start()
    yield one
    await one.version.stop(0.0)


async def test_a_version_serves_only_after_its_start(made: Made) -> None:
    with pytest.raises(NotReady, match='model "m" version 1 is LOADING$'):
        made.ask()
    made.start()
    (output,) = await made.ask(rows=3)
    assert output.tolist() == [[2, 2]] * 3
    with pytest.raises(SignatureMismatch, match='"z"'):
        made.ask(name="z")
    assert made.version.signature.inputs[0].name == "x" and made.version.padding is None


async def test_requests_to_a_failed_version_get_its_reason(made: Made) -> None:
    made.version.fail("load: no file")
    with pytest.raises(NotReady, match="is UNAVAILABLE: load: no file"):
        made.ask()
    await made.version.stop(60.0)  # nothing to drain
    assert made.states == ["UNAVAILABLE load: no file"]


async def test_admitted_requests_are_answered_before_the_version_is_freed(waiting: Made) -> None:
    first = waiting.ask()
    waiting.version.begin_stop(60.0)
    assert waiting.version.state is State.UNLOADING
    with pytest.raises(NotReady, match="UNLOADING"):
        waiting.ask()
    await waiting.version.stop(60.0)
    assert first.done() and first.result()[0].tolist() == [[2, 2]]
    assert waiting.states == ["READY", "UNLOADING", f"UNAVAILABLE {UNLOADED}"]


async def test_requests_not_answered_within_the_drain_timeout_get_an_error(tmp_path: Path) -> None:
    slow = {"batching": {"max_queue_delay": 10.0, "preferred_batch_size": 4}}
    one = Made(tmp_path, ModelConfig.model_validate(slow))
    one.start()
    first = one.ask()
    assert await one.version.wait_idle(0.0) is False
    await one.version.stop(0.0)
    assert isinstance(first.exception(), ShuttingDown)
    assert one.version.state is State.UNAVAILABLE


async def test_a_drain_continues_when_its_caller_is_cancelled(waiting: Made) -> None:
    first = waiting.ask()
    asking = asyncio.create_task(waiting.version.stop(60.0))
    await asyncio.sleep(0)
    asking.cancel()
    await waiting.version.stop(60.0)
    assert asking.cancelled() and first.done()
    assert waiting.states.count("UNLOADING") == 1


async def test_a_stopped_version_frees_its_sessions_and_keeps_its_metadata(made: Made) -> None:
    made.start()
    loaded, batcher = made.version.serving()
    (session,) = {each.run.__self__ for each in loaded.instances}  # type: ignore[attr-defined]
    watched = ref(session)
    del loaded, batcher, session
    await made.version.stop(60.0)
    gc.collect()
    assert watched() is None
    assert made.version.loaded is not None and made.version.loaded.signature.inputs
    assert made.version.batcher is None


async def test_a_lost_thread_ends_the_version_once(made: Made) -> None:
    made.start()
    made.version._lose(True)
    made.version._lose(True)
    assert made.lost == [made.version]
    with pytest.raises(NotReady, match="UNLOADING"):
        made.ask()
    await made.version.stop(60.0)
    assert made.states[-1] == f"UNAVAILABLE {STUCK}"
    made.version._lose(False)
    threads = [event for event in made.told if isinstance(event, ThreadLost)]
    assert [event.back for event in threads] == [False, False, True]


async def test_cancelled_requests_leave_the_queue(waiting: Made) -> None:
    batcher = waiting.version.batcher
    assert batcher is not None
    waiting.ask().cancel()
    kept = waiting.ask()
    waiting.version.withdraw()
    await asyncio.sleep(0)
    assert batcher.in_flight == 1 and not kept.done()
    await kept


def test_labels_of_the_settings_override_those_of_the_file(tmp_path: Path) -> None:
    config = ModelConfig.model_validate({"outputs": {"y": {"labels": ["cat", "dog"]}}})
    made = Made(tmp_path, config)
    assert made.version.labels("y") == ("cat", "dog")
    assert made.version.labels("z") == ()
