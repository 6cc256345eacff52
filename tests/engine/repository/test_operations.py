"""Operations are atomic; requests notice only the answers of the new version."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from service.core.errors import Conflict, GateFailed, LoadFailed, NotFound, NotReady, ShuttingDown
from service.core.events import Event, PhaseStatus, SwapPhase
from service.core.lifecycle import State
from service.core.versions import Pin
from service.engine.repository.model import CHANGED
from service.engine.storage.folder import read_model
from service.engine.storage.pin_file import write_pin
from tests.opened import ROLLBACK, SWAP, Opened, opened
from tests.patience import PATIENCE
from tests.repositories import golden, put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


def pin_of(root: Path) -> Pin | None:
    model = read_model(root / "m")
    return model.pin if model else None


async def test_the_highest_version_serves_until_a_swap(root: Path) -> None:
    async with opened(root) as it:
        assert await it.factor() == 3
        served = await it.repository.swap("m", 1, SWAP)
        assert await it.factor() == 1
        assert (served.old, served.new, served.changed, served.not_persisted) == (3, 1, True, "")
        names = [phase.name for phase in served.phases]
        assert names == ["load", "signature", "warm-up", "golden", "rows", "switch", "drain"]


async def test_the_previous_version_stays_loaded_for_a_fast_rollback(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        assert await it.factor(3) == 3
        served = await it.repository.rollback("m", ROLLBACK)
        assert [phase.name for phase in served.phases] == ["switch", "drain"]
        assert await it.factor() == 3
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 1


async def test_the_gate_has_its_present_limits_for_a_version_that_stays_loaded(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        golden(root / "m", 1)
        (root / "m/model.toml").write_text("[gate.outputs.y]\nmax_abs_error = 0.1\n")
        with pytest.raises(GateFailed):
            await it.swap(3)
        assert await it.factor() == 1


async def test_only_one_previous_version_stays_loaded(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        await it.swap(2)
        assert it.states() == {1: "READY", 2: "READY", 3: "UNAVAILABLE not loaded"}


async def test_no_previous_version_stays_loaded_without_keep_previous(root: Path) -> None:
    (root / "m/model.toml").write_text("[versions]\nkeep_previous = false")
    async with opened(root) as it:
        await it.swap(1)
        assert it.states()[3] == "UNAVAILABLE not loaded"
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3


async def test_swaps_and_rollback_targets_survive_a_restart(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
    assert pin_of(root) == Pin(1, 3)
    async with opened(root) as it:
        assert await it.factor() == 1
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3
    assert pin_of(root) == Pin(3, 1)


async def test_a_swap_to_latest_serves_the_highest_and_removes_the_pin(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        served = await it.repository.swap("m", "latest", SWAP)
        assert served.new == 3 and pin_of(root) is None


async def test_a_missing_version_error_lists_the_versions_on_disk(root: Path) -> None:
    async with opened(root) as it:
        with pytest.raises(NotFound, match="no version 7; on disk: 1, 2, 3"):
            await it.swap(7)
        with pytest.raises(NotFound, match='no model "other"'):
            await it.swap(1, name="other")
        assert await it.factor() == 3


async def test_a_swap_to_the_serving_version_only_pins_it(root: Path) -> None:
    async with opened(root) as it:
        served = await it.repository.swap("m", 3, SWAP)
        assert not served.changed and it.swaps() == [(0, 3, "start")]
    assert pin_of(root) == Pin(3)


async def test_a_swap_to_the_serving_version_applies_changed_settings(root: Path) -> None:
    async with opened(root) as it:
        (root / "m/model.toml").write_text("[batching]\nmax_batch_size = 7")
        served = await it.repository.swap("m", 3, SWAP)
        assert served.changed
        loaded, _ = it.repository.version("m").serving()
        assert loaded.policy.max_rows == 7 and await it.factor() == 3


async def test_unreadable_settings_refuse_a_swap(root: Path) -> None:
    async with opened(root) as it:
        (root / "m/model.toml").write_text("[batching]\nmax = 7")
        with pytest.raises(LoadFailed, match="batching.max is not a setting"):
            await it.swap(1)
        assert await it.factor() == 3


async def test_a_rollback_without_a_previous_version_is_refused(root: Path) -> None:
    async with opened(root) as it:
        with pytest.raises(Conflict, match="no version before"):
            await it.repository.rollback("m", ROLLBACK)


async def test_a_rollback_needs_no_files_if_the_version_is_loaded(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        shutil.rmtree(root / "m/3")
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3
    write_pin(root / "m", Pin(1, 3))
    async with opened(root) as it:
        with pytest.raises(Conflict, match="version 3 is not on disk any more"):
            await it.repository.rollback("m", ROLLBACK)


async def test_admitted_requests_are_answered_by_the_old_version(root: Path) -> None:
    (root / "m/model.toml").write_text(
        "[batching]\nmax_queue_delay = 0.3\npreferred_batch_size = 9"
    )
    async with opened(root) as it:
        before = [it.submit() for _ in range(3)]
        await it.swap(1)
        after = it.submit()
        answers = [float(output[0, 0]) for (output,) in await asyncio.gather(*before, after)]
        assert answers == [3, 3, 3, 1]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


class TestLoad:
    """The operation ``load`` follows the folder once."""

    async def test_new_files_change_nothing_until_a_load(self, two: Path) -> None:
        async with opened(two) as it:
            put(two, "m", 3, scale(3))
            put(two, "new", 1, scale(7))
            assert await it.factor() == 2
            await it.repository.load("m")
            await it.repository.load("new")
            assert await it.factor() == 3 and await it.factor(name="new") == 7
            assert await it.factor(2) == 2

    async def test_changed_files_of_a_version_are_logged_once(
        self, two: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "quantserve")
        async with opened(two) as it:
            (two / "m/2/model.onnx").write_bytes(scale(9))
            assert it.states()[2] == "READY"
            for _ in range(2):
                await it.repository.refresh()
            assert it.states()[2] == f"READY {CHANGED}" and await it.factor() == 2
            told = [each.message for each in caplog.records if CHANGED in each.message]
            assert told == [f'model "m" version 2: {CHANGED}']
            await it.repository.load("m")
            assert it.states()[2] == "READY" and await it.factor() == 9

    async def test_override_settings_last_until_the_next_load(self, two: Path) -> None:
        async with opened(two) as it:
            for override, rows in (({"batching": {"max_batch_size": 5}}, 5), (None, 64)):
                await it.repository.load("m", override)
                loaded, _ = it.repository.version("m").serving()
                assert loaded.policy.max_rows == rows

    async def test_a_failed_load_keeps_the_old_version_serving(self, two: Path) -> None:
        golden(two / "m", 2)
        async with opened(two) as it:
            put(two, "m", 3, scale(30))
            with pytest.raises(GateFailed, match="version 3 is not fit to serve: golden"):
                await it.repository.load("m")
            assert await it.factor() == 2

    async def test_a_load_tries_a_failed_version_again(self, two: Path) -> None:
        (two / "m/2/model.onnx").write_bytes(b"half")
        async with opened(two) as it:
            assert await it.factor() == 1
            (two / "m/2/model.onnx").write_bytes(scale(2))
            await it.repository.load("m")
            assert await it.factor() == 2

    async def test_a_pin_has_priority_over_higher_versions(self, two: Path) -> None:
        write_pin(two / "m", Pin(1))
        async with opened(two) as it:
            put(two, "m", 3, scale(3))
            await it.repository.load("m")
            assert await it.factor() == 1

    @pytest.mark.parametrize("name", ["nobody", "..", ".", "a/b", "../m", ""])
    async def test_loading_an_unknown_model_is_not_found(self, two: Path, name: str) -> None:
        async with opened(two) as it:
            with pytest.raises(NotFound):
                await it.repository.load(name)

    async def test_a_load_without_a_matching_version_is_an_error(self, two: Path) -> None:
        (two / "m/model.toml").write_text("[versions]\npolicy = 'specific'\nnumbers = [9]")
        async with opened(two) as it:
            with pytest.raises(
                LoadFailed, match=r"no version on disk may be loaded \(on disk: 1, 2"
            ):
                await it.repository.load("m")
            with pytest.raises(NotReady, match="model.toml allows none"):
                await it.factor()

    async def test_a_model_whose_settings_cannot_be_read_is_not_loaded(self, two: Path) -> None:
        (two / "m/model.toml").write_text("[batching]\nsize = 1")
        async with opened(two) as it:
            with pytest.raises(NotReady, match="batching.size is not a setting"):
                await it.factor()
            with pytest.raises(LoadFailed, match="batching.size"):
                await it.repository.load("m")


class TestUnload:
    """The operation ``unload`` drains the model and frees its memory."""

    async def test_an_unload_answers_admitted_requests_first(self, two: Path) -> None:
        (two / "m/model.toml").write_text("[batching]\nmax_queue_delay = 0.2")
        async with opened(two) as it:
            waiting = it.submit()
            await it.repository.unload("m")
            assert waiting.done() and float(waiting.result()[0][0, 0]) == 2
            with pytest.raises(NotReady, match="UNAVAILABLE: unloaded"):
                await it.factor()

    async def test_an_unloaded_model_stays_unloaded_until_a_load(self, two: Path) -> None:
        async with opened(two) as it:
            await it.repository.unload("m")
            put(two, "m", 3, scale(3))
            await it.poll()
            assert set(it.states().values()) == {"UNAVAILABLE unloaded"}
            await it.repository.load("m")
            assert await it.factor() == 3

    async def test_a_swap_loads_an_unloaded_model(self, two: Path) -> None:
        async with opened(two) as it:
            await it.repository.unload("m")
            await it.swap(1)
            assert await it.factor() == 1


class TestAtTheSameTime:
    """Concurrent operations have a defined result."""

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

    async def test_a_swap_continues_when_its_client_disconnects(self, root: Path) -> None:
        async with opened(root) as it:
            client = asyncio.create_task(it.swap(1))
            await begun(it, 1, "load")
            client.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client
            await it.repository.wait_idle()
            assert await it.factor() == 1

    async def test_a_version_removed_during_the_swap_is_refused(self, root: Path) -> None:
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

    async def test_answers_come_from_serving_versions_during_concurrent_operations(
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
