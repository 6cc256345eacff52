"""Inputs are read from shared memory in their order; outputs are written to their places."""

import os
import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from service.api.protocol.pace import go_on
from service.api.transport.exchange import Exchange
from service.api.transport.shared_tensors import SharedTensors
from service.api.transport.target import Target
from service.api.transport.traffic import Traffic
from service.core.errors import BodyTooLarge, MalformedRequest, MemoryFull
from service.core.requests import InferRequest, Place, RequestedOutput, SharedInput
from service.core.tensors import DATATYPES, Tensor
from service.engine.host.shared_memory import FOLDER, Regions

PREFIX = f"qs-tensors-{os.getpid()}-"
HERE = Tensor("here", DATATYPES["INT8"], np.array([1], np.int8))


@pytest.fixture
def shared() -> Iterator[SharedTensors]:
    file = FOLDER / (PREFIX + secrets.token_hex(4))
    file.write_bytes(np.array([1, 2, 3, 4], np.float32).tobytes() + b"\x02\0\0\0ab")
    regions = Regions(PREFIX)
    regions.register("r", file.name, 0, file.stat().st_size)
    yield SharedTensors(regions, 64, Traffic(2**30))
    file.unlink()


def there(
    position: int, name: str, shape: tuple[int, ...], place: Place, datatype: str = "FP32"
) -> SharedInput:
    return SharedInput(position, name, DATATYPES[datatype], shape, place)


def test_inputs_keep_their_order(shared: SharedTensors) -> None:
    inputs = (
        there(0, "a", (2, 1), Place("r", 0, 8)),
        there(2, "b", (1,), Place("r", 16, 6), "BYTES"),
    )
    request = InferRequest((HERE,), shared=inputs)
    assert shared.size(request) == 14
    found = shared.read(request, go_on)
    assert [each.name for each in found.inputs] == ["a", "here", "b"]
    assert [each.array.tolist() for each in found.inputs] == [[[1], [2]], [1], ["ab"]]
    assert found.shared == ()


def test_an_output_is_written_to_its_region_even_after_unregistering(
    shared: SharedTensors,
) -> None:
    wanted = (RequestedOutput("x"), RequestedOutput("y", 0, True, Place("r", 4, 8)))
    found = shared.read(InferRequest((), wanted, shared=()), go_on)
    plain, aimed = found.outputs
    assert plain.sink is None and aimed.sink is not None and shared.regions is not None
    region = shared.regions.find("r", "")
    shared.regions.unregister()
    assert aimed.sink.put(b"abcd") == {
        "shared_memory_region": "r",
        "shared_memory_byte_size": 4,
        "shared_memory_offset": 4,
    }
    assert region.read(Place("r", 4, 4), "") == b"abcd"
    with pytest.raises(MalformedRequest, match='output "y" has 9 bytes'):
        aimed.sink.put(bytes(9))


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (there(0, "a", (2,), Place("r", 0, 12)), 'input "a" has 12 bytes.*needs 8'),
        (there(0, "a", (2,), Place("q", 0, 8)), 'input "a": there is no shared memory region "q"'),
        (there(0, "a", (2,), Place("r", 20, 8)), 'input "a": 8 bytes from 20 on are not in'),
        (there(0, "a", (9,), Place("r", 16, 6), "BYTES"), "shape .9. needs 9"),
        (there(0, "a", (70000,), Place("r", 0, 6), "BYTES"), "at most 65536"),
    ],
)
def test_invalid_places_of_inputs_are_refused(
    shared: SharedTensors, tensor: SharedInput, why: str
) -> None:
    with pytest.raises(MalformedRequest, match=why):
        shared.read(InferRequest((), shared=(tensor,)), go_on)


def test_the_total_size_of_inputs_is_limited(shared: SharedTensors) -> None:
    place = Place("r", 0, 40)
    request = InferRequest((), shared=tuple(there(i, "a", (10,), place) for i in range(2)))
    with pytest.raises(BodyTooLarge, match="have 80 bytes, at most 64"):
        shared.size(request)


def test_a_server_without_shared_memory_names_the_flag() -> None:
    with pytest.raises(MalformedRequest, match="--shared-memory"):
        SharedTensors(None, 64, Traffic(2**30)).size(InferRequest((), shared=()))


@pytest.mark.parametrize("count", [4, 2**22])
async def test_inputs_are_read_in_a_thread_if_they_are_long(count: int) -> None:
    """Memory for long inputs is reserved, once."""
    values = np.arange(count, dtype=np.float32)
    file = FOLDER / (PREFIX + secrets.token_hex(4))
    file.write_bytes(values.tobytes())
    try:
        regions = Regions(PREFIX)
        regions.register("r", file.name, 0, values.nbytes)
        request = InferRequest((), shared=(there(0, "a", (count,), Place("r", 0, values.nbytes)),))
        # Twice the bytes do not fit.
        traffic = Traffic(2 * values.nbytes - 1)
        shared = SharedTensors(regions, values.nbytes, traffic)
        exchange = Exchange(Target("v2", "m", None), b"1")
        for _ in range(2):
            found = await shared.fill(exchange, request)
            assert np.array_equal(found.inputs[0].array, values)
        assert (exchange.held is not None) is (count > 4)
        if exchange.held is not None:
            with pytest.raises(MemoryFull):
                await shared.fill(Exchange(Target("v2", "m", None), b"2"), request)
            traffic.release(exchange)
    finally:
        file.unlink()
