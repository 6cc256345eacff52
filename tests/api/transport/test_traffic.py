"""Admission of requests by memory, dropping of slow readers, and release of reservations."""

from time import perf_counter

import numpy as np
import pytest

from service.api.protocol.answer_limit import Size
from service.api.transport.traffic import MARGIN, SPARE, Traffic
from service.core.body_cost import JSON_FACTOR, LARGE, RAW_FACTOR
from service.core.errors import BodyTooLarge, MemoryFull, ResponseTooLarge
from service.core.memory_budget import Reservation
from service.core.requests import InferRequest
from service.core.tensors import DATATYPES, Tensor

MIB = 2**20


class Request:
    """The part of a request that reserves memory."""

    held: Reservation | None = None
    weight = weighed = 0


class Reader:
    """A client that has read nothing for some seconds."""

    def __init__(self, traffic: Traffic, seconds: float) -> None:
        self._since = perf_counter() - seconds
        self._traffic = traffic
        self.dropped = False

    def silent_since(self) -> float:
        return self._since

    def drop(self) -> None:
        self.dropped = True
        self._traffic.forget(self)  # as when the connection is lost


def held(traffic: Traffic) -> int:
    return traffic.counts().held


def test_memory_for_a_body_is_reserved_by_length_and_released() -> None:
    traffic, request = Traffic(100 * MIB), Request()
    traffic.expect(request, 10 * MIB, raw=True)
    assert held(traffic) == RAW_FACTOR * 10 * MIB
    traffic.release(request)
    traffic.release(request)
    assert held(traffic) == 0 and request.held is None
    traffic.expect(request, MIB, raw=False)
    assert held(traffic) == JSON_FACTOR * MIB


def test_a_request_without_room_is_refused_and_counted() -> None:
    traffic = Traffic(100 * MIB)
    traffic.expect(Request(), 20 * MIB, raw=True)
    second = Request()
    with pytest.raises(MemoryFull, match=f"hold {60 * MIB} bytes, this one needs {60 * MIB} more"):
        traffic.expect(second, 20 * MIB, raw=True)
    assert second.held is None
    assert (traffic.counts().refused, held(traffic)) == (1, 60 * MIB)
    with pytest.raises(BodyTooLarge, match="--memory-budget"):
        traffic.expect(second, 40 * MIB, raw=True)


def test_a_large_json_body_may_reserve_all_memory_if_no_other_does() -> None:
    traffic, request = Traffic(100 * MIB), Request()
    traffic.expect(request, 30 * MIB, raw=False)
    assert held(traffic) == 100 * MIB
    small = Request()
    traffic.expect(small, 1000, raw=False)  # there is still room for small bodies
    with pytest.raises(MemoryFull):
        for _ in range(100 * MIB // SPARE // LARGE + 1):
            traffic.expect(Request(), LARGE, raw=False)


def test_the_reservation_grows_with_the_number_of_objects() -> None:
    traffic, request, body = Traffic(100 * MIB), Request(), bytearray()
    for _ in range(2 * MIB):
        body += b"[],"
        if len(body) % 3000 == 0:
            traffic.grow(request, body, raw=False)
        if held(traffic) > 60 * MIB:
            break
    assert request.held is not None
    assert 25 * len(body) < request.held.size < 70 * len(body)
    with pytest.raises(BodyTooLarge, match="when it is read"):
        traffic.grow(request, body + b"[]," * MIB, raw=False)
    traffic.release(request)
    assert held(traffic) == 0


def test_strings_in_a_binary_body_count_as_objects() -> None:
    traffic, request = Traffic(100 * MIB), Request()
    body = b'{"datatype":"BYTES"}' + bytes(MIB)
    traffic.expect(request, len(body), raw=True)
    traffic.came(request, body, 20)
    assert held(traffic) == 16 * len(body)


def test_a_decoded_request_reserves_the_size_of_its_arrays() -> None:
    traffic, request = Traffic(100 * MIB), Request()
    traffic.expect(request, MIB, raw=False)
    array = np.zeros(MIB // 8, np.float32)
    traffic.read(request, InferRequest((Tensor("x", DATATYPES["FP32"], array),)))
    assert held(traffic) == 2 * array.nbytes


def test_an_answer_is_reserved_beside_its_request() -> None:
    traffic, request = Traffic(100 * MIB), Request()
    traffic.build(request, Size(LARGE))
    assert held(traffic) == 0
    traffic.expect(request, 10 * MIB, raw=True)
    traffic.build(request, Size(20 * MIB, 5 * MIB))
    assert held(traffic) == (30 + 60 + 5) * MIB
    with pytest.raises(ResponseTooLarge, match="needs .* with its request"):
        traffic.build(request, Size(40 * MIB))


def test_unread_answers_are_dropped_slowest_reader_first() -> None:
    traffic = Traffic(100 * MIB)
    slow, slower, quick = Reader(traffic, 5), Reader(traffic, 9), Reader(traffic, 0)
    for reader in (slow, slower, quick):
        traffic.keep(reader, 30 * MIB)
    traffic.expect(Request(), 10 * MIB, raw=True)
    assert (slower.dropped, slow.dropped) == (True, False)
    traffic.expect(Request(), 10 * MIB, raw=True)
    assert slow.dropped and not quick.dropped
    with pytest.raises(MemoryFull):
        traffic.expect(Request(), 10 * MIB, raw=True)
    assert traffic.counts().dropped == 2
    traffic.keep(quick, 1 * MIB)
    traffic.expect(Request(), 10 * MIB, raw=True)
    traffic.forget(quick)
    traffic.forget(quick)
    assert held(traffic) == 90 * MIB


def test_a_margin_of_the_address_space_is_kept_free() -> None:
    left = MARGIN + 50 * MIB
    traffic = Traffic(100 * MIB, lambda: left)
    traffic.expect(Request(), 10 * MIB, raw=True)
    with pytest.raises(MemoryFull):
        traffic.expect(Request(), 10 * MIB, raw=True)


def test_memory_for_a_control_plane_body_is_released_after_an_error() -> None:
    traffic = Traffic(100 * MIB)
    headers = {b"content-length": b"%d" % (10 * MIB)}
    with pytest.raises(ZeroDivisionError), traffic.body(headers, 64 * MIB) as grown:
        assert held(traffic) == 30 * MIB
        grown(bytes(20 * MIB))
        assert held(traffic) == 60 * MIB
        raise ZeroDivisionError
    assert held(traffic) == 0


def test_memory_for_outputs_of_several_runs_is_reserved_before_the_runs() -> None:
    traffic = Traffic(10 * MIB)
    assert traffic.outputs(LARGE) is None and held(traffic) == 0
    first = traffic.outputs(6 * MIB)
    assert first is not None and held(traffic) == 6 * MIB
    with pytest.raises(MemoryFull, match="6291456 bytes, this one needs 6291456 more"):
        traffic.outputs(6 * MIB)
    with pytest.raises(ResponseTooLarge, match="need 11534336 bytes .*: send fewer rows"):
        traffic.outputs(11 * MIB)
    first.release()
    assert held(traffic) == 0
