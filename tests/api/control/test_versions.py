"""The versions of a model: state, traffic and quantization report of each."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.inprocess import Served, serve
from tests.repositories import golden, put, scale

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def scales(tmp_path: Path) -> AsyncIterator[Served]:
    """Versions 1 and 2, of which 2 serves; version 3 fails the gate."""
    for number, factor in ((1, 2.0), (2, 2.0), (3, 9.0)):
        put(tmp_path, "m", number, scale(factor))
    golden(tmp_path / "m", 2)
    (tmp_path / "m/2/report.json").write_text(
        '{"recipe": "qdq", "speed": {"b1": 2.0}, "table": [1], "odd": NaN}'
    )
    async with serve(tmp_path) as served:
        yield served


async def versions(served: Served) -> dict[str, Any]:
    reply = await served.client.get("/admin/models/m/versions")
    assert reply.status_code == 200
    return dict(reply.json())


async def infer(served: Served, data: list[float], path: str = "/v2/models/m") -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(data) // 2, 2], "data": data}
    await served.client.post(f"{path}/infer", json={"inputs": [tensor]})


async def test_the_listing_shows_the_state_of_each_version(scales: Served) -> None:
    await scales.client.post("/admin/models/m/swap", json={"version": 1})
    await infer(scales, [1, 1])
    listing = await versions(scales)
    assert (listing["serving"], listing["previous"], listing["pinned"]) == (1, 2, 1)
    assert (listing["policy"], listing["reason"]) == ("latest", "")
    one, two, three = listing["versions"]
    assert (one["state"], one["serving"], one["pinned"]) == ("READY", True, True)
    assert one["traffic"] == {"requests": {"ok": 1}, "rows": 1}
    assert one["precision"] and one["file_bytes"] > 100 and one["in_flight"] == 0
    assert (two["state"], two["previous"], two["serving"]) == ("READY", True, False)
    assert two["report"] == {"recipe": "qdq", "speed": {"b1": 2.0}, "odd": "NaN"}
    assert three["state"] == "UNAVAILABLE" and "golden" in three["reason"]
    assert three["precision"] is None and three["report"] is None


async def test_traffic_is_counted_by_version_and_outcome(scales: Served) -> None:
    await infer(scales, [1, 1, 2, 2])
    await infer(scales, [1, 1], "/v2/models/m/versions/2")
    for body in ({"instances": [[1, 2]]}, {"instances": [[1, 2, 3]]}):
        await scales.client.post("/v1/models/m:predict", json=body)
    traffic = {row["version"]: row["traffic"] for row in (await versions(scales))["versions"]}
    assert traffic[2] == {"requests": {"ok": 3, "invalid": 1}, "rows": 4}
    assert traffic[1] == traffic[3] == {"requests": {}, "rows": 0}


async def test_an_unloaded_model_is_shown_as_unloaded_and_keeps_its_pin(scales: Served) -> None:
    await scales.client.post("/admin/models/m/swap", json={"version": 1})
    await scales.client.post("/v2/repository/models/m/unload")
    listing = await versions(scales)
    assert (listing["serving"], listing["pinned"], listing["previous"]) == (None, 1, 2)
    assert listing["reason"] == "unloaded"
    assert all(row["file_bytes"] is None for row in listing["versions"])


async def test_new_versions_on_disk_are_listed_without_being_loaded(scales: Served) -> None:
    put(scales.server.repository.folder, "m", 7, scale(2))
    row = (await versions(scales))["versions"][-1]
    assert (row["version"], row["state"], row["reason"]) == (7, "UNAVAILABLE", "not loaded")


@pytest.mark.parametrize(
    "report",
    ["[" * 100_000, '{"a": "\\ud800"}', "[1]", "\0" * 100, '{"a": 1e999}', '{"a": ' + "9" * 5000],
)
async def test_an_invalid_report_is_left_out(scales: Served, report: str) -> None:
    folder = scales.server.repository.folder / "m"
    (folder / "1/report.json").write_text(report)
    os.mkfifo(folder / "3/report.json")
    reply = await scales.client.get("/admin/models/m/versions")
    assert reply.status_code == 200
    one, two, three = (each["report"] for each in reply.json()["versions"])
    assert one in (None, {"a": None}) and two["recipe"] == "qdq" and three is None
