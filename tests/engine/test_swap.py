"""A swap either happens as a whole or not at all; requests notice nothing but the new answers."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from service.core.errors import Conflict, GateFailed, LoadFailed, NotFound, NotReady, ShuttingDown
from service.core.events import Event, PhaseStatus, SwapPhase
from service.core.lifecycle import State
from service.core.versions import Pin
from service.engine.repository.rollout import Cause, RolloutOptions
from service.engine.storage.folder import read_model
from service.engine.storage.pin_file import write_pin
from tests.engine import graphs
from tests.opened import FORCE, ROLLBACK, SWAP, Opened, opened
from tests.patience import PATIENCE
from tests.repositories import ROWS, golden, put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


def pin_of(root: Path) -> Pin | None:
    model = read_model(root / "m")
    return model.pin if model else None


async def test_the_highest_serves_and_a_swap_changes_that(root: Path) -> None:
    async with opened(root) as it:
        assert await it.factor() == 3
        served = await it.repository.swap("m", 1, SWAP)
        assert await it.factor() == 1
        assert (served.old, served.new, served.changed, served.not_persisted) == (3, 1, True, "")
        names = [phase.name for phase in served.phases]
        assert names == ["load", "signature", "warm-up", "golden", "rows", "switch", "drain"]


async def test_what_served_before_stays_loaded_and_is_back_at_once(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        assert await it.factor(3) == 3
        served = await it.repository.rollback("m", ROLLBACK)
        assert [phase.name for phase in served.phases] == ["switch", "drain"]
        assert await it.factor() == 3
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 1


async def test_only_one_version_before_stays_loaded(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        await it.swap(2)
        assert it.states() == {1: "READY", 2: "READY", 3: "UNAVAILABLE not loaded"}


async def test_none_stays_where_model_toml_says_so(root: Path) -> None:
    (root / "m/model.toml").write_text("[versions]\nkeep_previous = false")
    async with opened(root) as it:
        await it.swap(1)
        assert it.states()[3] == "UNAVAILABLE not loaded"
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3


async def test_a_swap_outlives_a_restart_and_so_does_the_way_back(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
    assert pin_of(root) == Pin(1, 3)
    async with opened(root) as it:
        assert await it.factor() == 1
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3
    assert pin_of(root) == Pin(3, 1)


async def test_latest_is_the_highest_and_no_pin(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        served = await it.repository.swap("m", "latest", SWAP)
        assert served.new == 3 and pin_of(root) is None


async def test_a_version_that_is_not_there_is_named_with_those_that_are(root: Path) -> None:
    async with opened(root) as it:
        with pytest.raises(NotFound, match="no version 7; on disk: 1, 2, 3"):
            await it.swap(7)
        with pytest.raises(NotFound, match='no model "other"'):
            await it.swap(1, name="other")
        assert await it.factor() == 3


async def test_a_swap_to_what_serves_changes_nothing_but_pins_it(root: Path) -> None:
    async with opened(root) as it:
        served = await it.repository.swap("m", 3, SWAP)
        assert not served.changed and it.swaps() == [(0, 3, "start")]
    assert pin_of(root) == Pin(3)


async def test_changed_settings_are_taken_with_the_swap_to_what_serves(root: Path) -> None:
    async with opened(root) as it:
        (root / "m/model.toml").write_text("[batching]\nmax_batch_size = 7")
        served = await it.repository.swap("m", 3, SWAP)
        assert served.changed
        loaded, _ = it.repository.version("m").serving()
        assert loaded.policy.max_rows == 7 and await it.factor() == 3


async def test_settings_that_cannot_be_read_stop_a_swap(root: Path) -> None:
    async with opened(root) as it:
        (root / "m/model.toml").write_text("[batching]\nmax = 7")
        with pytest.raises(LoadFailed, match="batching.max is not a setting"):
            await it.swap(1)
        assert await it.factor() == 3


async def test_there_is_no_way_back_from_the_first_version(root: Path) -> None:
    async with opened(root) as it:
        with pytest.raises(Conflict, match="no version before"):
            await it.repository.rollback("m", ROLLBACK)


async def test_the_way_back_may_be_gone_from_disk_as_long_as_it_is_loaded(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        shutil.rmtree(root / "m/3")
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3
    write_pin(root / "m", Pin(1, 3))
    async with opened(root) as it:
        with pytest.raises(Conflict, match="version 3 is not on disk any more"):
            await it.repository.rollback("m", ROLLBACK)


async def test_a_request_that_was_admitted_by_the_old_version_is_answered_by_it(root: Path) -> None:
    (root / "m/model.toml").write_text(
        "[batching]\nmax_queue_delay = 0.3\npreferred_batch_size = 9"
    )
    async with opened(root) as it:
        before = [it.submit() for _ in range(3)]
        await it.swap(1)
        after = it.submit()
        answers = [float(output[0, 0]) for (output,) in await asyncio.gather(*before, after)]
        assert answers == [3, 3, 3, 1]


class TestTheGate:
    """What may not serve, and what is told of it."""

    async def test_a_version_that_fails_on_what_the_live_one_runs_is_refused(
        self, root: Path
    ) -> None:
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

    async def test_where_nothing_serves_yet_it_is_served_with_care(self, tmp_path: Path) -> None:
        put(tmp_path, "m", 1, graphs.fails_from(1).SerializeToString())
        async with opened(tmp_path) as it:
            assert it.states() == {1: "READY"}

    async def test_a_version_that_does_not_reproduce_the_golden_set_is_refused(
        self, root: Path
    ) -> None:
        golden(root / "m", 3)
        async with opened(root) as it:
            with pytest.raises(
                GateFailed, match="relative error.*0.6667, required at most 0.35"
            ) as e:
                await it.swap(1)
            assert [(c.measure, c.passed) for c in e.value.checks] == [
                ("inputs and outputs", True),
                ("relative error", False),
                ("cosine", True),
            ]
            assert await it.factor() == 3
            assert it.states()[1].startswith("UNAVAILABLE golden: relative error")
        assert pin_of(root) is None

    async def test_force_lets_it_serve_and_is_remembered(self, root: Path) -> None:
        golden(root / "m", 3)
        async with opened(root) as it:
            served = await it.repository.swap("m", 1, FORCE)
            assert "relative error" in served.forced
            assert "relative error" in it.repository.model("m").forced[1]
        async with opened(root) as it:
            assert await it.factor() == 1

    async def test_what_does_not_load_cannot_be_forced(self, root: Path) -> None:
        put(root, "m", 4, b"no graph")
        async with opened(root) as it:
            with pytest.raises(GateFailed, match="load: model.onnx is not an ONNX model"):
                await it.swap(4, FORCE)
            assert await it.factor() == 3

    async def test_another_signature_needs_to_be_allowed(self, root: Path) -> None:
        put(root, "m", 4, scale(4, "other"))
        write_pin(root / "m", Pin(3))
        async with opened(root) as it:
            with pytest.raises(GateFailed, match='no input "x" FP32'):
                await it.swap(4)
            await it.swap(4, RolloutOptions(Cause.SWAP, allow_signature_change=True))
            loaded, _ = it.repository.version("m").serving()
            assert loaded.signature.inputs[0].name == "other"

    async def test_a_version_may_bring_a_golden_set_of_its_own(self, root: Path) -> None:
        golden(root / "m", 3)
        golden(root / "m/1", 1)
        async with opened(root) as it:
            await it.swap(1)
            assert await it.factor() == 1

    @pytest.mark.parametrize("reference", [True, False])
    async def test_what_is_asked_for_and_cannot_be_measured_has_failed(
        self, root: Path, reference: bool
    ) -> None:
        asked = "z" if reference else "y"
        (root / "m/model.toml").write_text(f"[gate.outputs.{asked}]\nmin_cosine = 0.5")
        if reference:
            golden(root / "m", 3)
        async with opened(root) as it:
            why = f'golden: model.toml asks for output "{asked}", golden.npz has none'
            assert it.states()[3] == f"UNAVAILABLE {why}"

    async def test_a_version_that_cannot_fit_the_budget_is_not_even_loaded(
        self, root: Path
    ) -> None:
        async with opened(root, budget=1) as it:
            assert it.repository.model("m").serving is None
            assert "required at most 1" in it.states()[3]
            assert it.phases(3) == ["room"]

    async def test_a_slower_version_is_refused_where_model_toml_asks(self, root: Path) -> None:
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

    async def test_the_start_prefers_what_passes(self, root: Path) -> None:
        golden(root / "m", 2)
        async with opened(root) as it:
            assert await it.factor() == 2
            assert it.states()[3].startswith("UNAVAILABLE golden: relative error")
            with pytest.raises(NotReady, match="version 3 is UNAVAILABLE: golden"):
                await it.factor(3)


def slow(factor: float) -> bytes:
    """As ``scale``, after some hundred milliseconds of arithmetic of no use."""
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


class TestAtTheSameTime:
    """Whatever is asked while something is at work has a defined answer."""

    async def test_swaps_of_one_model_run_one_after_the_other(self, root: Path) -> None:
        async with opened(root) as it:
            await asyncio.gather(it.swap(1), it.swap(2), it.swap(1), it.swap(3))
            assert [new for _, new, _ in it.swaps()] == [3, 1, 2, 1, 3]
            assert await it.factor() == 3

    async def test_swaps_of_different_models_do_not_wait_for_each_other(self, root: Path) -> None:
        shutil.copytree(root / "m", root / "other")
        async with opened(root) as it, it.repository.model("m").lock:
            await it.swap(1, name="other")
            assert await it.factor(name="other") == 1

    async def test_an_unload_waits_for_the_swap(self, root: Path) -> None:
        async with opened(root) as it:
            await asyncio.gather(it.swap(1), it.repository.unload("m"))
            assert it.swaps()[-1] == (3, 1, "swap")
            assert set(it.states().values()) == {"UNAVAILABLE unloaded"}

    async def test_a_load_waits_for_the_unload(self, root: Path) -> None:
        async with opened(root) as it:
            await asyncio.gather(it.repository.unload("m"), it.repository.load("m"))
            assert await it.factor() == 3

    async def test_a_swap_goes_on_without_its_client(self, root: Path) -> None:
        async with opened(root) as it:
            client = asyncio.create_task(it.swap(1))
            await begun(it, 1, "load")
            client.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client
            await it.repository.wait_idle()
            assert await it.factor() == 1

    async def test_a_version_that_vanishes_meanwhile_is_refused(self, root: Path) -> None:
        def vanish(event: Event) -> None:
            if isinstance(event, SwapPhase) and event.phase == "load":
                shutil.rmtree(root / "m/1", ignore_errors=True)

        async with opened(root) as it:
            it.hooks.append(vanish)
            with pytest.raises(GateFailed, match="there is no model.onnx"):
                await it.swap(1)
            assert await it.factor() == 3

    async def test_a_server_that_stops_ends_the_swap_and_drains_the_old_version(
        self, root: Path
    ) -> None:
        async with opened(root) as it:
            swap = asyncio.create_task(it.swap(1))
            await begun(it, 1, "warm-up")
            waiting = it.submit()
            it.repository.begin_stop()
            with pytest.raises(ShuttingDown, match="nothing was changed"):
                await swap
            assert it.repository.version("m").number == 3
            await it.repository.stop()
            assert waiting.done() and float(waiting.result()[0][0, 0]) == 3
            with pytest.raises(ShuttingDown):
                await it.swap(1)
        assert pin_of(root) is None

    async def test_every_answer_is_of_a_version_that_served_while_all_verbs_are_at_work(
        self, root: Path
    ) -> None:
        async with opened(root) as it:
            verbs = [
                *(it.swap(number) for number in (1, 2, 3, 1, 2)),
                *(it.repository.rollback("m", ROLLBACK) for _ in range(4)),
                *(it.repository.load("m") for _ in range(3)),
            ]
            work = asyncio.gather(*verbs)
            while not work.done():
                assert await it.factor() in (1, 2, 3)
            await work
            model = it.repository.model("m")
            assert model.serving is not None and model.serving.state is State.READY


async def begun(it: Opened, version: int, phase: str) -> None:
    """Wait until a phase has begun."""
    happened = asyncio.Event()

    def look(event: Event) -> None:
        if isinstance(event, SwapPhase) and event[1:4] == (version, phase, PhaseStatus.STARTED):
            happened.set()

    it.hooks.append(look)
    await asyncio.wait_for(happened.wait(), PATIENCE)
