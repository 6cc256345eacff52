"""The loaded models follow the folder on request or by polling; unserved entries are reported."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.config.model import load_pin
from service.core.errors import (
    ConfigError,
    NotFound,
    NotReady,
)
from service.core.versions import Pin
from service.engine.repository import steps
from service.engine.repository.model import Model
from service.engine.repository.steps import Served
from service.engine.storage.pin_file import write_pin
from tests.opened import ROLLBACK, SWAP, opened
from tests.repositories import golden, put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


class TestPoll:
    """Poll mode: the loaded models follow the folder."""

    async def test_a_file_replaced_by_a_bad_one_is_reported(self, root: Path) -> None:
        file = root / "m/2/model.onnx"
        good = file.read_bytes()
        async with opened(root) as it:
            file.write_bytes(b"junk")
            await it.poll()
            assert await it.factor() == 2
            (told,) = (row for row in it.repository.model("m").status() if row.number == 2)
            assert told.state == "READY"
            assert told.reason.startswith("serves from files that have been replaced; the new ")
            assert "model.onnx is not an ONNX model" in told.reason
            file.write_bytes(good)
            await it.poll()
            assert it.states()[2] == "READY" and await it.factor() == 2

    async def test_poll_adds_new_and_removes_deleted_versions_and_models(self, root: Path) -> None:
        async with opened(root) as it:
            put(root, "m", 3, scale(3))
            put(root, "new", 1, scale(7))
            await it.poll()
            assert await it.factor() == 3 and await it.factor(name="new") == 7
            shutil.rmtree(root / "m/3")
            shutil.rmtree(root / "new")
            await it.poll()
            assert await it.factor() == 2
            with pytest.raises(NotFound):
                await it.factor(name="new")

    async def test_a_version_that_is_still_being_copied_is_not_loaded(self, root: Path) -> None:
        whole = scale(3)
        (root / "m/3").mkdir()
        async with opened(root) as it:
            for size in (10, 20, len(whole)):
                (root / "m/3/model.onnx").write_bytes(whole[:size])
                await it.poll(1)
                assert await it.factor() == 2
            await it.poll(1)
            assert await it.factor() == 3

    async def test_new_versions_pass_the_gate_and_are_tried_once(self, root: Path) -> None:
        golden(root / "m", 2)
        async with opened(root) as it:
            put(root, "m", 3, scale(30))
            await it.poll(4)
            assert await it.factor() == 2 and it.phases(3).count("load") == 1
            golden(root / "m", 30)
            await it.poll()
            assert await it.factor() == 30

    async def test_poll_applies_changed_settings_and_files(self, root: Path) -> None:
        async with opened(root) as it:
            (root / "m/model.toml").write_text("[batching]\nmax_batch_size = 3")
            await it.poll()
            loaded, _ = it.repository.version("m").serving()
            assert loaded.policy.max_rows == 3
            (root / "m/2/model.onnx").write_bytes(scale(20))
            await it.poll()
            assert await it.factor() == 20

    async def test_unreadable_settings_change_nothing(self, root: Path) -> None:
        async with opened(root) as it:
            (root / "m/model.toml").write_text("[batching]\nsize = 1")
            put(root, "m", 3, scale(3))
            await it.poll()
            assert await it.factor() == 2
            (root / "m/model.toml").unlink()
            await it.poll()
            assert await it.factor() == 3

    async def test_replicas_follow_a_swap(self, root: Path) -> None:
        async with opened(root) as it, opened(root) as other:
            await it.swap(1)
            await other.poll(1)
            assert await other.factor() == 1 and other.swaps()[-1] == (2, 1, "poll")
            await it.repository.swap("m", "latest", SWAP)
            await other.poll(1)
            assert await other.factor() == 2

    async def test_a_poll_that_began_before_a_swap_does_not_undo_it(self, root: Path) -> None:
        async with opened(root) as it:
            await it.swap(1)
            await asyncio.gather(it.poll(1), it.swap(2), it.poll(1))
            await it.repository.wait_idle()
            assert await it.factor() == 2 and it.swaps()[-1] == (1, 2, "swap")

    async def test_an_incomplete_pin_changes_nothing(self, root: Path) -> None:
        write_pin(root / "m", Pin(1))
        async with opened(root) as it:
            (root / "m/serving.toml").write_text("version =")
            await it.poll()
            assert await it.factor() == 1

    async def test_an_empty_folder_is_an_error_and_unloads_nothing(self, root: Path) -> None:
        async with opened(root) as it:
            shutil.rmtree(root / "m")
            with pytest.raises(ConfigError, match="is empty; loaded models stay loaded"):
                await it.poll()
            assert await it.factor() == 2

    async def test_poll_skips_a_model_with_a_running_operation(self, root: Path) -> None:
        async with opened(root) as it, it.repository.model("m").lock:
            put(root, "m", 3, scale(3))
            await it.poll()
            assert await it.factor() == 2

    async def test_an_error_of_one_model_is_its_reason_and_others_are_followed(
        self, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a", 1, scale(8))
        serve = steps.serve

        async def fails_for_a(model: Model, *rest: Any) -> Served:
            if model.name == "a":
                raise RecursionError("too deep")
            return await serve(model, *rest)

        with monkeypatch.context() as broken:
            broken.setattr(steps, "serve", fails_for_a)
            async with opened(root) as it:
                assert it.repository.ready and await it.factor() == 2
                put(root, "m", 3, scale(3))
                await it.poll(4)
                assert await it.factor() == 3
                (row,) = it.states("a").values()
                assert row.endswith("it cannot follow its folder: RecursionError: too deep")
                broken.undo()
                await it.poll()
                assert await it.factor(name="a") == 8
        assert len([m for m in caplog.messages if 'model "a": it cannot' in m]) == 1


def _raise(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


class TestWhatIsKnown:
    """The folder is read without loading models."""

    async def test_refresh_sees_new_versions_and_models(self, root: Path) -> None:
        async with opened(root) as it:
            put(root, "m", 3, scale(3))
            put(root, "new", 1, scale(7))
            await it.repository.refresh()
            assert it.states() == {
                1: "UNAVAILABLE not loaded",
                2: "READY",
                3: "UNAVAILABLE not loaded",
            }
            with pytest.raises(NotReady, match="not loaded"):
                await it.factor(name="new")
            shutil.rmtree(root / "new")
            await it.repository.refresh()
            assert [model.name for model in it.repository] == ["m"]


class TestFlat:
    """A model without version folders is followed, swapped and pinned like any other model."""

    @pytest.fixture
    def flat(self, tmp_path: Path) -> Path:
        root = tmp_path / "own"
        (root / "m").mkdir(parents=True)
        (root / "m/model.onnx").write_bytes(scale(10))
        (root / "model.onnx").write_bytes(scale(20))
        return root

    async def test_a_flat_model_is_version_1(self, flat: Path) -> None:
        async with opened(flat) as it:
            assert await it.factor() == await it.factor(1) == 10
            assert await it.factor(name="own") == 20

    async def test_poll_follows_the_file_of_a_flat_model(self, flat: Path) -> None:
        async with opened(flat) as it:
            (flat / "m/model.onnx").write_bytes(scale(11))
            (flat / "model.onnx").write_bytes(scale(21))
            await it.poll()
            assert await it.factor() == 11 and await it.factor(name="own") == 21
            (flat / "m/model.onnx").unlink()
            await it.poll()
            with pytest.raises(NotFound, match='there is no model "m": it has no version folder'):
                await it.factor()
            assert await it.factor(name="own") == 21

    async def test_a_version_folder_replaces_a_flat_model_and_keeps_it_for_rollback(
        self, flat: Path
    ) -> None:
        async with opened(flat) as it:
            put(flat, "m", 2, scale(2))
            await it.poll()
            assert await it.factor() == 2 and await it.factor(1) == 10
            await it.repository.rollback("m", ROLLBACK)
            assert await it.factor() == 10
            await it.poll()
            assert await it.factor() == 10
        async with opened(flat) as it:
            assert await it.factor() == 10 and (flat / "m/serving.toml").exists()

    async def test_the_pin_of_a_model_in_the_root_is_written_there(self, flat: Path) -> None:
        async with opened(flat) as it:
            await it.swap(1, name="own")
            assert read_pin(flat) == 1
            await it.poll()
            assert await it.factor(name="own") == 20 and it.swaps() == [
                (0, 1, "start"),
                (0, 1, "start"),
            ]

    async def test_a_folder_with_the_same_name_replaces_a_flat_model_without_a_gap(
        self, flat: Path
    ) -> None:
        async with opened(flat) as it:
            put(flat, "own", 1, scale(30))
            for _ in range(3):
                await it.poll(1)
                assert await it.factor(name="own") in (20, 30)
            assert await it.factor(name="own") == 30
            assert "model.onnx" in {each.path for each in it.repository.passed_over}
            shutil.rmtree(flat / "own")
            for _ in range(3):
                await it.poll(1)
                assert await it.factor(name="own") in (20, 30)
            assert await it.factor(name="own") == 20

    async def test_flat_models_can_be_unloaded_and_loaded(self, flat: Path) -> None:
        async with opened(flat) as it:
            for name, factor in (("m", 10), ("own", 20)):
                await it.repository.unload(name)
                with pytest.raises(NotReady):
                    await it.factor(name=name)
                await it.repository.load(name)
                assert await it.factor(name=name) == factor

    async def test_external_data_of_flat_models_is_loaded(self, flat: Path) -> None:
        for folder in (flat / "data", flat / "triton/1/model.onnx"):
            save_with_data(folder, 4)
        async with opened(flat) as it:
            assert await it.factor(name="data") == await it.factor(name="triton") == 4
            (flat / "data/weights.bin").write_bytes(np.float32(5).tobytes())
            await it.poll()
            assert await it.factor(name="data") == 5


class TestWhatIsNotServed:
    """Unserved entries are logged once, after they have not changed for a while."""

    async def test_unserved_entries_are_logged_at_the_start_and_when_they_appear(
        self, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def told() -> list[str]:
            return [m for m in caplog.messages if "is not served" in m]

        caplog.set_level("WARNING")
        (root / "my model").mkdir()
        (root / "m/v3").mkdir()
        async with opened(root) as it:
            assert [m.partition(" is not served")[0] for m in told()] == ["m/v3", "my model"]
            (root / "torch").mkdir()
            await it.poll(1)
            assert len(told()) == 2
            await it.poll(4)
            assert len(told()) == 3 and told()[-1].startswith("torch is not served: it has no ver")
            put(root, "torch", 1, scale(3))
            await it.poll()
            assert await it.factor(name="torch") == 3 and len(told()) == 3

    async def test_a_broken_version_below_the_serving_one_is_logged(
        self, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("WARNING")
        (root / "m/1/model.onnx").unlink()
        async with opened(root) as it:
            assert it.states()[1] == (
                "UNAVAILABLE there is no model.onnx in the folder of the version"
            )
        assert any(m.startswith("m/1 is not served: there is no") for m in caplog.messages)

    async def test_a_folder_without_a_model_does_not_affect_other_models(self, root: Path) -> None:
        async with opened(root) as it:
            for version in (1, 2):
                shutil.rmtree(root / "m" / str(version))
            (root / "m/model.pt").touch()
            with pytest.raises(ConfigError):
                await it.poll()


class TestReady:
    """A server is ready if a model serves, or if it may be empty."""

    async def test_readiness_follows_the_serving_models(self, root: Path) -> None:
        put(root, "other", 1, scale(1))
        async with opened(root) as it:
            assert it.repository.ready
            shutil.rmtree(root / "m")
            await it.poll()
            assert it.repository.ready
            await it.repository.unload("other")
            assert not it.repository.ready
            await it.swap(1, name="other")
            assert it.repository.ready
            it.repository.begin_stop()
            assert not it.repository.ready


def read_pin(folder: Path) -> int | None:
    pin = load_pin(folder / "serving.toml")
    return pin.version if pin else None


def save_with_data(folder: Path, factor: float) -> None:
    """Write a scale model whose factor is in a separate file."""
    folder.mkdir(parents=True)
    model = onnx.load_from_string(scale(factor))
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    assert (folder / "weights.bin").exists()
