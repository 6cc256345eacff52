"""Decoding and encoding elsewhere give the same results as in the event loop."""

import asyncio
import csv
import io
import math
import threading
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.offload.jobs import Encoding
from service.api.offload.lanes import Elsewhere
from service.api.protocol import codec, v1
from service.core.errors import MalformedRequest, QuantserveError
from service.core.memory_budget import Budget, Reservation
from service.core.padding import Padding
from service.core.requests import InferRequest, InferResponse
from service.core.tensors import DATATYPES, Signature, Tensor, TensorSpec

NUMBERS = st.floats(width=32) | st.integers(-300, 300)
VALUES = {
    "FP32": NUMBERS,
    "BF16": NUMBERS,
    "FP16": NUMBERS,
    "INT8": st.integers(-200, 200),
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=5),
}
DATA = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(VALUES[name] | st.none(), max_size=8))
)


NOTHING = Signature((), ())


@pytest.fixture(scope="module")
def far() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


def outcome(request: InferRequest | QuantserveError) -> object:
    """Return the comparable parts of a request, or of the error in its place."""
    if isinstance(request, QuantserveError):
        return type(request), str(request)
    arrays = [
        (t.name, t.datatype is DATATYPES[t.datatype.name], t.array.dtype, t.array.shape)
        + ((t.array.tolist(),) if t.array.dtype.hasobject else (t.array.tobytes(),))
        for t in request.inputs
    ]
    return arrays, request._replace(inputs=())


def here(function: object, *args: object) -> object:
    try:
        return outcome(function(*args))
    except QuantserveError as error:
        return outcome(error)


def there(work: object) -> object:
    try:
        return outcome(asyncio.run(work))
    except QuantserveError as error:
        return outcome(error)


def text(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return orjson.dumps(value).decode()


@settings(max_examples=60, deadline=None)
@given(DATA, st.integers(-1, 1), st.booleans())
def test_json_is_decoded_as_in_the_event_loop(
    far: Elsewhere, data: tuple[str, list[object]], wrong: int, mutable: bool
) -> None:
    datatype, values = data
    listed = ",".join(map(text, values))
    shape = max(0, len(values) + wrong)
    head = f'{{"id":"é","inputs":[{{"name":"x","datatype":"{datatype}","shape":[{shape}],"data":'
    body = f"{head}[{listed}]}}]}}".encode()
    # Longer than the limit of the event loop, so that the process decodes it.
    body = (bytearray if mutable else bytes)(body + b" " * 40_000)
    assert there(far.decode(body, None, NOTHING)) == here(codec.decode, body)
    spec = TensorSpec("x", DATATYPES[datatype], ("batch", None))
    signature = Signature((spec,), ())
    body = f'{{"instances":[[{listed}],[{listed}]]}}'.encode()
    assert there(far.decode_v1(body, signature)) == here(v1.decode, body, signature)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=6), max_size=6), st.integers(-1, 1), st.binary(max_size=3))
def test_raw_strings_are_decoded_as_in_the_event_loop(
    far: Elsewhere, words: list[bytes], wrong: int, rest: bytes
) -> None:
    data = b"".join(len(w).to_bytes(4, "little") + w for w in words) + rest
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "BYTES",
                    "shape": [max(0, len(words) + wrong)],
                    "parameters": {"binary_data_size": len(data)},
                }
            ]
        }
    )
    for length in (len(head), len(head) + 1, len(head) - 1):
        assert there(far.decode(head + data, length, NOTHING)) == here(
            codec.decode, head + data, length
        )
    signature = Signature((TensorSpec("x", DATATYPES["BYTES"], (None,)),), ())
    assert there(far.decode_raw(data, signature)) == here(codec.decode_raw, data, signature)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=6),
    st.lists(st.text(max_size=4), min_size=1, max_size=6),
    st.tuples(st.booleans(), st.booleans()),
    st.booleans(),
)
def test_answers_are_encoded_as_in_the_event_loop(
    far: Elsewhere,
    numbers: list[float],
    words: list[str],
    binary: tuple[bool, bool],
    tokens: bool,
) -> None:
    tensors = (
        Tensor("n", DATATYPES["FP32"], np.array([numbers], np.float32)),
        Tensor("w", DATATYPES["BYTES"], np.array([words], dtype=object)),
    )
    response = InferResponse("m", 1, tensors, "id")
    encoding = Encoding("v2", binary, (0, 0), ((), ()), True, tokens)
    body, length = asyncio.run(far.encode(response, encoding))
    assert (bytes(body), length) == codec.encode(response, binary, tokens)
    body, length = asyncio.run(far.encode(response, encoding._replace(protocol="v1")))
    assert (bytes(body), length) == (v1.encode(response, tokens), None)


async def test_too_many_strings_or_bytes_of_text_are_refused(
    far: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = '{"inputs":[{"name":"x","datatype":"BYTES","shape":[%d],"data":[%s]}]}'
    many = inputs % (2**16 + 1, ",".join(['""'] * (2**16 + 1)))
    with pytest.raises(MalformedRequest, match="has 65537 BYTES elements, at most 65536"):
        await far.decode(many.encode(), None, NOTHING)
    long = inputs % (1, '"' + "a" * (2**22 + 1) + '"')
    with pytest.raises(MalformedRequest, match="has 4194305 bytes of text, at most 4194304"):
        await far.decode(long.encode(), None, NOTHING)
    signature = Signature((TensorSpec("x", DATATYPES["BYTES"], (None,)),), ())
    with pytest.raises(MalformedRequest, match="bytes of text"):
        await far.decode_raw(bytes(2**22 + 1), signature)


async def test_small_bodies_do_not_wait_for_large_ones(far: Elsewhere) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],"data":[%s]}]}'
    large = asyncio.ensure_future(
        far.decode(body % (3_000_000, b",".join([b"1"] * 3_000_000)), None, NOTHING)
    )
    await asyncio.sleep(0)
    await far.decode(body % (20_000, b",".join([b"1"] * 20_000)), None, NOTHING)
    assert not large.done()
    assert (await large).inputs[0].array.shape == (3_000_000,)


async def test_work_cancelled_before_its_turn_is_not_run() -> None:
    far, done, gate = Elsewhere(), [], threading.Event()
    lane = far.lane(0)
    begun = asyncio.ensure_future(lane.run(gate.wait))
    later = asyncio.ensure_future(lane.run(done.append, "later"))
    await asyncio.sleep(0)
    later.cancel()
    await asyncio.wait([later])
    gate.set()
    await begun
    await lane.run(done.append, "last")
    far.close()
    assert done == ["last"]


async def test_memory_is_held_until_the_work_has_ended() -> None:
    far, gate, budget = Elsewhere(), threading.Event(), Budget(100)
    held = Reservation(budget)
    held.resize(60)
    lane, begins = far.lane(0), threading.Event()
    work = asyncio.ensure_future(lane.run(lambda: begins.set() or gate.wait(), held=held))
    await asyncio.to_thread(begins.wait)
    work.cancel()
    await asyncio.wait([work])
    held.release()
    assert budget.held == 60, "the work still runs"
    gate.set()
    await lane.run(len, "")
    await asyncio.sleep(0)
    assert budget.held == 0
    far.close()


async def test_memory_of_failed_work_is_released(far: Elsewhere) -> None:
    budget = Budget(100)
    for body in (b"{", b" " * 40_000 + b"{"):
        held = Reservation(budget)
        held.resize(60)
        with pytest.raises(MalformedRequest):
            await far.decode(body, None, NOTHING, held)
        held.release()
        await asyncio.sleep(0)
        assert budget.held == 0


async def test_a_thread_that_cannot_start_is_a_memory_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(_: object) -> None:
        raise RuntimeError("can't start new thread")

    far, held = Elsewhere(), Reservation(Budget(100))
    monkeypatch.setattr(threading.Thread, "start", none)
    with pytest.raises(MemoryError):
        await far.steps.run(len, "", held=held)
    held.resize(60)
    held.release()
    assert held.size == 0


TABLE = st.lists(st.tuples(st.floats(width=32), st.integers(-300, 300), st.text(max_size=5)))
COLUMNS = Signature(
    (
        TensorSpec("x", DATATYPES["FP32"], (None, 1)),
        TensorSpec("n", DATATYPES["INT8"], (None, 1)),
        TensorSpec("s", DATATYPES["BYTES"], (None, 1)),
    ),
    (),
)


@settings(max_examples=40, deadline=None)
@given(TABLE)
def test_tables_are_decoded_as_in_the_event_loop(
    far: Elsewhere, rows: list[tuple[float, int, str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows(["xns", *rows])
    body = text.getvalue().encode()
    assert there(far.decode_v1(body, COLUMNS, None, "csv")) == here(
        v1.decode, body, COLUMNS, None, "csv"
    )
    frame = orjson.dumps({"dataframe_split": {"columns": ["x", "n", "s"], "data": rows}})
    body = frame + b" " * 40_000
    assert there(far.decode_v1(body, COLUMNS)) == here(v1.decode, body, COLUMNS)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=4),
    st.sampled_from([None, Padding((4,), (7,), ((True,),), ((),))]),
)
def test_rows_are_padded_as_in_the_event_loop(
    far: Elsewhere, rows: list[list[int]], padding: Padding | None
) -> None:
    signature = Signature((TensorSpec("x", DATATYPES["INT64"], ("n", "s")),), ())
    body = orjson.dumps({"instances": rows}) + b" " * 40_000
    assert there(far.decode_v1(body, signature, padding)) == here(
        v1.decode, body, signature, padding
    )


@settings(max_examples=40, deadline=None)
@given(DATA, st.sampled_from(["FP32", "FP64", "FP16", "INT64", "UINT8", "BYTES"]))
def test_numbers_are_converted_as_in_the_event_loop(
    far: Elsewhere, data: tuple[str, list[object]], taken: str
) -> None:
    datatype, values = data
    signature = Signature((TensorSpec("x", DATATYPES[taken], ("n",)),), ())
    listed = ",".join(map(text, values))
    head = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[{len(values)}]'
    body = f'{head},"data":[{listed}]}}]}}'.encode() + b" " * 40_000

    def checked(request: InferRequest) -> InferRequest:
        (array,) = signature.check(request.inputs)
        return request._replace(inputs=(Tensor("x", DATATYPES[taken], array),))

    async def elsewhere() -> InferRequest:
        return checked(await far.decode(body, None, signature))

    assert there(elsewhere()) == here(lambda: checked(codec.decode(body)))
