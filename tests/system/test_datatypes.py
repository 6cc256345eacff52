"""Every datatype through Triton's own client, in both forms, mixed, compressed and classified."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from tests.system.process import Running
from tests.system.wire import post

VALUES: dict[str, list[list[Any]]] = {
    "BOOL": [[True, False, True]],
    "UINT8": [[0, 255, 7]],
    "UINT16": [[0, 2**16 - 1, 7]],
    "UINT32": [[0, 2**32 - 1, 7]],
    "UINT64": [[0, 2**64 - 1, 2**53 + 1]],
    "INT8": [[-128, 127, 0]],
    "INT16": [[-(2**15), 2**15 - 1, 0]],
    "INT32": [[-(2**31), 2**31 - 1, 0]],
    "INT64": [[-(2**63), 2**63 - 1, 2**53 + 1]],
    "FP16": [[-65504, 0.5, 6e-8]],
    "FP32": [[-3.4028234663852886e38, 0.1, 1e-45]],
    "FP64": [[-1.7976931348623157e308, 0.1, 5e-324]],
    "BYTES": [["", "7", "é🙂\n\0"]],
}
NUMPY = {name: triton_to_np_dtype(name) for name in VALUES}
ASK: dict[str, dict[str, str | None]] = {
    "plain": {},
    "gzip": {
        "request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip",
    },
    "deflate": {
        "request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate",
    },
}  # fmt: skip


@pytest.fixture
def client(attacked: Running) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(attacked.address)


def ask(
    client: triton.InferenceServerClient,
    datatype: str,
    array: np.ndarray,
    binary_in: bool,
    binary_out: bool,
    **how: str | None,
) -> np.ndarray:
    given = triton.InferInput("x", array.shape, datatype)
    given.set_data_from_numpy(array, binary_data=binary_in)
    wanted = triton.InferRequestedOutput("y", binary_data=binary_out)
    result = client.infer(f"same_{datatype.lower()}", [given], outputs=[wanted], **how)
    assert result.get_output("y")["datatype"] == datatype
    found: np.ndarray = result.as_numpy("y")
    return found


@pytest.mark.parametrize("how", ASK.values(), ids=ASK.keys())
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("datatype", VALUES)
def test_values_round_trip_exactly(
    client: triton.InferenceServerClient,
    datatype: str,
    binary_in: bool,
    binary_out: bool,
    how: dict[str, str | None],
) -> None:
    if datatype == "BYTES":
        array = np.array([[s.encode() for s in VALUES[datatype][0]]], dtype=object)
    else:
        array = np.array(VALUES[datatype], NUMPY[datatype])
    found = ask(client, datatype, array, binary_in, binary_out, **how)
    if datatype == "BYTES":
        texts = [s.decode() if isinstance(s, bytes) else s for s in found.ravel()]
        assert [texts] == VALUES[datatype]
    else:
        assert found.tolist() == array.tolist()


def test_bfloat16_round_trips_in_binary(attacked: Running) -> None:
    """Without the client: its handling of bfloat16 differs between versions."""
    bits = np.array([0x3FC0, 0xC000, 0x4049, 0x7F80, 0xFFC0], np.uint16).tobytes()
    given = {"name": "x", "datatype": "BF16", "shape": [1, 5]}
    head = json.dumps(
        {
            "inputs": [given | {"parameters": {"binary_data_size": 10}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = post(
        "/v2/models/same_bf16/infer", head + bits, Inference_Header_Content_Length=str(len(head))
    )
    assert attacked.ask(request).body.endswith(bits)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_in_json(attacked: Running, datatype: str) -> None:
    given = {"name": "x", "datatype": datatype, "shape": [1, 3], "data": [1.5, -2, 3.140625]}
    body = json.dumps({"inputs": [given]}).encode()
    answer = attacked.ask(post(f"/v2/models/same_{datatype.lower()}/infer", body))
    assert answer.json["outputs"][0]["data"] == [1.5, -2, 3.140625]
    body = json.dumps({"instances": [[1.5, -2, 3.140625]]}).encode()
    answer = attacked.ask(post(f"/v1/models/same_{datatype.lower()}:predict", body))
    assert answer.json == {"predictions": [[1.5, -2, 3.140625]]}


@pytest.mark.parametrize("how", ASK.values(), ids=ASK.keys())
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_nan_and_infinity_round_trip(
    client: triton.InferenceServerClient,
    datatype: str,
    binary_in: bool,
    binary_out: bool,
    how: dict[str, str | None],
) -> None:
    array = np.array([[np.nan, np.inf, -np.inf, 0.1]], NUMPY[datatype])
    np.testing.assert_array_equal(ask(client, datatype, array, binary_in, binary_out, **how), array)


TOKENS = "[NaN, Infinity, -Infinity, 0.5]"
BODIES = {
    "v2": (
        "/v2/models/same_{}/infer",
        '{{"inputs": [{{"name": "x", "datatype": "{}", "shape": [1, 4], "data": {}}}]{}}}',
        lambda found: found["outputs"][0]["data"],
    ),
    "v1": (
        "/v1/models/same_{}:predict",
        '{{"dtype": "{}", "instances": [{}]{}}}',
        lambda found: found["predictions"][0],
    ),
}


@pytest.mark.parametrize("protocol", BODIES)
@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_nan_and_infinity_in_json(attacked: Running, protocol: str, datatype: str) -> None:
    path, form, read = BODIES[protocol]
    url = path.format(datatype.lower())
    answer = attacked.ask(post(url, form.format(datatype, TOKENS, "").encode()))
    assert answer.status == 200, answer.body
    assert repr(read(answer.json)) == "[nan, inf, -inf, 0.5]"
    strict = ', "parameters": {"non_finite": "null"}'
    answer = attacked.ask(post(url, form.format(datatype, TOKENS, strict).encode()))
    assert read(orjson.loads(answer.body)) == [None, None, None, 0.5]
    answer = attacked.ask(post(url, form.format(datatype, "[null, 1]", "").encode()))
    assert answer.status == (200 if protocol == "v1" else 400)
    answer = attacked.ask(post(url, form.format(datatype, "[NaN, 1e400]", "").encode()))
    assert answer.status == 400 and "not JSON" in answer.error


@pytest.mark.parametrize("how", ASK.values(), ids=ASK.keys())
def test_nan_is_ranked_last(
    client: triton.InferenceServerClient, how: dict[str, str | None]
) -> None:
    given = triton.InferInput("x", [1, 3], "FP32")
    given.set_data_from_numpy(np.array([[np.nan, -np.inf, 1]], np.float32), binary_data=False)
    wanted = triton.InferRequestedOutput("y", binary_data=False, class_count=3)
    result = client.infer("same_fp32", [given], outputs=[wanted], **how)
    assert result.get_output("y")["data"] == ["1.000000:2", "-inf:1", "nan:0"]


@pytest.mark.parametrize("first_is_binary", [True, False])
def test_forms_can_be_mixed_in_one_request(
    client: triton.InferenceServerClient, first_is_binary: bool
) -> None:
    arrays = {"a": np.array([[1, 2]], np.float32), "b": np.array([[10, 20]], np.float32)}
    given = []
    for name, binary in (("a", first_is_binary), ("b", not first_is_binary)):
        tensor = triton.InferInput(name, [1, 2], "FP32")
        tensor.set_data_from_numpy(arrays[name], binary_data=binary)
        given.append(tensor)
    outputs = [
        triton.InferRequestedOutput("sum", binary_data=first_is_binary),
        triton.InferRequestedOutput("difference", binary_data=not first_is_binary),
    ]
    result = client.infer("two", given, outputs=outputs)
    assert result.as_numpy("sum").tolist() == [[11, 22]]
    assert result.as_numpy("difference").tolist() == [[-9, -18]]


def test_a_body_may_be_one_tensor(attacked: Running) -> None:
    """Inference-Header-Content-Length: 0; the answer is binary."""
    raw: list[tuple[str, bytes, bytes]] = [
        ("same_fp32", np.array([1, 2, 3], np.float32).tobytes(), b""),
        ("same_int64", np.array([2**63 - 1]).tobytes(), b""),
        ("same_bytes", "é".encode(), b"\2\0\0\0"),
    ]
    for model, body, prefix in raw:
        answer = attacked.ask(
            post(f"/v2/models/{model}/infer", body, Inference_Header_Content_Length="0")
        )
        assert answer.status == 200, answer.body
        tail = answer.body[int(answer.headers["inference-header-content-length"]) :]
        assert tail == prefix + body


CLASSES: list[tuple[str, list[Any], int, list[str]]] = [
    ("FP32", [1, 5, 5, 2], 3, ["5.000000:1", "5.000000:2", "2.000000:3"]),
    ("BF16", [-1, 3, 2, 0], 2, ["3.000000:1", "2.000000:2"]),
    ("FP16", [-1, 3, 2, 0], 1, ["3.000000:1"]),
    ("INT8", [-128, 127, 0, 0], 4, ["127:1", "0:2", "0:3", "-128:0"]),
    ("UINT8", [0, 255, 128, 1], 2, ["255:1", "128:2"]),
    ("UINT64", [2**64 - 2, 2**64 - 1, 0, 1], 2, [f"{2**64 - 1}:1", f"{2**64 - 2}:0"]),
    ("INT64", [-(2**63), 2**63 - 1, 2**63 - 2, 0], 2, [f"{2**63 - 1}:1", f"{2**63 - 2}:2"]),
]


@pytest.mark.parametrize(("datatype", "values", "count", "expected"), CLASSES)
@pytest.mark.parametrize("binary", [True, False])
def test_the_best_classes_are_exact_and_in_order(
    attacked: Running,
    datatype: str,
    values: list[Any],
    count: int,
    expected: list[str],
    binary: bool,
) -> None:
    given = {"name": "x", "datatype": datatype, "shape": [1, 4], "data": values}
    wanted = {"name": "y", "parameters": {"classification": count, "binary_data": binary}}
    body = json.dumps({"inputs": [given], "outputs": [wanted]}).encode()
    answer = attacked.ask(post(f"/v2/models/same_{datatype.lower()}/infer", body))
    (output,) = answer.json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, count])
    if binary:
        tail = answer.body[int(answer.headers["inference-header-content-length"]) :]
        assert [each.decode() for each in deserialize_bytes_tensor(tail)] == expected
    else:
        assert output["data"] == expected
