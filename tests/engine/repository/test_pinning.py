"""A version serves only after its pin is on disk; otherwise nothing changes."""

import asyncio
import errno
from pathlib import Path

import pytest

from service.core.errors import GateFailed, NotPersisted, ShuttingDown
from service.core.events import PhaseStatus, StateChanged, SwapPhase
from service.core.versions import Pin
from service.engine.repository import pinning
from service.engine.storage.folder import read_model
from service.engine.storage.pin_file import PIN_FILE, write_pin
from service.engine.storage.quarantine import QUARANTINE_FILE, write_quarantine
from tests.disks import read_only
from tests.opened import ROLLBACK, SWAP, Opened, opened
from tests.repositories import put, scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


def pin_of(root: Path) -> Pin | None:
    model = read_model(root / "m")
    return model.pin if model else None


def files(root: Path) -> set[str]:
    return {each.name for each in (root / "m").iterdir()}


async def refused(it: Opened, version: int = 1) -> str:
    """Return the reason of a refused swap, and check that it changed nothing."""
    states, factor, phases = it.states(), await it.factor(), it.phases(version)
    with pytest.raises(NotPersisted) as caught:
        await it.swap(version)
    assert (it.states(), await it.factor()) == (states, factor)
    assert it.phases(version) == phases, "it was loaded although that was in vain"
    return str(caught.value)


async def test_a_swap_on_a_read_only_disk_is_refused(root: Path) -> None:
    with read_only(root):
        async with opened(root) as it:
            told = await refused(it)
    assert 'model "m" version 1 does not serve, and nothing was changed' in told
    assert "m/serving.toml cannot be written: Read-only file system (EROFS)" in told
    assert "mount the models folder writable; or start the server with --no-pin" in told


async def test_a_swap_is_refused_if_serving_toml_is_a_folder(root: Path) -> None:
    (root / "m/serving.toml").mkdir()
    async with opened(root) as it:
        assert "m/serving.toml cannot be written: Is a directory (EISDIR)" in await refused(it)
    assert files(root) == {"1", "2", "3", "serving.toml"}


async def test_a_rollback_on_a_read_only_disk_is_refused(root: Path) -> None:
    async with opened(root) as it:
        await it.swap(1)
        with read_only(root):
            with pytest.raises(NotPersisted, match="EROFS"):
                await it.repository.rollback("m", ROLLBACK)
            assert await it.factor() == 1
        await it.repository.rollback("m", ROLLBACK)
        assert await it.factor() == 3


async def test_a_swap_to_the_pinned_version_writes_nothing(root: Path) -> None:
    write_pin(root / "m", Pin(2))
    with read_only(root):
        async with opened(root) as it:
            served = await it.repository.swap("m", 2, SWAP)
            assert (served.changed, served.not_persisted) == (False, "")


async def test_a_swap_to_latest_without_a_pin_writes_nothing(root: Path) -> None:
    with read_only(root):
        async with opened(root) as it:
            served = await it.repository.swap("m", "latest", SWAP)
            assert (served.new, served.not_persisted) == (3, "")


async def test_a_swap_to_latest_is_refused_if_the_pin_cannot_be_removed(root: Path) -> None:
    write_pin(root / "m", Pin(2))
    with read_only(root):
        async with opened(root) as it:
            with pytest.raises(NotPersisted, match="EROFS"):
                await it.repository.swap("m", "latest", SWAP)
            assert await it.factor() == 2


async def test_a_disk_that_becomes_read_only_during_the_load_refuses_the_swap(root: Path) -> None:
    async with opened(root) as it:

        def block(event: object) -> None:
            told = isinstance(event, SwapPhase) and event.status is PhaseStatus.STARTED
            if told and event.phase == "load" and not (root / "m/serving.toml").exists():
                (root / "m/serving.toml").mkdir()

        it.hooks.append(block)
        with pytest.raises(NotPersisted, match="EISDIR"):
            await it.swap(1)
        assert await it.factor() == 3
        assert it.states() == {
            1: "UNAVAILABLE not loaded", 2: "UNAVAILABLE not loaded", 3: "READY"
        }  # fmt: skip
        (root / "m/serving.toml").rmdir()
        it.hooks.clear()
        await it.swap(1)
        assert await it.factor() == 1 and pin_of(root) == Pin(1, 3)


async def test_with_no_pin_a_swap_on_a_read_only_disk_succeeds(root: Path) -> None:
    with read_only(root):
        async with opened(root, no_pin=True) as it:
            served = await it.repository.swap("m", 1, SWAP)
            assert served.changed
            assert "not written to m/serving.toml, because of --no-pin" in served.not_persisted
            await it.poll()
            assert await it.factor() == 1
            served = await it.repository.rollback("m", ROLLBACK)
            assert "--no-pin" in served.not_persisted and await it.factor() == 3


async def test_with_no_pin_nothing_is_written_on_a_writable_disk(root: Path) -> None:
    async with opened(root, no_pin=True) as it:
        assert (await it.repository.swap("m", 1, SWAP)).not_persisted
        assert await it.factor() == 1
    assert pin_of(root) is None


async def test_the_pin_is_written_before_the_version_serves(root: Path) -> None:
    async with opened(root) as it:
        seen: list[Pin | None] = []

        def look(event: object) -> None:
            if isinstance(event, SwapPhase) and event.phase == "switch":
                seen.append(pin_of(root))

        it.hooks.append(look)
        await it.swap(1)
    assert seen == [Pin(1, 3), Pin(1, 3)]


def stop_at_first_pin(it: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the server while the next pin is written."""
    loop = asyncio.get_running_loop()

    async def stop() -> None:
        it.repository.begin_stop()

    def write(path: Path, pin: Pin | None) -> str:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        monkeypatch.setattr(pinning, "write_pin", write_pin)
        return write_pin(path, pin)

    monkeypatch.setattr(pinning, "write_pin", write)


async def test_a_stop_while_the_pin_is_written_cancels_the_swap(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pin(root / "m", Pin(2))
    async with opened(root) as it:
        stop_at_first_pin(it, monkeypatch)
        with pytest.raises(ShuttingDown):
            await it.swap(1)
        assert await it.factor() == 2
    assert pin_of(root) == Pin(2)


async def test_a_version_lost_while_the_pin_is_written_does_not_serve(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(root) as it:
        loop = asyncio.get_running_loop()

        def write(path: Path, pin: Pin | None) -> str:
            if pin is not None:
                asyncio.run_coroutine_threadsafe(lose(), loop).result()
            return write_pin(path, pin)

        async def lose() -> None:
            await it.repository.model("m").versions[1].stop(1)

        monkeypatch.setattr(pinning, "write_pin", write)
        with pytest.raises(GateFailed, match="version 1 is not fit to serve"):
            await it.swap(1)
        assert await it.factor() == 3
        assert any(isinstance(e, StateChanged) for e in it.events)
    assert pin_of(root) is None


@pytest.mark.parametrize("content", [b"version = ", b"\xff not a text", b""])
async def test_an_invalid_serving_toml_is_restored_when_a_swap_is_undone(
    root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "m" / PIN_FILE
    file.write_bytes(content)
    async with opened(root) as it:
        stop_at_first_pin(it, monkeypatch)
        with pytest.raises(ShuttingDown):
            await it.swap(1)
    assert file.read_bytes() == content


async def test_a_quarantine_that_cannot_be_removed_on_disk_stays(root: Path) -> None:
    write_quarantine(root / "m", {3: "it crashed the server"})
    with read_only(root):
        async with opened(root) as it:
            assert await it.factor() == 2
            with pytest.raises(NotPersisted, match=rf"{QUARANTINE_FILE}.*EROFS"):
                await it.repository.load("m")
            assert "quarantine" not in it.states()[2] and await it.factor() == 2
    assert read_model(root / "m").quarantine == {3: "it crashed the server"}  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_other_disk_errors_are_named_by_errno(tmp_path: Path, number: int) -> None:
    from service.engine.storage.access import explained

    assert errno.errorcode[number] in explained(tmp_path, OSError(number, "words"))
