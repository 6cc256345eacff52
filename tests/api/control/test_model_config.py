"""The configuration states how many rows a request may have, and how requests are batched."""

import shutil
from pathlib import Path

import httpx
import pytest

from tests.inprocess import ROOT, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    "path", ["/v2/models/digits/config", "/v2/models/digits/versions/2/config"]
)
async def test_dims_leave_out_the_batch_axis(client: httpx.AsyncClient, path: str) -> None:
    found = (await client.get(path)).json()
    assert found["max_batch_size"] == 64
    assert found["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 28, 28]}]
    assert found["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]}]
    assert found["instance_group"][0]["count"] >= 1


async def test_batching_follows_model_toml(tmp_path: Path) -> None:
    batching = (
        "preferred_batch_size = 4\nmax_queue_delay = 0.002\nmax_queue_size = 7\ntimeout = 1.5"
    )
    for name, more in {"shared": "", "alone": '\ncombine = "never"'}.items():
        shutil.copytree(ROOT / "models/diabetes", tmp_path / name)
        (tmp_path / name / "model.toml").write_text(f"[batching]\n{batching}{more}")
    async with serve(tmp_path) as served:
        shared = (await served.client.get("/v2/models/shared/config")).json()
        alone = (await served.client.get("/v2/models/alone/config")).json()
    assert shared["dynamic_batching"] == {
        "preferred_batch_size": [4],
        "max_queue_delay_microseconds": 2000,
        "default_queue_policy": {
            "max_queue_size": 7,
            "default_timeout_microseconds": 1_500_000,
        },
    }
    assert "dynamic_batching" not in alone and alone["max_batch_size"] == 64
