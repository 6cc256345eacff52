"""Requests and answers, independent of the wire format.

These are named tuples, not frozen dataclasses: they are made for every request, and a frozen
dataclass of this size takes about a microsecond more.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

from service.core.memory_budget import Reservation
from service.core.tensors import Datatype, Tensor

NonFinite = Literal["literal", "null"]
"""The form of NaN and infinity in JSON: the bare tokens NaN, Infinity, -Infinity, or null."""
DEFAULT_PRIORITY = 2
"""Level 1 is served first, then 2, 3 and so on. A request without a level has level 2."""


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
    """Writes the bytes of an output to the place where the client reads them."""

    def put(self, data: bytes | bytearray | memoryview) -> Mapping[str, str | int]:
        """Write the bytes. Return the parameters of the output that tell the client where they are.

        Raises:
            MalformedRequest: the bytes do not fit.
        """


class RequestedOutput(NamedTuple):
    """An output that the client names.

    ``classes`` asks for this number of best classes instead of the tensor; 0 asks for the tensor.
    ``binary`` is None for the request's default. ``shared`` is the place in shared memory for the
    output, and ``sink`` the object that writes it there.
    """

    name: str
    classes: int = 0
    binary: bool | None = None
    shared: Place | None = None
    sink: Sink | None = None

    def is_binary(self, default: bool) -> bool:
        """Return whether the output is sent as raw bytes; ``default`` is the request's default."""
        return default if self.binary is None else self.binary


class InferRequest(NamedTuple):
    """One inference request.

    ``outputs`` is empty if the client asks for all outputs. ``timeout`` is in seconds, None for the
    model's default. ``non_finite`` is None for the server's default. ``shared`` are the inputs to
    read from shared memory; None if no input and no output is in shared memory.
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
    """The conditions under which a request waits for its batch.

    ``outputs`` are the places of the requested outputs, None for all. ``timeout`` is in seconds,
    None for the model's default. ``alone``: the request shares no run with another request.
    ``memory`` is called with a number of bytes to reserve, for outputs that are joined from several
    runs. It may raise ResponseTooLarge or MemoryFull; None if memory is not counted.
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
