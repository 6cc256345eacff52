"""The error of every bad request says what is wrong and what was expected, in every form of the
request. The next request over the same connection is served.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.system.process import Running
from tests.system.wire import Answer, chunked, post

V2 = "/v2/models/{}/infer"
V1 = "/v1/models/{}:predict"
LENGTH = "Inference-Header-Content-Length"


class Case(NamedTuple):
    """A request, and the expected status and texts of its answer."""

    model: str
    body: bytes
    status: int
    texts: tuple[str, ...]
    path: str = V2
    header_length: int | str | None = None


def tensor(**changes: Any) -> dict[str, Any]:
    given = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} | changes
    return {key: value for key, value in given.items() if value is not ...}


def v2(*inputs: Any, **rest: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **rest}).encode()


def typed(datatype: str, data: str, shape: str = "[1, 1]") -> bytes:
    """Return JSON of hand-written parts, some of which Python cannot write."""
    text = '{"inputs": [{"name": "x", "datatype": "%s", "shape": %s, "data": %s}]}'
    return (text % (datatype, shape, data)).encode()


def binary(raw: bytes, size: Any = ..., length: Any = ..., **changes: Any) -> tuple[bytes, Any]:
    """Return a body with raw data behind its JSON, and the length of the JSON."""
    claimed = len(raw) if size is ... else size
    head = v2(tensor(data=..., parameters={"binary_data_size": claimed}, **changes))
    return head + raw, len(head) if length is ... else length


def wrong(model: str, body: bytes, *texts: str, status: int = 400) -> Case:
    return Case(model, body, status, texts)


def raw(model: str, body: bytes, *texts: str) -> Case:
    return Case(model, body, 400, texts, header_length=0)


def bin_(model: str, given: tuple[bytes, Any], *texts: str, status: int = 400) -> Case:
    return Case(model, given[0], status, texts, header_length=given[1])


def v1(model: str, body: str, *texts: str, status: int = 400) -> Case:
    return Case(model, body.encode(), status, texts, path=V1)


GOOD = v2(tensor())
F32 = "same_fp32"
FLOATS = struct.pack("<2f", 1, 2)
U64 = "integer values from 0 to 18446744073709551615"
I64 = "integer values from -9223372036854775808 to 9223372036854775807"

CASES = {
    # JSON, and its shape at each level
    "nothing": wrong(F32, b"", "the body is empty, expected a JSON object"),
    "not JSON": wrong(F32, b"{", "not JSON"),
    "not UTF-8": wrong(F32, b'{"inputs": "\xff"}', "not JSON"),
    "JSON and more": wrong(F32, GOOD + b"}", "not JSON"),
    "a list": wrong(F32, b"[]", "a list, expected an object"),
    "null": wrong(F32, b"null", "null, expected an object"),
    "deep lists": wrong(F32, b"[" * 100_000, "not JSON"),
    "deep objects": wrong(F32, b'{"a":' * 100_000, "not JSON"),
    "deep data": wrong(
        F32, typed("FP32", "[" * 500 + "1" + "]" * 500), "number values, got a list"
    ),
    "no inputs": wrong(F32, b"{}", '"inputs" must be a list of at least one tensor'),
    "inputs an object": wrong(F32, b'{"inputs": {}}', '"inputs" must be a list'),
    "an input a number": wrong(F32, v2(7), 'each of "inputs" must be an object, got an integer'),
    "inputs without end": wrong(F32, v2(*[{}] * 5000), "5000 tensors, at most 4096"),
    "no name": wrong(F32, v2(tensor(name=...)), '"name" that is a string'),
    "a name a number": wrong(F32, v2(tensor(name=7)), '"name" that is a string'),
    "no datatype": wrong(F32, v2(tensor(datatype=...)), "datatype null, expected one of BOOL"),
    "datatype unknown": wrong(F32, v2(tensor(datatype="FP31")), '"FP31", expected one of BOOL'),
    "datatype a list": wrong(F32, v2(tensor(datatype=["FP32"])), "datatype a list, expected one"),
    "no shape": wrong(F32, v2(tensor(shape=...)), '"shape" must be up to 32 integers'),
    "shape a number": wrong(F32, v2(tensor(shape=2)), '"shape" must be up to 32 integers'),
    "rank 33": wrong(F32, v2(tensor(shape=[1] * 33)), '"shape" must be up to 32 integers'),
    "negative length": wrong(F32, v2(tensor(shape=[-1, 2])), "at least 0, got -1"),
    "boolean length": wrong(F32, v2(tensor(shape=[True, 2])), "at least 0, got true"),
    "fractional length": wrong(F32, v2(tensor(shape=[1.0, 2])), "at least 0, got 1.0"),
    "a string for a length": wrong(F32, v2(tensor(shape=["1", 2])), 'at least 0, got "1"'),
    "length past 64 bits": wrong(F32, v2(tensor(shape=[2**70, 2])), "at least 0, got 1.18"),
    "huge length": wrong(F32, v2(tensor(shape=[2**40, 2])), "2 values", "needs 2199023255552"),
    "nothing, but huge": wrong(F32, v2(tensor(shape=[0, 2**63], data=[])), "too large"),
    "nothing, twice huge": wrong(F32, v2(tensor(shape=[0, 2**40, 2**40], data=[])), "too large"),
    "no data": wrong(F32, v2(tensor(data=...)), 'input "x" has no "data"'),
    "data a number": wrong(F32, v2(tensor(data=1)), '"data" must be a list, got an integer'),
    "data null": wrong(F32, v2(tensor(data=None)), '"data" must be a list, got null'),
    "too few values": wrong(F32, v2(tensor(data=[1])), "1 values, shape [1, 2] needs 2"),
    "nested otherwise": wrong(F32, v2(tensor(shape=[2, 1], data=[[1, 2]])), "axis 0", "[2, 1]"),
    "ragged": wrong(F32, v2(tensor(shape=[2, 1], data=[[1], [1, 2]])), "2 values on axis 1"),
    "half nested": wrong(F32, v2(tensor(data=[1, [2]])), "number values, got a list"),
    "parameters a list": wrong(F32, v2(tensor(), parameters=[]), "must be an object, got a list"),
    "an input's parameters": wrong(F32, v2(tensor(parameters=1)), 'of input "x"', "an integer"),
    "id a number": wrong(F32, v2(tensor(), id=7), '"id" must be a string, got an integer'),
    "id an object": wrong(F32, v2(tensor(), id={}), '"id" must be a string, got an object'),
    "outputs an object": wrong(F32, v2(tensor(), outputs={}), "a list, got an object"),
    "an output a string": wrong(F32, v2(tensor(), outputs=["y"]), "an object, got a string"),
    "an output's name": wrong(F32, v2(tensor(), outputs=[{"name": 7}]), '"name" that is a string'),
    "priority a string": wrong(
        F32, v2(tensor(), parameters={"priority": "1"}), '"priority"', "an integer >= 0"
    ),
    "priority negative": wrong(F32, v2(tensor(), parameters={"priority": -1}), ">= 0, got -1"),
    "timeout a fraction": wrong(F32, v2(tensor(), parameters={"timeout": 0.5}), "got 0.5"),
    "timeout true": wrong(F32, v2(tensor(), parameters={"timeout": True}), '"timeout"'),
    "timeout run out": wrong(
        F32, v2(tensor(), parameters={"timeout": 1}), "it allowed 0.001 ms", status=504
    ),
    "binary output a number": wrong(
        F32, v2(tensor(), parameters={"binary_data_output": 1}), "must be true or false"
    ),
    "binary output a string": wrong(
        F32,
        v2(tensor(), outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
        '"binary_data" must be true or false',
    ),
    "classes negative": wrong(
        F32,
        v2(tensor(), outputs=[{"name": "y", "parameters": {"classification": -1}}]),
        '"classification" must be an integer >= 0',
    ),
    "classes of strings": wrong(
        "same_bytes",
        v2(
            tensor(datatype="BYTES", data=["a", "b"]),
            outputs=[{"name": "y", "parameters": {"classification": 1}}],
        ),
        'output "y" is BYTES: it has no classes',
    ),
    # the model
    "unknown model": wrong("nobody", GOOD, 'no model "nobody"', "this server has", status=404),
    "model in Unicode": wrong("%C3%A9%F0%9F%99%82", GOOD, 'no model "é🙂"', status=404),
    "model of odd bytes": wrong("%ff%00", GOOD, "no model", status=404),
    "model of slashes": wrong("..%2F..%2Fetc", GOOD, "there is no route for", status=404),
    "unknown version": wrong(F32 + "/versions/9", GOOD, "version 9 does not", status=404),
    "version 0": wrong(F32 + "/versions/0", GOOD, "not a version number", status=404),
    "version a word": wrong(F32 + "/versions/latest", GOOD, "not a version number", status=404),
    "version without end": wrong(F32 + "/versions/" + "9" * 400, GOOD, "not a", status=404),
    "unknown input": wrong(F32, v2(tensor(name="z")), 'unknown input "z"', '"x" FP32 [-1, -1]'),
    "name without end": wrong(F32, v2(tensor(name="n" * 500_000)), "unknown input"),
    "missing input": wrong("two", v2(tensor(name="a")), 'input "b" is missing', "FP32 [-1, 2]"),
    "duplicate input": wrong("two", v2(tensor(name="a"), tensor(name="a")), 'input "a" is given 2'),
    "one too many": wrong(F32, v2(tensor(), tensor()), 'input "x" is given 2 times'),
    "unknown output": wrong(F32, v2(tensor(), outputs=[{"name": "z"}]), 'output "z"', '"y"'),
    "wrong datatype": bin_(
        F32,
        binary(struct.pack("<2d", 1, 2), datatype="FP64"),
        'input "x" takes FP32 [-1, -1], got FP64 [1, 2]',
    ),
    "a string's datatype": wrong(
        F32, v2(tensor(datatype="BYTES", data=["1", "2"])), "takes FP32 [-1, -1], got BYTES [1, 2]"
    ),
    "a boolean's datatype": wrong(
        "same_int8", v2(tensor(datatype="BOOL", data=[True, False])), "takes INT8", "got BOOL"
    ),
    "a number's datatype for BOOL": wrong(
        "same_bool", v2(tensor(datatype="INT64")), "takes BOOL [-1, -1], got INT64 [1, 2]"
    ),
    "another datatype and rank": wrong(
        F32, v2(tensor(datatype="FP64", shape=[2])), "takes FP32 [-1, -1], got FP64 [2]"
    ),
    "FP64 past FP32": wrong(
        F32, v2(tensor(datatype="FP64", data=[1, 1e39])), "1e+39 is too large for FP32, in row 0"
    ),
    "INT64 past FP16": wrong(
        "same_fp16", v2(tensor(datatype="INT64", data=[1, 70000])), "70000 is too large for FP16"
    ),
    "INT64 past INT32": wrong(
        "same_int32",
        v2(tensor(datatype="INT64", data=[1, 2**31])),
        "-2147483648 to 2147483647, got 2147483648 in row 0, column 1",
    ),
    "INT8 below UINT64": wrong(
        "same_uint64", v2(tensor(datatype="INT8", data=[1, -1])), U64, "got -1 in row 0, column 1"
    ),
    "FP32 with a fraction": wrong(
        "same_int64", v2(tensor(data=[1, 3.5])), I64, "got 3.5 in row 0, column 1"
    ),
    "FP32 past what it tells apart": wrong(
        "same_int64", v2(tensor(data=[1, 2.0**25])), I64, "got 33554432.0"
    ),
    "wrong rank": wrong(F32, v2(tensor(shape=[2])), "takes FP32 [-1, -1], got FP32 [2]"),
    "a scalar": wrong(F32, v2(tensor(shape=[], data=[1])), "takes FP32 [-1, -1], got FP32 []"),
    "wrong length": wrong(
        "fixed", v2(tensor(shape=[2, 4], data=[1] * 8)), "takes FP32 [2, 3], got FP32 [2, 4]"
    ),
    "different rows": wrong(
        "two",
        v2(tensor(name="a"), tensor(name="b", shape=[2, 2], data=[1] * 4)),
        'input "a" has 1 rows, input "b" has 2',
    ),
    "too many rows": wrong(
        "limited",
        v2(tensor(shape=[65, 1], data=[0] * 65)),
        'model "limited" version 1: 65 rows',
        "at most 64",
        "max_batch_size in [batching] of model.toml",
    ),
    # values
    "NaN": wrong("same_int8", typed("INT8", "[NaN]"), "-128 to 127, got NaN"),
    "Infinity": wrong("same_int64", typed("INT64", "[Infinity]"), "got Infinity"),
    "nan": wrong(F32, typed("FP32", "[nan]"), "not JSON"),
    "NaN beside 1e999": wrong(F32, typed("FP32", "[NaN, 1e999]", "[1, 2]"), "not JSON"),
    "infinity beside 1e39": wrong(
        F32, typed("FP32", "[Infinity, 1e39]", "[1, 2]"), "1e+39 is too large for FP32"
    ),
    "1e999": wrong(F32, typed("FP64", "[1e999]"), "not JSON"),
    "past FP32": wrong(F32, typed("FP32", "[1e39]"), "1e+39 is too large for FP32"),
    "past FP16": wrong("same_fp16", typed("FP16", "[65520]"), "65520 is too large for FP16"),
    "past BF16": wrong("same_bf16", typed("BF16", "[3.4e38]"), "too large for BF16"),
    "past UINT8": wrong("same_uint8", typed("UINT8", "[256]"), "from 0 to 255, got 256"),
    "below UINT8": wrong("same_uint8", typed("UINT8", "[-1]"), "from 0 to 255, got -1"),
    "past INT8": wrong("same_int8", typed("INT8", "[128]"), "from -128 to 127, got 128"),
    "past INT32": wrong("same_int32", typed("INT32", f"[{2**31}]"), "got 2147483648"),
    "past INT64": wrong("same_int64", typed("INT64", f"[{2**63}]"), I64, f"got {2**63}"),
    "below INT64": wrong("same_int64", typed("INT64", f"[{-(2**63) - 1}]"), I64, "got -9.22"),
    "past UINT64": wrong("same_uint64", typed("UINT64", f"[{2**64}]"), U64, "got 1.84"),
    "below UINT64": wrong("same_uint64", typed("UINT64", "[-1]"), U64, "got -1"),
    "a fraction": wrong("same_int8", typed("INT8", "[1.5]"), "from -128 to 127, got 1.5 in row 0"),
    "past INT8 with a point": wrong("same_int8", typed("INT8", "[300.0]"), "to 127, got 300"),
    "past a double": wrong("same_int64", typed("INT64", "[9007199254740994.0]"), I64, "got 900719"),
    "a string": wrong(F32, typed("FP32", '["1"]'), 'number values, got "1"'),
    "a long string": wrong(F32, typed("FP32", f'["{"n" * 500_000}"]'), "number values, got"),
    "a boolean": wrong(F32, typed("FP32", "[true]"), "number values, got true"),
    "a number for BOOL": wrong("same_bool", typed("BOOL", "[1]"), "boolean values, got 1"),
    "a number for BYTES": wrong("same_bytes", typed("BYTES", "[1]"), "string values, got 1"),
    "half a surrogate": wrong("same_bytes", typed("BYTES", '["\\ud800"]'), "not JSON"),
    # binary tensor data
    "size too small": bin_(F32, binary(FLOATS, 4), "4 bytes, FP32 [1, 2] needs 8"),
    "size too big": bin_(F32, binary(FLOATS, 12), "binary_data_size 12, 8 bytes are left"),
    "size huge": bin_(F32, binary(FLOATS, 2**63), f"binary_data_size {2**63}, 8 bytes"),
    "size negative": bin_(F32, binary(FLOATS, -8), "an integer >= 0, got -8"),
    "size a string": bin_(F32, binary(FLOATS, "8"), '"binary_data_size" must be an integer'),
    "size a fraction": bin_(F32, binary(FLOATS, 8.0), '"binary_data_size" must be an integer'),
    "size true": bin_(F32, binary(FLOATS, True), '"binary_data_size" must be an integer'),
    "size of nothing": bin_(F32, binary(b"", shape=[0, 2**62]), "too large"),
    "bytes of nobody": bin_(F32, binary(FLOATS + b"1234", 8), "4 bytes", "belong to no input"),
    "both forms": Case(
        F32,
        v2(tensor(parameters={"binary_data_size": 8})) + FLOATS,
        400,
        ('both "data" and "binary_data_size"',),
        header_length=len(v2(tensor(parameters={"binary_data_size": 8}))),
    ),
    "no header length": bin_(F32, binary(FLOATS, length=None), "not JSON"),
    "header length small": bin_(F32, binary(FLOATS, length=5), "not JSON"),
    "header length big": bin_(F32, binary(FLOATS, length=10**6), f"{LENGTH} is 1000000, the body"),
    "header length huge": bin_(F32, binary(FLOATS, length=10**30), "is not a length"),
    "header length negative": bin_(F32, binary(FLOATS, length=-1), f'{LENGTH} "-1" is not a'),
    "header length a word": bin_(F32, binary(FLOATS, length="all"), '"all" is not a length'),
    "header length signed": bin_(F32, binary(FLOATS, length="+5"), '"+5" is not a length'),
    "header length empty": bin_(F32, binary(FLOATS, length=""), "is not a length"),
    "BYTES cut": bin_(
        "same_bytes",
        binary(struct.pack("<I", 5) + b"abc", datatype="BYTES", shape=[1, 1]),
        "BYTES element 0 has 5 bytes, 3 are left",
    ),
    "BYTES length cut": bin_(
        "same_bytes", binary(b"\1\0", datatype="BYTES", shape=[1, 1]), "an incomplete length"
    ),
    "BYTES past the end": bin_(
        "same_bytes",
        binary(b"\xff\xff\xff\xffabc", datatype="BYTES", shape=[1, 1]),
        "element 0 has 4294967295 bytes, 3 are left",
    ),
    "BYTES not UTF-8": bin_(
        "same_bytes",
        binary(b"\1\0\0\0\xff", datatype="BYTES", shape=[1, 1]),
        "a BYTES element is not UTF-8",
    ),
    "BYTES too few": bin_(
        "same_bytes", binary(b"\0\0\0\0", datatype="BYTES", shape=[1, 2]), "1 values", "needs 2"
    ),
    # a body that is one tensor
    "raw for two": raw("two", FLOATS, "a raw body needs 1 input, the model has 2"),
    "raw of 5 bytes": raw(F32, b"12345", "5 bytes, FP32 [1, 1] needs 4"),
    "raw too short": raw("fixed", FLOATS, "8 bytes, FP32 [2, 3] needs 24"),
    "raw not UTF-8": raw("same_bytes", b"\xff", "not UTF-8"),
    # V1
    "V1 nothing": v1(F32, "", "the body is empty"),
    "V1 not JSON": v1(F32, "{", "not JSON"),
    "V1 a list": v1(F32, "[]", "a list, expected an object"),
    "V1 no instances": v1(F32, "{}", 'one of "instances", "inputs"', "got none of them"),
    "V1 two tables": v1(
        F32, '{"instances": [[1]], "inputs": [[1]]}', 'got "instances" and "inputs"'
    ),
    "V1 no instance": v1(F32, '{"instances": []}', "at least one instance"),
    "V1 an object": v1(F32, '{"instances": {}}', "must be a list"),
    "V1 unknown model": v1("nobody", '{"instances": [1]}', 'no model "nobody"', status=404),
    "V1 a string": v1(F32, '{"instances": [["a"]]}', "takes FP32", 'got "a" in row 0'),
    "V1 ragged": v1(
        F32,
        '{"instances": [[1], [1, 2]]}',
        "row 0 has 1 values, row 1 has 2",
        '[batching.padding] in model.toml with "x" under values',
    ),
    "V1 ragged where the length is fixed": v1(
        "two",
        '{"instances": [{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [1]}]}',
        'input "b" takes FP32 [-1, 2]: row 1 has 1 values, expected 2',
    ),
    "V1 mixed": v1(F32, '{"instances": [[1], {"x": [1]}]}', "got an object in row 1"),
    "V1 deep": v1(F32, f'{{"instances": {"[" * 70}1{"]" * 70}}}', "more than 32 deep"),
    "V1 wrong name": v1(F32, '{"instances": [{"z": [1]}]}', 'unknown column "z"', '"x" FP32'),
    "V1 missing name": v1(
        "two", '{"instances": [{"a": [1, 2]}]}', 'column "b" is missing', '"b" FP32 [-1, 2]'
    ),
    "V1 missing name later": v1(
        "two",
        '{"instances": [{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "B": [1, 2]}]}',
        'row 1: unknown column "B", perhaps "b" is meant; column "b" is missing',
    ),
    "V1 no object": v1("two", '{"instances": [[1, 2]]}', '"a", "b"', "got a list"),
    "V1 wrong rank": v1(F32, '{"instances": [1, 2]}', "takes FP32 [-1, -1], got FP32 [2]"),
    "V1 past INT8": v1("same_int8", '{"instances": [[300]]}', "-128 to 127, got 300"),
    "V1 of scalars": v1("scalar", '{"instances": [1]}', "takes FP32 [], got FP32 [1]"),
}


def request(case: Case, way: Callable[..., bytes], **headers: str) -> bytes:
    if case.header_length is not None:
        headers["Inference_Header_Content_Length"] = str(case.header_length)
    return way(case.path.format(case.model), case.body, **headers)


def compressed(path: str, body: bytes, **headers: str) -> bytes:
    return chunked(path, gzip.compress(body), Content_Encoding="gzip", **headers)


def expecting(path: str, body: bytes, **headers: str) -> bytes:
    return post(path, body, Expect="100-continue", **headers)


WAYS = {"direct": post, "chunked": chunked, "asgi": expecting, "compressed": compressed}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_requests_are_explained_and_the_next_one_is_served(
    attacked: Running, case: Case, way: Callable[..., bytes]
) -> None:
    with attacked.line() as line:
        answer = line.ask(request(case, way, X_Request_Id="of-mine"))
        assert answer.status == case.status, answer.body
        assert all(text in answer.error for text in case.texts), answer.error
        assert len(answer.body) < 4000
        assert answer.headers["content-type"] == "application/json"
        if "there is no route for" not in case.texts:
            assert answer.headers["x-request-id"] == "of-mine"
        assert line.ask(post(V2.format(F32), GOOD)).status == 200


def test_mixed_pipelined_requests_are_answered_in_order(attacked: Running) -> None:
    """All requests are sent before the first answer is read."""
    requests, expected = [], []
    for place, (name, way) in enumerate([*WAYS.items()] * 4):
        case = list(CASES.values())[place * 3]
        requests += [
            way(V2.format(F32), v2(tensor(), id=f"{name} {place}")), request(case, way)
        ]  # fmt: skip
        expected += [f"{name} {place}", case.status]
    with attacked.line() as line:
        line.socket.sendall(b"".join(requests))
        answers = [line.read() for _ in expected]
    assert [a.json["id"] if a.status == 200 else a.status for a in answers] == expected


BOMB = gzip.compress(b" " * 2**25)
LIMIT = 2**20
ENCODED = {
    "gzip bomb": ("gzip", BOMB, 413, "more than the 1048576 bytes"),
    "deflate bomb": ("deflate", zlib.compress(b" " * 2**25), 413, "more than the 1048576 bytes"),
    "a bomb in a bomb": ("gzip", gzip.compress(BOMB), 400, "not JSON"),
    "said twice": ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415, "expected gzip or"),
    "two members": ("gzip", gzip.compress(GOOD) + BOMB, 400, "followed by other bytes"),
    "bytes behind": ("gzip", gzip.compress(GOOD) + b"more", 400, "followed by other bytes"),
    "cut": ("gzip", gzip.compress(GOOD)[:-9], 400, "cut short"),
    "a wrong checksum": ("gzip", gzip.compress(GOOD)[:-8] + bytes(8), 400, "not gzip"),
    "not gzip": ("gzip", GOOD, 400, "not gzip"),
    "no zlib header": ("deflate", zlib.compress(GOOD)[2:-4], 400, "not deflate"),
    "nothing": ("gzip", b"", 400, "cut short"),
    "unknown": ("br", GOOD, 415, '"br", expected gzip or deflate'),
    "empty": ("", GOOD, 415, "expected gzip or deflate"),
    "dictionary": ("deflate", b"\x78\xbb" + bytes(20), 400, "not deflate"),
}


@pytest.mark.parametrize("way", [post, chunked], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("encoding", "body", "status", "text"), ENCODED.values(), ids=ENCODED.keys()
)
def test_errors_in_compressed_bodies_are_explained(
    attacked: Running,
    encoding: str,
    body: bytes,
    status: int,
    text: str,
    way: Callable[..., bytes],
) -> None:
    answer = attacked.ask(way(V2.format(F32), body, Content_Encoding=encoding))
    assert answer.status == status, answer.body
    assert text in answer.error
    assert attacked.ask(post(V2.format(F32), GOOD)).status == 200


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("over", [1, 8 * LIMIT])
def test_a_body_over_the_limit_is_refused_while_it_is_being_sent(
    attacked: Running, way: Callable[..., bytes], over: int
) -> None:
    """The client reads only after it has sent everything, as most clients do."""
    body = GOOD[:-1] + b" " * (LIMIT - len(GOOD) + over) + b"}"
    assert len(body) == LIMIT + over
    answer = attacked.ask(way(V2.format(F32), body))
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert "1048576" in answer.error


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_body_of_exactly_the_limit_is_accepted(
    attacked: Running, way: Callable[..., bytes]
) -> None:
    body = GOOD[:-1] + b" " * (LIMIT - len(GOOD)) + b"}"
    assert attacked.ask(way(V2.format(F32), body)).status == 200


NULLS = {"id": None, "parameters": None, "outputs": None}
FRIENDLY: dict[str, tuple[str, bytes, Callable[[Answer], object], object]] = {
    "null for what is left out": (F32, v2(tensor(), **NULLS), lambda a: a.status, 200),
    "a scalar": (
        "scalar", v2(tensor(shape=[], data=[2])), lambda a: a.json["outputs"][0]["data"], [-2]
    ),
    "an empty list of outputs": (F32, v2(tensor(), outputs=[]), lambda a: a.status, 200),
    "outputs in another order": (
        "two",
        v2(
            tensor(name="b"), tensor(name="a", data=[5, 5]),
            outputs=[{"name": "difference"}, {"name": "sum"}],
        ),
        lambda a: [(o["name"], o["data"]) for o in a.json["outputs"]],
        [("difference", [4, 3]), ("sum", [6, 7])],
    ),
    "the largest UINT64": (
        "same_uint64",
        typed("UINT64", "[18446744073709551615, 18446744073709551614, 0]", "[1, 3]"),
        lambda a: a.json["outputs"][0]["data"],
        [2**64 - 1, 2**64 - 2, 0],
    ),
    "the largest INT64": (
        "same_int64",
        typed("INT64", "[9223372036854775807, -9223372036854775808]", "[1, 2]"),
        lambda a: a.json["outputs"][0]["data"],
        [2**63 - 1, -(2**63)],
    ),
    "a timeout of ages": (
        F32, v2(tensor(), parameters={"timeout": 2**64 - 1}), lambda a: a.status, 200
    ),
    "a priority of no importance": (
        F32, v2(tensor(), parameters={"priority": 2**64 - 1}), lambda a: a.status, 200
    ),
    "no elements": (
        F32, v2(tensor(shape=[1, 0], data=[])), lambda a: a.json["outputs"][0]["shape"], [1, 0]
    ),
    "no class": (
        F32,
        v2(tensor(), outputs=[{"name": "y", "parameters": {"classification": 0}}]),
        lambda a: a.json["outputs"][0]["data"],
        [1, 2],
    ),
    "more classes than there are": (
        F32,
        v2(tensor(), outputs=[{"name": "y", "parameters": {"classification": 2**40}}]),
        lambda a: a.json["outputs"][0]["data"],
        ["2.000000:1", "1.000000:0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    ("model", "body", "seen", "expected"), FRIENDLY.values(), ids=FRIENDLY.keys()
)
def test_unusual_but_valid_requests_are_answered(
    attacked: Running,
    model: str,
    body: bytes,
    seen: Callable[[Answer], object],
    expected: object,
    way: Callable[..., bytes],
) -> None:
    answer = attacked.ask(way(V2.format(model), body))
    assert answer.status == 200, answer.body
    assert seen(answer) == expected
