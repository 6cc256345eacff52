"""A version that crashed the server is not served until a load or swap requests it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import NotReady
from service.core.ledger import Work
from service.engine.storage.quarantine import QUARANTINE_FILE, read_quarantine, write_quarantine
from tests.opened import opened
from tests.repositories import put, scale

REASON = "quarantined: it crashed"


@given(st.dictionaries(st.integers(1, 10**18 - 1), st.text(max_size=50), max_size=5))
def test_a_written_quarantine_is_read(versions: dict[int, str]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        assert write_quarantine(Path(folder), versions) == ""
        assert set(read_quarantine(Path(folder))) == set(versions)
        assert (Path(folder) / QUARANTINE_FILE).exists() is bool(versions)


@pytest.mark.parametrize("text", ["[" * 20_000, "1 = ", "x = 1", "\xff", "1 = [1]\n² = 2"])
def test_an_invalid_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / QUARANTINE_FILE).write_text(text, "latin-1")
    assert set(read_quarantine(tmp_path)) <= {1}


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / QUARANTINE_FILE)
    assert read_quarantine(tmp_path) == {}


async def test_a_quarantine_is_kept_after_a_restart_and_a_lower_version_serves(
    tmp_path: Path,
) -> None:
    put(tmp_path, "m", 1, scale(1))
    put(tmp_path, "m", 2, scale(2))
    put(tmp_path, "n", 1, scale(5))
    write_quarantine(tmp_path / "m", {2: REASON})
    write_quarantine(tmp_path / "n", {1: REASON})
    async with opened(tmp_path) as it:
        assert await it.factor() == 1
        assert it.states()[2] == f"UNAVAILABLE {REASON}"
        with pytest.raises(NotReady, match="crashed"):
            await it.factor(name="n")
        await it.swap(2)
        assert await it.factor() == 2 and not (tmp_path / "m" / QUARANTINE_FILE).exists()
        await it.repository.load("n")
        assert await it.factor(name="n") == 5


async def test_versions_blamed_by_the_supervisor_are_quarantined(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(1))
    asked: list[Work] = []
    blamed = {Work("m", 1): REASON, Work("gone", 1): REASON}
    async with opened(tmp_path, blamed=blamed, try_again=asked.append) as it:
        assert read_quarantine(tmp_path / "m") == {1: REASON}
        await it.poll()
        assert it.states() == {1: f"UNAVAILABLE {REASON}"}
        await it.repository.load("m")
        assert asked == [Work("m", 1)] and await it.factor() == 1
