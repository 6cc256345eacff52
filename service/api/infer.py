"""The data plane: inference requests, answered by a bare ASGI callable in front of everything else.

From the end of the body to the queue there is no await: choosing a version and entering its queue
are one step, which is why a swap cannot lose a request.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any, NamedTuple

from service.api import codec, v1
from service.api.answers import Answer, inferred, predicted, refused
from service.api.body import BodyReader, ClientGone, Receive, accepted_encoding, compress
from service.api.departures import Departures
from service.api.errors import outcome_of
from service.config import Settings
from service.core.errors import (
    ExecutionFailed,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    QuantserveError,
)
from service.core.events import Observer, Outcome, RequestCompleted
from service.core.requests import InferRequest, Terms
from service.core.tensors import Signature
from service.engine.batcher import Reply
from service.engine.model import ModelVersion
from service.engine.repository import ModelRepository

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]

TARGET = re.compile(
    r"/v2/models/(?P<v2>[^/]+)(?:/versions/(?P<n2>[^/]+))?/infer"
    r"|/v1/models/(?P<v1>[^/:]+)(?:/versions/(?P<n1>[^/:]+))?:predict"
)
WORTH_COMPRESSING = 1024


class Target(NamedTuple):
    """What a path asks for."""

    protocol: str
    model: str
    version: str | None


class Admitted(NamedTuple):
    """A request in the queue: who answers it, and how the answer is to look.

    The signature is kept because the version may be unloaded before the answer is written.
    """

    request: InferRequest
    version: ModelVersion
    signature: Signature
    reply: Reply
    rows: int


class DataPlane:
    """Answers inference requests and hands everything else on."""

    def __init__(
        self, control: App, repository: ModelRepository, settings: Settings, observe: Observer
    ) -> None:
        self._control = control
        self._repository = repository
        self._observe = observe
        self._bodies = BodyReader(settings.max_body_bytes, settings.body_timeout)
        self._departures = Departures()
        self._ids = itertools.count(1)
        self._boot = f"{id(self):x}"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not `async`: it passes on the coroutine of another, which saves a frame at every step.
        if scope["type"] == "http" and (match := TARGET.fullmatch(scope["path"])):
            v2, n2, one, n1 = match.groups()
            target = Target("v1", one, n1) if v2 is None else Target("v2", v2, n2)
            return self._serve(target, scope, receive, send)
        return self._control(scope, receive, send)

    async def _serve(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_id(headers)
        version, rows, outcome, error = None, 0, Outcome.OK, ""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{scope['method']} on {scope['path']}, expected POST")
            body = await self._bodies.read(headers, receive)
            version = self._repository.version(target.model, _number(target))
            admitted = _admit(version, target.protocol, headers, body)
            answer = await self._answer(target.protocol, admitted, receive)
            rows = admitted.rows
        except (ClientGone, asyncio.CancelledError) as gone:
            if version is not None:
                version.withdraw()
            self._done(target, version, 0, Outcome.CANCELLED, started, request_id, "")
            if isinstance(gone, ClientGone):
                return
            raise
        except QuantserveError as refusal:
            answer, outcome, error = refused(refusal), outcome_of(refusal), str(refusal)
        except Exception as failure:
            answer, outcome = refused(ExecutionFailed("internal error")), Outcome.FAILED
            error = f"{type(failure).__name__}: {failure}"
        if len(answer.body) >= WORTH_COMPRESSING and b"accept-encoding" in headers:
            answer = await _compressed(answer, headers[b"accept-encoding"])
        status, more, body = answer
        more.append((b"content-length", b"%d" % len(body)))
        more.append((b"x-request-id", request_id))
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": body})
        self._done(target, version, rows, outcome, started, request_id, error)

    def _request_id(self, headers: Headers) -> bytes:
        given = headers.get(b"x-request-id")
        if given and len(given) <= 128 and given.isascii():
            return given
        return f"{self._boot}-{next(self._ids):x}".encode()

    async def _answer(self, protocol: str, admitted: Admitted, receive: Receive) -> Answer:
        """Wait for the outputs, unless the client leaves first.

        Raises:
            ClientGone: it did.
        """
        reply = admitted.reply
        self._departures.watch(reply, receive)
        try:
            outputs = await reply
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClientGone from None
        finally:
            self._departures.forget(reply)
        if protocol == "v1":
            return predicted(admitted.version, admitted.signature, outputs)
        return inferred(admitted.version, admitted.signature, admitted.request, outputs)

    def _done(
        self,
        target: Target,
        version: ModelVersion | None,
        rows: int,
        outcome: Outcome,
        started: float,
        request_id: bytes,
        error: str,
    ) -> None:
        # Only names of models become labels: a client cannot grow the metrics with others.
        model = target.model if version or target.model in self._repository.models else ""
        number = version.number if version else 0
        seconds, name = perf_counter() - started, request_id.decode()
        self._observe(
            RequestCompleted(model, number, target.protocol, outcome, seconds, name, error, rows)
        )


def _admit(version: ModelVersion, protocol: str, headers: Headers, body: bytes) -> Admitted:
    """Read, check and queue a request, in one step with the choice of its version."""
    signature = version.signature
    if protocol == "v1":
        request = v1.decode(body, signature)
    else:
        length = _header_length(headers)
        request = codec.decode_raw(body, signature) if length == 0 else codec.decode(body, length)
    places = None
    if request.outputs:
        places = signature.places([output.name for output in request.outputs])
    reply = version.submit(request.inputs, Terms(places, request.priority, request.timeout))
    rows = len(request.inputs[0].array) if signature.batchable else 1
    return Admitted(request, version, signature, reply, rows)


def _number(target: Target) -> int | None:
    if target.version is None:
        return None
    if not target.version.isdecimal():
        raise NotFound(f'model "{target.model}" version "{target.version}": not a version number')
    return int(target.version)


def _header_length(headers: Headers) -> int | None:
    value = headers.get(b"inference-header-content-length")
    if value is None:
        return None
    if not value.isdigit():
        shown = value.decode("latin-1")
        raise MalformedRequest(f'Inference-Header-Content-Length "{shown:.40}" is not a length')
    return int(value)


async def _compressed(answer: Answer, accepts: bytes) -> Answer:
    encoding = accepted_encoding(accepts)
    if encoding is None:
        return answer
    body = await compress(answer.body, encoding)
    return Answer(answer.status, [*answer.headers, (b"content-encoding", encoding)], body)
