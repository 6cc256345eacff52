"""The path of an inference request from the outputs of its run to its answer.

A small answer is encoded at once. An answer that takes long to encode raises ``TakesLong``, and is
repeated by the method of the same name with ``_elsewhere``.
"""

from collections.abc import Mapping

from service.api.dataplane.image_requests import of_images
from service.api.offload.lanes import Elsewhere
from service.api.protocol.answer_limit import check_size, is_slight, slight
from service.api.protocol.pace import TakesLong
from service.api.transport.answers import (
    WRITES,
    Answer,
    Write,
    answer_size,
    encoded,
    takes_long,
    to_encode,
)
from service.api.transport.exchange import Admitted, Exchange
from service.api.transport.traffic import Traffic
from service.config.settings import Settings
from service.core.requests import InferRequest
from service.core.sizes import HERE_COPY
from service.core.tensors import Arrays, Signature
from service.engine.repository.version import ModelVersion


class Answering:
    """Encodes the answers to admitted requests, and reserves memory for large ones."""

    def __init__(
        self,
        settings: Settings,
        traffic: Traffic,
        elsewhere: Elsewhere,
        writes: Mapping[str, Write],
    ) -> None:
        """``writes`` maps each protocol to the function that encodes its answers."""
        self._limit = settings.max_response_bytes
        self._slight = slight(settings.max_response_bytes)
        self._non_finite = settings.non_finite
        self._traffic = traffic
        self._elsewhere = elsewhere
        self._writes = writes

    def answer(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Return the answer to an admitted request.

        Raises:
            ResponseTooLarge: the answer would have more bytes than the server's limit.
            MemoryFull: there is no memory to build the answer.
            TakesLong: call ``answer_elsewhere``, because encoding takes long.
        """
        admitted = exchange.admitted
        assert admitted is not None, "an answer comes after admission"
        request, version, signature = admitted
        if exchange.pictured is not None:
            if sum([array.nbytes for array in outputs]) > HERE_COPY:
                raise TakesLong
            outputs, answer = of_images(exchange, admitted, outputs)
            if answer is not None:
                return answer
        slight = is_slight(request, outputs, self._slight)
        if not slight:
            if takes_long(admitted, exchange.target.protocol, outputs):
                raise TakesLong
            if request.shared is not None and sum([o.nbytes for o in outputs]) > HERE_COPY:
                raise TakesLong
            size = answer_size(*self._sized(exchange, admitted, outputs))
            self._traffic.build(exchange, size)
        write = self._writes[exchange.target.protocol]
        answer = write(version, signature, request, outputs, self._literal(request))
        if not slight:
            check_size(answer.size, self._limit)
        return answer

    async def answer_elsewhere(self, exchange: Exchange, outputs: Arrays) -> Answer:
        """Return an answer that takes long to encode. Its size is computed in a thread too.

        Raises:
            ResponseTooLarge, MemoryFull: as in ``answer``.
            CodecFailed: the process that encodes the answer died.
        """
        admitted = exchange.admitted
        assert admitted is not None, "an answer comes after admission"
        lane = self._elsewhere.lane(sum([array.nbytes for array in outputs]))
        if exchange.pictured is not None:
            given = (exchange, admitted, outputs)
            outputs, done = await lane.run(of_images, *given, held=exchange.held)
            if done is not None:
                return done
        sized = self._sized(exchange, admitted, outputs)
        self._traffic.build(exchange, await lane.run(answer_size, *sized, held=exchange.held))
        tokens, protocol = self._literal(admitted.request), exchange.target.protocol
        if protocol in WRITES and admitted.request.shared is None:
            response, encoding = to_encode(admitted, protocol, outputs, tokens)
            answer = encoded(*await self._elsewhere.encode(response, encoding, exchange.held))
        else:  # no JSON, whose encoding would hold the GIL; or outputs in shared memory
            request, version, signature = admitted
            asked = (version, signature, request, outputs, tokens)
            answer = await lane.run(self._writes[protocol], *asked, held=exchange.held)
        check_size(answer.size, self._limit)
        return answer

    def _literal(self, request: InferRequest) -> bool:
        """Return True if NaN and infinity are written as tokens: the request's setting, else the
        server's."""
        return (request.non_finite or self._non_finite) == "literal"

    def _sized(
        self, exchange: Exchange, admitted: Admitted, outputs: Arrays
    ) -> tuple[str, ModelVersion, Signature, InferRequest, Arrays, int]:
        """Return the arguments of ``answer_size``."""
        request, version, signature = admitted
        protocol, limit = exchange.target.protocol, self._limit
        return protocol, version, signature, request, outputs, limit
