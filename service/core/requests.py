"""Requests and answers, independent of the wire format.

These are named tuples, not frozen dataclasses: they are made for every request, and a frozen
dataclass of this size takes about a microsecond more.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

from service.core.memory_budget import Reservation
from service.core.tensors import Datatype, Tensor

NonFinite = Literal["literal", "null"]
"""What stands in JSON for NaN and infinity: the bare tokens NaN, Infinity, -Infinity, or null."""
HIGHEST_PRIORITY = 1
DEFAULT_PRIORITY = 2
"""Level 1 is served first; a request that names no level counts as 2, and 3 and more come later."""


class Place(NamedTuple):
    """The place of a tensor in shared memory: region, offset and size in bytes."""

    region: str
    offset: int
    size: int


class SharedInput(NamedTuple):
    """An input in shared memory; ``position`` is its place among the inputs."""

    position: int
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    place: Place


class Sink(Protocol):
    """Takes the bytes of an output to where the client reads them."""

    def put(self, data: bytes | bytearray | memoryview) -> Mapping[str, str | int]:
        """Take them; gives the parameters that tell the client.

        Raises:
            MalformedRequest: they do not fit.
        """


class RequestedOutput(NamedTuple):
    """An output that the client names.

    ``classes`` asks for the so many best classes instead of the tensor; 0 asks for the tensor.
    ``binary`` is None where the request's default holds. ``shared`` is where it is to be written
    in shared memory, and ``sink`` what writes it there.
    """

    name: str
    classes: int = 0
    binary: bool | None = None
    shared: Place | None = None
    sink: Sink | None = None


class InferRequest(NamedTuple):
    """One inference request.

    ``outputs`` is empty where the client wants all of them. ``timeout`` is in seconds, None for
    the model's default. ``non_finite`` is None for the server's default. ``shared`` are inputs that
    are to be read from shared memory, None where neither an input nor an output lies there.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    id: str = ""
    priority: int = DEFAULT_PRIORITY
    timeout: float | None = None
    binary_outputs: bool = False
    non_finite: NonFinite | None = None
    shared: tuple[SharedInput, ...] | None = None


class Terms(NamedTuple):
    """On which terms a request waits for its batch.

    ``outputs`` are the places of the outputs wanted, None for all; ``timeout`` is in seconds, None
    for the model's default; ``alone``: it shares no run with another request. ``memory`` reserves
    so many bytes for outputs that are put together from several runs, or raises ResponseTooLarge or
    MemoryFull; None where nothing is counted.
    """

    outputs: tuple[int, ...] | None = None
    priority: int = DEFAULT_PRIORITY
    timeout: float | None = None
    alone: bool = False
    memory: Callable[[int], Reservation | None] | None = None


class InferResponse(NamedTuple):
    """The answer to one request: its outputs in the order asked for, or the model's."""

    model: str
    version: int
    outputs: tuple[Tensor, ...]
    id: str = ""
