"""The control plane, asked by Triton's own client over a socket."""

import time
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service import __version__
from tests.system.process import KEY

SHOWN = {"X-API-Key": KEY}


@pytest.fixture
def client(server: str) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server)


def ask(client: triton.InferenceServerClient, rows: int, category: int = 0) -> None:
    """Send the diabetes model a category; 99 is unknown to it."""
    categories = triton.InferInput("categories", [rows, 2], "INT64")
    categories.set_data_from_numpy(np.array([[category, 2]] * rows))
    measurements = triton.InferInput("measurements", [rows, 8], "FP32")
    measurements.set_data_from_numpy(np.ones((rows, 8), np.float32))
    client.infer("diabetes", [categories, measurements])


def stats(client: triton.InferenceServerClient, **version: str) -> dict[str, Any]:
    (found,) = client.get_inference_statistics("diabetes", **version)["model_stats"]
    return dict(found)


def counts(found: dict[str, Any]) -> dict[str, int]:
    durations = {name: each["count"] for name, each in found["inference_stats"].items()}
    sizes = {
        f"batches of {b['batch_size']}": b["compute_infer"]["count"] for b in found["batch_stats"]
    }
    return {
        **durations,
        **sizes,
        "inferences": found["inference_count"],
        "executions": found["execution_count"],
    }


def test_statistics_count_requests_and_runs(client: triton.InferenceServerClient) -> None:
    before, at = counts(stats(client)), time.time() * 1000
    for rows in (1, 3, 3):
        ask(client, rows)
    for rows in (1, 2):
        with pytest.raises(InferenceServerException, match="refuses"):
            ask(client, rows, category=99)
    found = stats(client, model_version="1")
    grown = {name: count - before.get(name, 0) for name, count in counts(found).items()}
    assert grown == {
        "success": 3,
        "fail": 2,
        "queue": 5,
        "compute_input": 3,
        "compute_infer": 3,
        "compute_output": 3,
        "cache_hit": 0,
        "cache_miss": 0,
        "batches of 1": 1,
        "batches of 3": 2,
        "inferences": 7,
        "executions": 5,
    }
    assert at - 1 <= found["last_inference"] <= time.time() * 1000
    assert found["memory_usage"][0]["type"] == "CPU"
    names = {each["name"] for each in client.get_inference_statistics()["model_stats"]}
    assert names == {"diabetes", "digits"}


def test_metadata_has_the_fields_that_clients_expect(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "2")
    assert not client.is_model_ready("digits", "7") and not client.is_model_ready("nobody")
    server = client.get_server_metadata()
    assert (server["name"], server["version"]) == ("quantserve", __version__)
    assert client.get_model_metadata("digits", "2")["versions"] == ["2"]
    config = client.get_model_config("digits", "2")
    assert config["max_batch_size"] == 64
    index = {(e["name"], e["version"]): e["state"] for e in client.get_model_repository_index()}
    assert index["digits", "2"] == "READY"


@pytest.mark.parametrize(
    ("version", "text"), [("seven", '"seven" is not a number'), ("7", "does not exist")]
)
def test_errors_reach_clients_as_text(
    client: triton.InferenceServerClient, version: str, text: str
) -> None:
    with pytest.raises(InferenceServerException, match=text) as caught:
        client.get_model_metadata("digits", version)
    assert caught.value.status() == "404"


def test_log_settings_change_what_is_logged(client: triton.InferenceServerClient) -> None:
    before = client.get_log_settings()
    assert (before["log_info"], before["log_verbose_level"]) == (True, 0)
    assert client.update_log_settings({"log_verbose_level": 1}, SHOWN)["log_verbose_level"] == 1
    assert client.update_log_settings({"log_verbose_level": 0}, SHOWN) == before
    with pytest.raises(InferenceServerException, match="cannot be changed"):
        client.update_log_settings({"log_file": "/tmp/elsewhere"}, SHOWN)


def test_trace_settings_report_that_tracing_is_off(client: triton.InferenceServerClient) -> None:
    off = {"trace_level": None}
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("digits") == client.get_trace_settings()
    assert client.update_trace_settings("digits", off, SHOWN)["trace_level"] == ["OFF"]
    with pytest.raises(InferenceServerException, match="does not trace"):
        client.update_trace_settings(None, {"trace_level": ["TIMESTAMPS"]}, SHOWN)
