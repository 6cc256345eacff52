"""The metrics of models and versions."""

import asyncio
import shutil
from pathlib import Path

from prometheus_client import Metric

from service import __version__
from tests.inprocess import ROOT, serve
from tests.metrics.test_page import EXAMPLE, page, value
from tests.patience import PATIENCE


async def test_traffic_is_counted_by_model_version_protocol_and_outcome(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    digit = (ROOT / "models/digits/example.json").read_bytes()
    async with serve(tmp_path) as served:
        for path, body in [
            ("/v2/models/digits/infer", digit),
            ("/v2/models/digits/versions/2/infer", digit),
            ("/v2/models/digits/infer", b"{"),
            ("/v2/models/nobody/infer", digit),
            ("/v1/models/digits:predict", b'{"instances": [1]}'),
        ]:
            await served.client.post(path, content=body)
        families = await page(served.client)
    name = "quantserve_requests_total"
    of_model = {"model": "digits", "version": "2"}
    assert value(families, name, **of_model, protocol="v2", outcome="ok") == 2
    assert value(families, name, **of_model, protocol="v2", outcome="invalid") == 1
    assert value(families, name, **of_model, protocol="v2", outcome="failed") == 0
    assert value(families, name, **of_model, protocol="v1", outcome="invalid") == 1
    assert value(families, name, model="", version="", protocol="v2", outcome="invalid") == 1
    assert value(families, "quantserve_rows_total", **of_model, protocol="v2") == 2
    assert value(families, "quantserve_executions_total", **of_model) == 2
    assert value(families, "quantserve_request_duration_seconds_count", protocol="v1") == 1
    for histogram in ("queue_duration_seconds", "compute_duration_seconds", "batch_rows"):
        assert value(families, f"quantserve_{histogram}_count", **of_model) == 2
    assert value(families, "quantserve_batch_rows_bucket", le="1.0", **of_model) == 2
    assert value(families, "quantserve_batch_padding_ratio_bucket", le="0.0", **of_model) == 2
    busy = value(families, "quantserve_instance_busy_seconds_total", **of_model)
    assert busy >= value(families, "quantserve_compute_duration_seconds_sum", **of_model) > 0


async def test_counters_begin_at_zero_when_a_version_is_ready(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "junk/1").mkdir(parents=True)
    (tmp_path / "junk/1/model.onnx").write_bytes(b"no graph")

    def zeros(families: dict[str, Metric], version: str) -> None:
        label = {"model": "digits", "version": version}
        for protocol in ("v1", "v2"):
            for outcome in ("ok", "failed", "rejected", "expired", "invalid", "cancelled"):
                labels = {**label, "protocol": protocol, "outcome": outcome}
                assert value(families, "quantserve_requests_total", **labels) == 0
            name = "quantserve_request_duration_seconds_count"
            assert value(families, name, **label, protocol=protocol) == 0
        for name in ("executions_total", "instance_busy_seconds_total", "batch_rows_count"):
            assert value(families, f"quantserve_{name}", **label) == 0

    async with serve(tmp_path) as served:
        first = await page(served.client)
        zeros(first, "2")
        assert {s.labels["model"] for s in first["quantserve_requests"].samples} == {"digits"}
        assert {s.labels["version"] for s in first["quantserve_requests"].samples} == {"2"}
        await served.client.post("/admin/models/digits/swap", json={"version": 1})
        zeros(await page(served.client), "1")


async def test_queued_requests_are_shown_until_their_client_disconnects(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    patient = "[batching]\nmax_queue_delay = 10\npreferred_batch_size = 8\nmax_queue_size = 1"
    (tmp_path / "diabetes/model.toml").write_text(patient)
    async with serve(tmp_path) as served:
        batcher = served.server.repository.version("diabetes").batcher
        assert batcher is not None
        url = "/v2/models/diabetes/infer"
        request = asyncio.ensure_future(served.client.post(url, content=EXAMPLE))
        async with asyncio.timeout(PATIENCE):
            while not batcher.waiting:
                await asyncio.sleep(0)
        refused = await served.client.post(url, content=EXAMPLE)
        waiting = await page(served.client)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        async with asyncio.timeout(PATIENCE):
            while batcher.waiting:
                await asyncio.sleep(0)
        after = await page(served.client)
    assert refused.status_code == 503
    assert value(waiting, "quantserve_queue_requests") == 1
    assert value(waiting, "quantserve_queue_limit_requests") == 1
    assert value(waiting, "quantserve_in_flight_requests") == 1
    assert value(after, "quantserve_in_flight_requests") == 0
    for outcome in ("rejected", "cancelled"):
        labels = {"model": "diabetes", "version": "1", "protocol": "v2", "outcome": outcome}
        assert value(after, "quantserve_requests_total", **labels) == 1


async def test_models_are_described_including_failed_ones(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "junk/1").mkdir(parents=True)
    (tmp_path / "junk/1/model.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/model.toml").write_text("")
    async with serve(tmp_path) as served:
        loaded = served.server.repository.version("digits").loaded
        families = await page(served.client)
    assert loaded is not None
    facts = {"precision": "INT8", "scheme": "QDQ", "kernels": "default", "sha256": loaded.sha256}
    assert value(families, "quantserve_model_info", model="digits", version="2", **facts) == 1
    size = (tmp_path / "digits/2/model.onnx").stat().st_size
    assert value(families, "quantserve_model_size_bytes", model="digits") == size
    assert value(families, "quantserve_model_load_duration_seconds", model="digits") > 0
    assert value(families, "quantserve_model_memory_bytes", model="digits") == loaded.memory_bytes
    assert value(families, "quantserve_instances", model="digits") == len(loaded.instances)
    assert value(families, "quantserve_model_serving", model="digits") == 1
    assert value(families, "quantserve_model_serving", model="junk") == 0
    for model, version in (("junk", "1"), ("empty", "")):
        labels = {"model": model, "version": version}
        assert value(families, "quantserve_model_state", **labels, state="UNAVAILABLE") == 1
        assert value(families, "quantserve_model_state", **labels, state="READY") == 0
    assert value(families, "quantserve_ready") == 1
    assert value(families, "quantserve_build_info", version=__version__) == 1
