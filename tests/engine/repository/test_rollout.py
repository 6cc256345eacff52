"""A version that fails the gate is refused with its reason, and its memory is freed."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from service.core.errors import ExecutionFailed, GateFailed, NotReady
from service.core.versions import Pin
from service.engine.loading.loaded import Loaded, Opened
from service.engine.repository import rollout
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.runtime.session import Session
from service.engine.storage.folder import read_model
from service.engine.storage.pin_file import write_pin
from tests.engine import graphs
from tests.opened import FORCE, SWAP, opened
from tests.patience import until
from tests.repositories import ROWS, golden, put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


def pin_of(root: Path) -> Pin | None:
    model = read_model(root / "m")
    return model.pin if model else None


async def test_a_version_that_fails_on_rows_of_the_live_one_is_refused(root: Path) -> None:
    put(root, "wide", 1, scale(1, width=4))
    async with opened(root) as it:
        put(root, "wide", 2, graphs.fails_from(1).SerializeToString())
        with pytest.raises(GateFailed, match="rows of the live version that run is 0, ") as e:
            await it.repository.swap("wide", 2, SWAP)
        (failed,) = [check for check in e.value.checks if not check.passed]
        assert (failed.measured, failed.required) == (0, 8) and "Gather" in failed.detail
        assert it.states("wide")[1] == "READY"
        served = await it.repository.swap("wide", 2, FORCE)
        assert "rows of the live version" in served.forced


async def test_a_version_that_fails_on_rows_serves_if_there_is_no_live_version(
    tmp_path: Path,
) -> None:
    put(tmp_path, "m", 1, graphs.fails_from(1).SerializeToString())
    async with opened(tmp_path) as it:
        assert it.states() == {1: "READY"}


async def test_a_version_that_does_not_reproduce_the_golden_set_is_refused(root: Path) -> None:
    golden(root / "m", 3)
    async with opened(root) as it:
        with pytest.raises(GateFailed, match="relative error.*0.6667, required at most 0.35") as e:
            await it.swap(1)
        assert [(c.measure, c.passed) for c in e.value.checks] == [
            ("inputs and outputs", True),
            ("relative error", False),
            ("cosine", True),
        ]
        assert await it.factor() == 3
        assert it.states()[1].startswith("UNAVAILABLE golden: relative error")
    assert pin_of(root) is None


async def test_a_forced_version_serves_and_survives_a_restart(root: Path) -> None:
    golden(root / "m", 3)
    async with opened(root) as it:
        served = await it.repository.swap("m", 1, FORCE)
        assert "relative error" in served.forced
        assert "relative error" in it.repository.model("m").forced[1]
    async with opened(root) as it:
        assert await it.factor() == 1


async def test_a_version_that_does_not_load_cannot_be_forced(root: Path) -> None:
    put(root, "m", 4, b"no graph")
    async with opened(root) as it:
        with pytest.raises(GateFailed, match="load: model.onnx is not an ONNX model"):
            await it.swap(4, FORCE)
        assert await it.factor() == 3


async def test_another_signature_needs_to_be_allowed(root: Path) -> None:
    put(root, "m", 4, scale(4, "other"))
    write_pin(root / "m", Pin(3))
    async with opened(root) as it:
        with pytest.raises(GateFailed, match='no input "x" FP32'):
            await it.swap(4)
        await it.swap(4, RolloutOptions(Cause.SWAP, allow_signature_change=True))
        loaded, _ = it.repository.version("m").serving()
        assert loaded.signature.inputs[0].name == "other"


async def test_a_version_may_have_its_own_golden_set(root: Path) -> None:
    golden(root / "m", 3)
    golden(root / "m/1", 1)
    async with opened(root) as it:
        await it.swap(1)
        assert await it.factor() == 1


@pytest.mark.parametrize("reference", [True, False])
async def test_a_required_figure_that_cannot_be_measured_fails(root: Path, reference: bool) -> None:
    asked = "z" if reference else "y"
    (root / "m/model.toml").write_text(f"[gate.outputs.{asked}]\nmin_cosine = 0.5")
    if reference:
        golden(root / "m", 3)
    async with opened(root) as it:
        why = f'golden: model.toml names output "{asked}", golden.npz lacks it'
        assert it.states()[3] == f"UNAVAILABLE {why}"


async def test_a_version_beyond_the_memory_budget_is_not_loaded(root: Path) -> None:
    async with opened(root, budget=1) as it:
        assert it.repository.model("m").serving is None
        assert "required at most 1" in it.states()[3]
        assert it.phases(3) == ["room"]


async def test_a_slower_version_is_refused_if_model_toml_sets_a_bound(root: Path) -> None:
    np.savez(root / "m/golden.npz", **{"inputs/x": np.repeat(ROWS, 64, 0)})
    (root / "m/model.toml").write_text(
        "[batching]\npreferred_batch_size = 64\n[gate]\nmax_slowdown = 10"
    )
    put(root, "m", 4, slow(3))
    write_pin(root / "m", Pin(3))
    async with opened(root) as it:
        await it.swap(2)
        with pytest.raises(GateFailed, match="speed: time as a multiple"):
            await it.swap(4)
        assert await it.factor() == 2


async def test_the_start_serves_the_highest_version_that_passes(root: Path) -> None:
    golden(root / "m", 2)
    async with opened(root) as it:
        assert await it.factor() == 2
        assert it.states()[3].startswith("UNAVAILABLE golden: relative error")
        with pytest.raises(NotReady, match="version 3 is UNAVAILABLE: golden"):
            await it.factor(3)


def slow(factor: float) -> bytes:
    """As ``scale``, after some hundred milliseconds of useless arithmetic."""
    model = onnx.load_from_string(scale(factor))
    graph, last = model.graph, "x"
    for step, shape in enumerate([(2, 1024), *[(1024, 1024)] * 8, (1024, 2)]):
        weight = numpy_helper.from_array(np.zeros(shape, np.float32), f"w{step}")
        graph.initializer.append(weight)
        graph.node.append(helper.make_node("MatMul", [last, f"w{step}"], [f"h{step}"]))
        last = f"h{step}"
    graph.node[0].output[0] = "scaled"
    graph.node.append(helper.make_node("Add", ["scaled", last], ["y"]))
    result: bytes = model.SerializeToString()
    return result


async def test_an_exception_in_a_gate_check_is_the_versions_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "m", 4, scale(4))
    monkeypatch.setattr(rollout, "room_check", _raise(OverflowError("a path\udce9")))
    async with opened(root, budget=2**40) as it:
        reason = "memory: OverflowError: a path\\xe9"
        assert it.states()[4] == f"UNAVAILABLE {reason}"
        with pytest.raises(GateFailed, match="OverflowError"):
            await it.swap(4)


async def test_a_failed_version_is_freed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is freed before the next garbage collection, so that the next version has the memory."""
    put(tmp_path, "a", 1, scale(2))
    sessions: list[ref[Session]] = []

    def fail(opened: Opened, *_: Any) -> Loaded:
        sessions.append(ref(opened.session))
        raise ExecutionFailed("the model failed") from ValueError("x")

    monkeypatch.setattr(rollout, "warm_up", fail)
    gc.disable()
    try:
        async with opened(tmp_path):
            await asyncio.to_thread(until, lambda: sessions[0]() is None)
    finally:
        gc.enable()


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call
