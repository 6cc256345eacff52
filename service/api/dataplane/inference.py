"""The path of an inference request from its bytes to the queue, and the request's outcome.

A version is chosen and its queue is entered in one step, so that a swap cannot lose a request.
Small requests are decoded in the same step. Work that would block the event loop raises
``TakesLong`` and is repeated by the method of the same name with ``_elsewhere``: it decodes the
request first and then chooses the version again. Both entry points, ``asgi.py`` and ``call.py``,
use this module, and ``answering.py`` for the outputs.
"""

import asyncio
import itertools
import logging
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from service.api.dataplane.answering import Answering
from service.api.dataplane.choice import choose
from service.api.dataplane.headers import Headers, header_length
from service.api.dataplane.image_requests import ImageRequests, image_body
from service.api.offload.lanes import Elsewhere
from service.api.protocol import codec, v1
from service.api.protocol.csv_table import body_format
from service.api.protocol.errors import outcome_of
from service.api.protocol.json_tensors import Bytes
from service.api.protocol.pace import TakesLong, not_here
from service.api.transport.answers import WRITES, Answer, Write, refused, shorten
from service.api.transport.exchange import Admitted, Exchange
from service.api.transport.shared_tensors import SharedTensors
from service.api.transport.target import given_id
from service.api.transport.traffic import Traffic
from service.config.settings import Settings
from service.core.errors import ExecutionFailed, MemoryFull, QuantserveError, ShuttingDown
from service.core.events import Observer, Outcome, RequestCompleted
from service.core.requests import DEFAULT_PRIORITY, InferRequest, RequestedOutput, Terms
from service.core.sizes import HERE_BYTES, HERE_CSV
from service.core.tensors import Arrays
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.engine.runtime.replies import Reply

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions

_log = logging.getLogger(__name__)
USUAL = (DEFAULT_PRIORITY, None, None, False)
"""Priority, timeout, places and ``alone`` of most requests."""
_OK = Outcome.OK  # in Python 3.11, looking up a member of an enumeration takes ten times as long


class Inference:
    """Admits requests, and reports the outcome of each to observers."""

    def __init__(
        self,
        repository: ModelRepository,
        settings: Settings,
        observe: Observer,
        traffic: Traffic,
        elsewhere: Elsewhere | None = None,
        writes: Mapping[str, Write] = WRITES,
        regions: "Regions | None" = None,
    ) -> None:
        """``writes`` maps each protocol to the function that encodes its answers. ``regions`` is
        the shared memory of clients."""
        self._repository = repository
        self.traffic = traffic
        # Created once: a new object for each request would take time.
        self._memory = traffic.outputs
        self._usual_terms = Terms(memory=self._memory)
        self._observe = observe
        self.body_limit = settings.max_body_bytes
        self.body_timeout = settings.body_timeout
        self._ids = itertools.count(1)
        self.elsewhere = elsewhere or Elsewhere(settings.cores)
        self.images = ImageRequests(repository, self.elsewhere, traffic, observe)
        self.answering = Answering(settings, traffic, self.elsewhere, writes)
        self.shared = SharedTensors(regions, settings.max_body_bytes, traffic)
        self._boot = f"{id(self):x}".encode()
        self.leaving = False
        """True if answers close the connection, so that clients send further requests elsewhere."""
        self.unanswered = 0
        """Number of admitted requests that were refused later because the server stopped."""

    def request_id(self, headers: Headers) -> bytes:
        """Return the client's id for the request, or a new id."""
        given = headers.get(b"x-request-id")
        return (given and given_id(given)) or b"%b-%x" % (self._boot, next(self._ids))

    def admit(self, exchange: Exchange, headers: Headers, body: Bytes, reply: Reply) -> None:
        """Choose the version, read and check the request, and queue it.

        Raises:
            RequestError, TransientError: see ``codec``, ``Signature`` and ``DynamicBatcher``.
            TakesLong: call ``admit_elsewhere``, because decoding takes long.
        """
        version = choose(self._repository, exchange)
        if version.images is not None and image_body(exchange, headers, body) is not None:
            raise TakesLong
        if exchange.target.protocol == "v1":
            form = body_format(headers.get(b"content-type"))
            if len(body) > (HERE_BYTES if form == "json" else HERE_CSV):
                raise TakesLong
            request = v1.decode(body, version.signature, version.padding, form, not_here)
        else:
            length = header_length(headers)
            if length and exchange.held is not None:
                self.traffic.came(exchange, body, length)
            if length == 0:
                request = codec.decode_raw(body, version.signature, not_here)
            elif (len(body) if length is None else length) > HERE_BYTES:
                raise TakesLong
            else:
                request = codec.decode(body, length, not_here)
                if request.shared is not None:
                    request = self.shared.fill_here(exchange, request)
        self._enter(exchange, version, request, reply)

    def admit_read(
        self,
        exchange: Exchange,
        headers: Headers,
        request: InferRequest,
        reply: Reply,
        alone: bool = False,
    ) -> None:
        """Choose the version and queue a decoded request; ``headers`` are the headers of the
        request.

        Raises:
            RequestError, TransientError: as in ``admit``, except for decoding errors.
        """
        self._enter(exchange, choose(self._repository, exchange), request, reply, alone)

    async def admit_elsewhere(
        self, exchange: Exchange, headers: Headers, body: Bytes, reply: Reply
    ) -> None:
        """Admit a request whose body takes long to decode; see ``admit``.

        Raises:
            RequestError, TransientError: as in ``admit``.
            CodecFailed: the process that decodes the body died.
        """
        version = choose(self._repository, exchange)
        while True:
            signature, padding, images = version.signature, version.padding, version.images
            request = await self._read(exchange, headers, body, version)
            if request.shared is not None:
                request = await self.shared.fill(exchange, request)
            if reply.done():
                return
            # Another version may be serving now, and it may need other inputs.
            version = choose(self._repository, exchange)
            same = version.signature.inputs == signature.inputs and version.images == images
            if same and version.padding == padding:
                break
        texts = any([tensor.datatype.name == "BYTES" for tensor in request.inputs])
        self._enter(exchange, version, request, reply, alone=texts)

    async def _read(
        self, exchange: Exchange, headers: Headers, body: Bytes, version: ModelVersion
    ) -> InferRequest:
        held, signature = exchange.held, version.signature
        exchange.pictured = None
        if version.images is not None and (sent := image_body(exchange, headers, body)):
            return await self.images.read(exchange, sent, version, version.images)
        if exchange.target.protocol == "v1":
            form = body_format(headers.get(b"content-type"))
            return await self.elsewhere.decode_v1(body, signature, version.padding, form, held)
        length = header_length(headers)
        if length == 0:
            return await self.elsewhere.decode_raw(body, signature, held)
        return await self.elsewhere.decode(body, length, signature, held)

    def _enter(
        self,
        exchange: Exchange,
        version: ModelVersion,
        request: InferRequest,
        reply: Reply,
        alone: bool = False,
    ) -> None:
        if exchange.held is not None:
            self.traffic.read(exchange, request)
        protocol, _, number = exchange.target
        signature = version.signature
        if signature.texts is not None:
            signature = signature.taking(request.inputs)
        if protocol == "v1" and not number and version.v1_outputs and not signature.of_texts:
            # Requests that name a version get all of its outputs. Other requests get the same
            # outputs as before a swap.
            wanted = tuple([RequestedOutput(name) for name in version.v1_outputs])
            request = request._replace(outputs=wanted)
        places = None
        if request.outputs:
            places = signature.places([output.name for output in request.outputs])
        # Set before the submit: if the queue is empty, the answer may come during the submit.
        exchange.admitted = Admitted(request, version, signature)
        terms = self._usual_terms
        if (request.priority, request.timeout, places, alone) != USUAL:
            terms = Terms(places, request.priority, request.timeout, alone, self._memory)
        version.submit(request.inputs, terms, reply)

    async def ask(
        self, exchange: Exchange, headers: Headers, body: Bytes, reply: "asyncio.Future[Arrays]"
    ) -> Answer:
        """Admit a request, wait for its outputs, and return the answer.

        Raises:
            QuantserveError: see ``admit`` and ``Answering``; also the error of the model's run.
        """
        try:
            self.admit(exchange, headers, body, reply)
        except TakesLong:
            await self.admit_elsewhere(exchange, headers, body, reply)
        del body  # free the memory while waiting for the outputs
        outputs = await reply
        try:
            return self.answering.answer(exchange, outputs)
        except TakesLong:
            return await self.answering.answer_elsewhere(exchange, outputs)

    def refuse(self, exchange: Exchange, error: BaseException) -> Answer:
        """Return the answer to a failed request. Unexpected exceptions are masked as status 500."""
        if isinstance(error, MemoryError):
            _log.error("request %s: out of memory", exchange.request_id.decode())
            error = MemoryFull("the server is out of memory: try again")
        exchange.outcome = outcome_of(error)
        if self.leaving and exchange.admitted and isinstance(error, ShuttingDown):
            self.unanswered += 1
        if isinstance(error, QuantserveError):
            exchange.error = shorten(str(error))
            return refused(error)
        exchange.error = shorten(f"{type(error).__name__}: {error}")
        _log.error("request %s failed: %s", exchange.request_id.decode(), exchange.error)
        _log.debug("request %s failed", exchange.request_id.decode(), exc_info=error)
        return refused(ExecutionFailed("internal error"))

    def left_unanswered(self) -> None:
        """Count a request for another worker that was cancelled, if the server stops."""
        self.unanswered += self.leaving

    def abandon(self, exchange: Exchange) -> None:
        """Remove a request from the queue: its client has disconnected."""
        exchange.outcome = Outcome.CANCELLED
        if exchange.version is not None:
            exchange.version.withdraw()

    def finish(self, exchange: Exchange) -> None:
        """Release the request's memory, and report its outcome."""
        if exchange.held is not None:
            self.traffic.release(exchange)
        protocol, model, _ = exchange.target
        version, rows = exchange.version, 0
        if version is None:
            # Only names of existing models become labels: else clients could grow the metrics.
            number, model = 0, model if model in self._repository.models else ""
        else:
            number = version.number
        if exchange.admitted is not None and exchange.outcome is _OK:
            rows = exchange.admitted.rows()
        seconds, name = perf_counter() - exchange.started, exchange.request_id.decode()
        self._observe(
            RequestCompleted(
                model, number, protocol, exchange.outcome, seconds, name, exchange.error, rows
            )
        )
