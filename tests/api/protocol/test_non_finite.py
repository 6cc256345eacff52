"""NaN and infinity in JSON: three tokens that orjson does not read, and no other extension."""

import json
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol import codec, v1
from service.api.protocol.classification import classify
from service.api.protocol.non_finite import CHARACTERS, literal, loads
from service.core.errors import MalformedRequest
from service.core.requests import InferResponse
from service.core.tensors import DATATYPES, Array, Signature, Tensor, TensorSpec
from tests.inprocess import serve
from tests.tiny_models import identity

FLOATS = ["FP16", "FP32", "FP64"]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.lists(st.sampled_from(["NaN", "Infinity", "-", '"', "\\", "null", "\x7f", "N"])).map(
        "".join
    ),
)
LEAVES = st.one_of(
    st.sampled_from([nan, inf, -inf, None, True]),
    st.floats(),
    st.integers(-(2**53), 2**53),
    TEXTS,
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals itself."""
    return repr(one) == repr(other)


@given(DOCUMENTS, st.booleans())
def test_json_written_by_python_is_read(document: Any, escaped: bool) -> None:
    assert same(loads(json.dumps(document, ensure_ascii=escaped).encode()), document)


@given(st.lists(st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "-", '"', "\\", "[", "]", ",", "{", "}", ":", " ", "1", "e9",
     "\x7f", "\\u007f", "n", "\n"]
)).map("".join))  # fmt: skip
def test_all_other_invalid_json_is_refused(text: str) -> None:
    """With numbers in place of the tokens, orjson must accept the same text."""
    try:
        loads(text.encode())
    except orjson.JSONDecodeError:
        return
    json.loads(text)


REFUSED = [
    b"[nan]", b"[Inf]", b"[-NaN]", b"[+Infinity]", b"[- Infinity]", b"[NaNNaN]", b"[1NaN]",
    b"{NaN: 1}", b'{"a": NaN, -Infinity: 1}', b"[NaN, 1e400]", b"[NaN, 01]", b"[NaN,]", b"[NaN",
    b'["NaN', b'["\\NaN"]', b'[NaN, "\\ud800"]', b'[NaN, "\xff"]',
    b"[" * 2000 + b"NaN" + b"]" * 2000,
    b'[NaN, "\n"]', b"\xfe\xff\x00N\x00a\x00NNaN",
]  # fmt: skip


@pytest.mark.parametrize("body", REFUSED, ids=range(len(REFUSED)))
def test_invalid_json_is_refused(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(body)


def test_errors_name_the_position_in_the_body() -> None:
    with pytest.raises(orjson.JSONDecodeError, match=r"char 26"):
        loads(b"[NaN, -Infinity, Infinity x]")


def test_large_integers_are_read_as_orjson_does() -> None:
    digits = b"9" * 300
    assert loads(b"[NaN, %b]" % digits)[1] == orjson.loads(digits)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_backslashes_before_a_quote_are_counted(count: int) -> None:
    text = "\\" * count + '"NaN'
    assert same(loads(json.dumps([text, nan, "Infinity"]).encode()), [text, nan, "Infinity"])


def test_tokens_are_refused_if_strings_use_every_marker_character() -> None:
    with pytest.raises(MalformedRequest, match="send null"):
        loads(json.dumps([nan, *CHARACTERS]).encode())
    assert same(loads(json.dumps([nan, *CHARACTERS[1:]]).encode()), [nan, *CHARACTERS[1:]])


def spec(datatype: str = "FP32", *shape: int | str) -> TensorSpec:
    return TensorSpec("x", DATATYPES[datatype], shape or ("n", 2))


def v2_array(datatype: str, data: str) -> Array:
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[1,2],"data":{data}}}]}}'
    return codec.decode(body.encode()).inputs[0].array


def v1_array(datatype: str, data: str) -> Array:
    signature = Signature((spec(datatype),), (spec(datatype),))
    return v1.decode(f'{{"instances":[{data}]}}'.encode(), signature).inputs[0].array


@pytest.mark.parametrize("read", [v1_array, v2_array])
@pytest.mark.parametrize("datatype", FLOATS)
def test_floats_accept_infinity_only_as_a_token(read: Any, datatype: str) -> None:
    got = read(datatype, "[-Infinity, NaN]")
    assert got.dtype == DATATYPES[datatype].dtype
    assert got[0, 0] == -inf and np.isnan(got[0, 1])
    assert np.isnan(read(datatype, "[null, 1]")[0, 0])
    with pytest.raises(MalformedRequest, match=r"not JSON|1e\+39 is too large"):
        read(datatype, "[Infinity, 1e39]" if datatype != "FP64" else "[Infinity, 1e400]")


@pytest.mark.parametrize("read", [v1_array, v2_array])
def test_bfloat16_accepts_the_tokens(read: Any) -> None:
    assert read("BF16", "[Infinity, NaN]").tolist() == [[0x7F80, 0x7FC0]]
    with pytest.raises(MalformedRequest, match="too large for BF16"):
        read("BF16", "[NaN, 3.4028e38]")


@pytest.mark.parametrize("read", [v1_array, v2_array])
@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "null"])
@pytest.mark.parametrize("datatype", ["INT8", "UINT64", "BOOL", "BYTES"])
def test_other_datatypes_refuse_the_tokens(read: Any, token: str, datatype: str) -> None:
    with pytest.raises(MalformedRequest, match=f"got {token}"):
        read(datatype, f"[{token}, {token}]")


@given(
    st.sampled_from(FLOATS).flatmap(
        lambda name: arrays.arrays(
            DATATYPES[name].dtype,
            arrays.array_shapes(min_dims=2, max_dims=3, max_side=4),
            elements=st.sampled_from([nan, inf, -inf, 0.1, 1e-5, -3.0]),
        )
    ),
    st.booleans(),
)
def test_answers_contain_tokens_or_null(array: Array, tokens: bool) -> None:
    datatype = next(d for d in DATATYPES.values() if d.dtype == array.dtype)
    texts = Tensor("null", DATATYPES["BYTES"], np.array(["null", "NaN"], object))
    response = InferResponse("null", 1, (Tensor("x", datatype, array), texts), "null")
    body, _ = codec.encode(response, [False, False], tokens)
    found = json.loads(body)
    first, second = (output["data"] for output in found["outputs"])
    finite = array.ravel()
    wanted = [float(v) if np.isfinite(v) or tokens else None for v in finite]
    np.testing.assert_array_equal(np.array(first, array.dtype), np.array(wanted, array.dtype))
    assert second == ["null", "NaN"] and found["id"] == found["model_name"] == "null"
    assert tokens or orjson.loads(body)


@given(
    arrays.arrays(np.float32, (3, 2), elements=st.sampled_from([nan, inf, -inf, 0.1, 2.0])),
    st.booleans(),
)
def test_predictions_contain_tokens_or_null(array: Array, single: bool) -> None:
    flags = Tensor("null", DATATYPES["BYTES"], np.array(["null", "NaN", ""], object))
    tensor = Tensor("x", DATATYPES["FP32"], array)
    response = InferResponse("m", 1, (tensor,) if single else (tensor, flags))
    wanted = array.tolist()
    if not single:
        texts = flags.array.tolist()
        wanted = [{"x": x, "null": s} for x, s in zip(wanted, texts, strict=True)]
    assert same(json.loads(v1.encode(response))["predictions"], wanted)
    assert orjson.loads(v1.encode(response, tokens=False))


def test_finite_numbers_are_written_in_the_shortest_form() -> None:
    values = np.array([0.1, nan, 1e-7, inf], np.float32)
    assert orjson.dumps(literal(values)) == b"[0.1,NaN,1e-7,Infinity]"


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_non_finite_value_in_a_large_answer_is_found(value: float) -> None:
    array = np.zeros((1, 10_000), np.float32)
    array[0, 7_000] = value
    body, _ = codec.encode(InferResponse("m", 1, (Tensor("x", DATATYPES["FP32"], array),)), [False])
    found = json.loads(body)["outputs"][0]["data"]
    assert isnan(found[7_000]) if isnan(value) else found[7_000] == value
    assert sum(map(bool, found)) == 1


def test_classes_are_ranked_with_nan_last() -> None:
    array = np.array([[nan, -inf, 0.5, inf]], np.float32)
    for datatype in FLOATS:
        tensor = Tensor("y", DATATYPES[datatype], array.astype(DATATYPES[datatype].dtype))
        found = classify(tensor, 4, ["a", "b", "c", "d"], True).array.tolist()
        assert found == [["inf:3:d", "0.500000:2:c", "-inf:1:b", "nan:0:a"]]


@pytest.mark.asyncio
async def test_the_setting_applies_to_requests_without_the_parameter(tmp_path: Path) -> None:
    identity(tmp_path, "FP32")
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[-Infinity]}]%b}'
    async with serve(tmp_path, non_finite="null") as served:
        for more, wanted in (
            (b"", "null"),
            (b',"parameters":{"non_finite":"literal"}', "-Infinity"),
        ):
            answer = await served.client.post("/v2/models/same_fp32/infer", content=body % more)
            assert f'"data":[{wanted}]' in answer.text
