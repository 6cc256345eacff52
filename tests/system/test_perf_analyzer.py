"""Triton's perf_analyzer: the requests of its release 2.60, in their order, over HTTP and gRPC.

The tool requires a newer C library than many images have, and runs only where it is installed. Its
requests are sent everywhere: metadata, configuration, server metadata, statistics at the start and
end of each window, and inference with random bytes. The fields that it reads are read here. It
never checks that the server is live.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as messages

from tests import tiny_models
from tests.parts import PERF_ANALYZER
from tests.patience import PATIENCE
from tests.system.process import ROOT, running

SERVICE = "/inference.GRPCInferenceService"
DURATIONS = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
)  # fmt: skip
"""Of statistics, read without a look whether they are there."""
IMAGES = np.frombuffer(np.random.default_rng(7).bytes(4 * 28 * 28 * 4), np.float32)
"""Random bytes as floats: NaN and huge values among them."""


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, str]]:
    """The addresses for HTTP and gRPC."""
    with running(ROOT / "models", "--grpc-port", "0") as served:
        yield served.address, json.loads(served.printed.splitlines()[-1])["grpc"]


def of_http(address: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    request = urllib.request.Request(f"http://{address}/{path}", body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return reply.read(), reply.headers


def read_model(metadata: dict[str, Any], config: dict[str, Any], server: dict[str, Any]) -> None:
    """Read the fields that the tool needs to build requests."""
    [tensor] = metadata["inputs"]
    assert [int(length) for length in tensor["shape"]] == [-1, 1, 28, 28]
    assert tensor["datatype"] == "FP32" and metadata["outputs"][0]["name"] == "probabilities"
    assert config["max_batch_size"] >= 4
    assert [int(length) for length in config["input"][0]["dims"]] == [1, 28, 28]
    # These would change what the tool does.
    absent = ("sequence_batching", "ensemble_scheduling", "response_cache")
    assert not [name for name in absent if name in config]
    assert isinstance(server["extensions"], list) and "statistics" in server["extensions"]


def read_statistics(found: dict[str, Any]) -> tuple[int, int]:
    """Return the numbers of requests and rows so far."""
    [stats] = found["model_stats"]
    assert set(DURATIONS) <= set(stats["inference_stats"])
    counts = [int(stats["inference_stats"][name].get("count", 0)) for name in DURATIONS]
    return counts[0], int(stats.get("inference_count", 0))


def test_its_requests_over_http_are_answered(addresses: tuple[str, str]) -> None:
    address, _ = addresses
    metadata, config, server = (
        json.loads(of_http(address, path)[0])
        for path in ("v2/models/digits", "v2/models/digits/config", "v2")
    )
    read_model(metadata, config, server)
    before = read_statistics(json.loads(of_http(address, "v2/models/digits/stats")[0]))
    size = {"binary_data_size": IMAGES.nbytes}
    image = {"name": "image", "shape": [4, 1, 28, 28], "datatype": "FP32", "parameters": size}
    head = json.dumps(
        {
            "id": "",
            "inputs": [image],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(head)),
        "Content-Type": "application/octet-stream",
    }
    for _ in range(3):
        body = head + IMAGES.tobytes()
        answer, told = of_http(address, "v2/models/digits/infer", body, **headers)
        length = int(told["Inference-Header-Content-Length"])
        [output] = json.loads(answer[:length])["outputs"]
        assert output["shape"] == [4, 10]
        assert output["parameters"]["binary_data_size"] == len(answer) - length == 160
    after = read_statistics(json.loads(of_http(address, "v2/models/digits/stats")[0]))
    assert (after[0] - before[0], after[1] - before[1]) == (3, 12)


class Recorded:
    """Calls like those of the tool's client."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def call(self, name: str, /, **fields: Any) -> dict[str, Any]:
        request = getattr(messages, f"{name}Request")(**fields)
        answer = self.channel.unary_unary(f"{SERVICE}/{name}")(
            request.SerializeToString(), timeout=PATIENCE
        )
        found = getattr(messages, f"{name}Response").FromString(answer)
        return MessageToDict(found, preserving_proto_field_name=True)


def infer_request(id: str) -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(model_name="digits", id=id)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.inputs.add(name="image", datatype="FP32", shape=[4, 1, 28, 28])
    request.outputs.add(name="probabilities")
    request.raw_input_contents.append(IMAGES.tobytes())
    return request


@pytest.mark.parametrize("streaming", [False, True])
def test_its_requests_over_grpc_are_answered(addresses: tuple[str, str], streaming: bool) -> None:
    with grpc.insecure_channel(addresses[1]) as channel:
        tool = Recorded(channel)
        metadata = tool.call("ModelMetadata", name="digits")
        config = tool.call("ModelConfig", name="digits")["config"]
        read_model(metadata, config, tool.call("ServerMetadata"))
        before = read_statistics(tool.call("ModelStatistics", name="digits"))
        requests = [infer_request(str(number)).SerializeToString() for number in range(3)]
        if streaming:
            call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
            found = [
                messages.ModelStreamInferResponse.FromString(each)
                for each in call(iter(requests), timeout=PATIENCE)
            ]
            assert [each.error_message for each in found] == [""] * 3
            answers = [each.infer_response for each in found]
            # A request is over once its final answer is there.
            assert all(each.parameters["triton_final_response"].bool_param for each in answers)
        else:
            ask = channel.unary_unary(f"{SERVICE}/ModelInfer")
            answers = [
                messages.ModelInferResponse.FromString(ask(each, timeout=PATIENCE))
                for each in requests
            ]
        for number, answer in enumerate(answers):
            assert answer.id == str(number)
            [raw] = answer.raw_output_contents
            assert len(struct.unpack("<40f", raw)) == 40
        after = read_statistics(tool.call("ModelStatistics", name="digits"))
        assert (after[0] - before[0], after[1] - before[1]) == (3, 12)


def test_more_rows_than_the_model_accepts_are_refused(tmp_path: Path) -> None:
    tiny_models.limited(tmp_path)
    with running(tmp_path, "--grpc-port", "0") as served:
        address = json.loads(served.printed.splitlines()[-1])["grpc"]
        request = messages.ModelInferRequest(model_name="limited")
        rows = np.zeros((65, 1), np.float32)
        request.inputs.add(name="x", datatype="FP32", shape=rows.shape)
        request.raw_input_contents.append(rows.tobytes())
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(f"{SERVICE}/ModelInfer")(request.SerializeToString(), timeout=30)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "65 rows" in failed.value.details()


def command() -> list[str]:
    """Return the command of the tool, from PERF_ANALYZER or the path; empty if it is missing."""
    return os.environ.get("PERF_ANALYZER", shutil.which("perf_analyzer") or "").split()


@PERF_ANALYZER.unless(command())
@pytest.mark.parametrize(
    "flags",
    [
        ("-i", "http", "-b", "4"),
        ("-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"),
        ("-i", "grpc", "-b", "4"),
        ("-i", "grpc", "--streaming", "--async"),
    ],
    ids=" ".join,
)
def test_perf_analyzer_itself_measures(addresses: tuple[str, str], flags: tuple[str, ...]) -> None:
    address = addresses[flags[1] == "grpc"]
    # One window is enough, however unsteady a busy machine is.
    short = ["-p", "300", "--max-trials", "3", "-s", "999"]
    done = subprocess.run(
        [*command(), "-m", "digits", "-u", address, *short, *flags],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"throughput: [1-9][0-9.]* infer/sec", done.stdout), done.stdout
    assert "Inference count: " in done.stdout  # from the server's statistics
