"""The statistics are correct after a known series of requests."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.inprocess import ROOT, serve

EXAMPLE = (ROOT / "models/diabetes/example.json").read_bytes()
NOTHING = {"count": 0, "ns": 0}


def request(rows: int, category: int = 0) -> dict[str, Any]:
    """A request for the diabetes model; there is no category 99."""
    categories = [category, 2] * rows
    measurements = [23.3, 104.7, 211.6, 116.9, 71.1, 2.5, 4.5, 90.3] * rows
    return {
        "inputs": [
            {"name": "categories", "datatype": "INT64", "shape": [rows, 2], "data": categories},
            {"name": "measurements", "datatype": "FP32", "shape": [rows, 8], "data": measurements},
        ]
    }


async def stats(client: httpx.AsyncClient, path: str = "/v2/models/diabetes") -> dict[str, Any]:
    (found,) = (await client.get(f"{path}/stats")).json()["model_stats"]
    return dict(found)


async def test_every_figure_is_correct(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    async with serve(tmp_path) as served:
        ask = served.client.post
        started = int(time.time() * 1000)
        fresh = await stats(served.client)
        statuses = [
            (await ask("/v2/models/diabetes/infer", json=body)).status_code
            for body in [request(1), request(1), request(4), request(1, 99), request(0), {}]
        ]
        assert (await ask("/v2/models/diabetes/versions/9/infer", json=request(1))).is_error
        found = await stats(served.client)
        size = served.server.repository.version("diabetes").loaded
    assert statuses == [200, 200, 200, 400, 200, 400]

    assert (fresh["last_inference"], fresh["inference_count"], fresh["execution_count"]) == (0,) * 3
    assert fresh["inference_stats"]["success"] == fresh["inference_stats"]["fail"] == NOTHING
    assert (found["name"], found["version"]) == ("diabetes", "1")
    assert started <= found["last_inference"] <= time.time() * 1000
    assert found["inference_count"] == 6  # rows that were answered
    assert found["execution_count"] == 5  # including the failed run and the run without rows
    durations = found["inference_stats"]
    assert durations["success"]["count"] == 4
    assert durations["fail"]["count"] == 2
    assert durations["queue"]["count"] == 5  # a failed run has waited in the queue, too
    for part in ("compute_input", "compute_infer", "compute_output"):
        assert durations[part]["count"] == 4
        assert 0 < durations[part]["ns"] < durations["success"]["ns"]
    assert durations["cache_hit"] == durations["cache_miss"] == NOTHING
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in found["batch_stats"]] == [
        (1, 3),
        (4, 1),
    ]
    whole = sum(batch["compute_infer"]["ns"] for batch in found["batch_stats"])
    assert abs(whole - durations["compute_infer"]["ns"]) <= 2  # rounded, one request a batch
    assert size is not None
    (memory,) = found["memory_usage"]
    assert memory == {"type": "CPU", "id": 0, "byte_size": size.memory_bytes}


async def test_v1_requests_and_uncombined_requests_are_counted_by_rows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    (tmp_path / "diabetes/model.toml").write_text('[batching]\ncombine = "never"')
    instance = {"categories": [0, 2], "measurements": [1.0] * 8}
    async with serve(tmp_path) as served:
        body = {"instances": [instance] * 3}
        reply = await served.client.post("/v1/models/diabetes:predict", json=body)
        assert reply.status_code == 200
        found = await stats(served.client)
    assert (found["inference_count"], found["execution_count"]) == (3, 1)


@pytest.mark.asyncio(loop_scope="session")
async def test_statistics_are_available_for_all_models_one_model_or_a_version(
    client: httpx.AsyncClient,
) -> None:
    everything = (await client.get("/v2/models/stats")).json()["model_stats"]
    assert [(each["name"], each["version"]) for each in everything] == [
        ("diabetes", "1"),
        ("digits", "2"),
    ]
    assert await stats(client, "/v2/models/digits") == everything[1]
    assert await stats(client, "/v2/models/digits/versions/2") == everything[1]
