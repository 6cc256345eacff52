"""Regions of shared memory: registration, bounds, and restoring them in another process."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core.errors import (
    Conflict,
    Forbidden,
    InvalidName,
    MalformedRequest,
    NotFound,
    RequestError,
)
from service.core.requests import Place
from service.engine.host.shared_memory import FOLDER, MOST_REGIONS, Regions

PREFIX = f"qs-unit-{os.getpid()}-"


@pytest.fixture
def file() -> Iterator[Path]:
    """64 bytes of shared memory; each byte is its index."""
    path = FOLDER / (PREFIX + secrets.token_hex(4))
    path.write_bytes(bytes(range(64)))
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def regions() -> Regions:
    return Regions(PREFIX)


def test_bytes_are_read_and_written_at_the_offset(regions: Regions, file: Path) -> None:
    regions.register("r", f"/{file.name}", 16, 32)
    region = regions.find("r", "")
    assert region.read(Place("r", 4, 3), "") == bytes([20, 21, 22])
    assert region.read(Place("r", 32, 0), "") == b""
    region.write(Place("r", 0, 4), b"ab", "")
    assert file.read_bytes()[14:20] == bytes([14, 15]) + b"ab" + bytes([18, 19])


@pytest.mark.parametrize("place", [Place("r", 31, 2), Place("r", 0, 33), Place("r", 2**70, 1)])
def test_a_place_outside_the_region_is_refused(regions: Regions, file: Path, place: Place) -> None:
    regions.register("r", file.name, 16, 32)
    with pytest.raises(MalformedRequest, match="not in region"):
        regions.find("r", "").read(place, "x")
    with pytest.raises(MalformedRequest, match="not in region"):
        regions.find("r", "").write(place, b"a", "x")
    with pytest.raises(MalformedRequest, match="has 3 bytes, the request reserves 2"):
        regions.find("r", "").write(Place("r", 0, 2), b"abc", "x")


def test_a_truncated_region_is_an_error_and_is_not_extended(regions: Regions, file: Path) -> None:
    regions.register("r", file.name, 0, 64)
    os.truncate(file, 10)
    for place in (Place("r", 8, 4), Place("r", 40, 4)):
        with pytest.raises(MalformedRequest, match="has become smaller"):
            regions.find("r", "").read(place, "x")
        with pytest.raises(MalformedRequest, match="has become smaller"):
            regions.find("r", "").write(place, b"abcd", "x")
    assert file.stat().st_size == 10


@pytest.mark.parametrize(
    ("name", "key", "offset", "size", "error"),
    [
        ("r/s", "", 0, 1, InvalidName),
        ("r", "../", 0, 1, InvalidName),
        ("r", "a/b", 0, 1, InvalidName),
        ("r", "elsewhere", 0, 1, Forbidden),
        ("r", PREFIX + "absent", 0, 1, MalformedRequest),
        ("r", None, -1, 1, MalformedRequest),
        ("r", None, 0, 0, MalformedRequest),
        ("r", None, 0, 65, MalformedRequest),
        ("r", None, 64, 1, MalformedRequest),
        ("r", None, 2**70, 1, MalformedRequest),
    ],
)
def test_invalid_registrations_are_refused(
    regions: Regions,
    file: Path,
    name: str,
    key: str | None,
    offset: int,
    size: int,
    error: type[RequestError],
) -> None:
    with pytest.raises(error):
        regions.register(name, file.name if key is None else key, offset, size)
    assert regions.status() == []


def test_keys_that_are_not_files_are_refused(regions: Regions) -> None:
    for kind, make in (("fifo", os.mkfifo), ("folder", os.mkdir)):
        path = FOLDER / (PREFIX + kind)
        make(path)
        try:
            with pytest.raises(MalformedRequest):
                regions.register("r", path.name, 0, 1)
        finally:
            path.rmdir() if kind == "folder" else path.unlink()


def test_names_of_regions_are_unique_and_limited_in_number(regions: Regions, file: Path) -> None:
    for number in range(MOST_REGIONS):
        regions.register(f"r{number}", file.name, 0, 64)
    with pytest.raises(Conflict, match="is registered"):
        regions.register("r0", file.name, 0, 64)
    with pytest.raises(Conflict, match=f"there are {MOST_REGIONS}"):
        regions.register("another", file.name, 0, 64)
    regions.unregister("r0")
    regions.unregister("r0")
    regions.register("another", file.name, 0, 64)
    regions.unregister()
    assert regions.status() == []
    with pytest.raises(NotFound):
        regions.status("another")
    with pytest.raises(MalformedRequest, match='no shared memory region "another"'):
        regions.find("another", "x")


def test_a_region_in_use_stays_open_and_closes_with_its_last_user(
    regions: Regions, file: Path
) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    regions.register("r", file.name, 0, 64)
    region = regions.find("r", "")
    regions.unregister("r")
    assert region.read(Place("r", 1, 1), "") == b"\x01"
    del region
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_regions_are_restored_in_another_process(regions: Regions, file: Path) -> None:
    assert regions.standing() is None
    regions.register("r", file.name, 8, 8)
    standing, other = regions.standing(), Regions(PREFIX)
    other.register("old", file.name, 0, 64)
    other.restore(standing)
    assert other.status() == regions.status() and other.standing() == standing
    assert other.find("r", "").read(Place("r", 0, 1), "") == b"\x08"
    file.unlink()
    late = Regions(PREFIX)
    late.restore(standing)
    assert late.standing() == standing
    with pytest.raises(MalformedRequest, match="register it again"):
        late.find("r", "").read(Place("r", 0, 1), "x")
    late.restore(None)
    assert late.status() == []


def test_changes_are_applied_from_values(regions: Regions, file: Path) -> None:
    regions.apply({"verb": "register", "name": "r", "key": file.name, "offset": 0, "size": 64})
    assert regions.status("r")[0]["byte_size"] == 64
    regions.apply({"verb": "unregister", "name": ""})
    assert regions.status() == []
