"""Tensors in shared memory: inputs are read before the queue, outputs are written with the answer.

HTTP and gRPC decode requests and encode answers themselves.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from service.api.protocol.binary_tensors import from_bytes
from service.api.protocol.json_tensors import check_strings
from service.api.protocol.pace import Paced, TakesLong, go_on, not_here
from service.api.protocol.shared_memory import OFFSET, REGION, SIZE
from service.api.protocol.unsupported import NO_SHARED_MEMORY
from service.api.transport.exchange import Exchange
from service.api.transport.traffic import Traffic
from service.core.body_cost import LARGE
from service.core.errors import BodyTooLarge, MalformedRequest
from service.core.requests import InferRequest, Place, RequestedOutput, SharedInput
from service.core.sizes import HERE_COPY
from service.core.tensors import Tensor

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Region, Regions


@dataclass(frozen=True, slots=True)
class Target:
    """The place for an output in shared memory. It keeps the region until the answer is written,
    even if the region is unregistered."""

    region: "Region"
    place: Place
    where: str

    def put(self, data: bytes | bytearray | memoryview) -> Mapping[str, str | int]:
        """Write the output; return its parameters for the answer.

        Raises:
            MalformedRequest: see ``Region.write``.
        """
        self.region.write(self.place, data, self.where)
        told: dict[str, str | int] = {REGION: self.place.region, SIZE: len(data)}
        return told | ({OFFSET: self.place.offset} if self.place.offset else {})


@dataclass(frozen=True, slots=True)
class SharedTensors:
    """The regions that requests may name; None if the server has no shared memory.

    ``limit`` is the most bytes that the inputs of a request may have in shared memory. ``traffic``
    reserves the memory for them.
    """

    regions: "Regions | None"
    limit: int
    traffic: Traffic

    def size(self, request: InferRequest) -> int:
        """Return the number of bytes of the request's inputs in shared memory.

        Raises:
            MalformedRequest: the server has no shared memory.
            BodyTooLarge: the inputs have more bytes than one request may have.
        """
        if self.regions is None:
            raise MalformedRequest(NO_SHARED_MEMORY)
        size = sum([each.place.size for each in request.shared or ()])
        if size > self.limit:
            raise BodyTooLarge(
                f"the inputs in shared memory have {size} bytes, at most {self.limit} are allowed"
                " (--max-body-bytes)"
            )
        return size

    def expect(self, exchange: Exchange, request: InferRequest) -> int:
        """Reserve memory for inputs in shared memory, only once: a request may be decoded twice.
        Return the size of the inputs in bytes.

        Raises:
            MalformedRequest, BodyTooLarge: see ``size``.
            MemoryFull: there is no room for the inputs.
        """
        size = self.size(request)
        if size > LARGE and not exchange.in_regions:
            self.traffic.expand(exchange, size)
            exchange.in_regions = size
        return size

    def fill_here(self, exchange: Exchange, request: InferRequest) -> InferRequest:
        """Reserve memory, then read as ``read`` does.

        Raises:
            RequestError, TransientError: see ``expect`` and ``read``.
            TakesLong: call ``fill``, because reading takes long.
        """
        if self.expect(exchange, request) > HERE_COPY:
            raise TakesLong
        return self.read(request, not_here)

    async def fill(self, exchange: Exchange, request: InferRequest) -> InferRequest:
        """Reserve memory, then read as ``read`` does; in a thread if that takes long.

        Raises:
            RequestError, TransientError: see ``expect`` and ``read``.
        """
        with suppress(TakesLong):
            return self.fill_here(exchange, request)
        return await asyncio.to_thread(self.read, request, go_on)

    def read(self, request: InferRequest, pace: Paced) -> InferRequest:
        """Return the request with all of its inputs, and with the places of its outputs.

        Raises:
            MalformedRequest: a region is not registered, or the tensor does not fit in it.
        """
        regions = self.regions
        assert regions is not None, "size() comes first"
        outputs = tuple([_aimed(each, regions) for each in request.outputs])
        inputs = list(request.inputs)
        for each in request.shared or ():
            inputs.insert(each.position, _read(each, regions, pace))
        return request._replace(inputs=tuple(inputs), outputs=outputs, shared=())


def _aimed(output: RequestedOutput, regions: "Regions") -> RequestedOutput:
    if output.shared is None:
        return output
    where = f'output "{output.name:.80}"'
    region = regions.find(output.shared.region, where)
    region.checked(output.shared, where)
    return output._replace(sink=Target(region, output.shared, where))


def _read(shared: SharedInput, regions: "Regions", pace: Paced) -> Tensor:
    _, name, datatype, shape, place = shared
    where = f'input "{name:.80}"'
    region, count = regions.find(place.region, where), prod(shape)
    if datatype.name == "BYTES":
        check_strings(name, count, place.size - 4 * count)
    elif count * datatype.size != place.size:
        raise MalformedRequest(
            f"{where} has {place.size} bytes in shared memory, {datatype} {list(shape)} needs"
            f" {count * datatype.size}"
        )
    return from_bytes(name, datatype, shape, memoryview(region.read(place, where)), pace)
