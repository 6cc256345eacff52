"""The data plane: inference requests, answered by a bare ASGI callable in front of everything else.

From the end of the body to the queue there is no await: choosing a version and entering its queue
are one step, which is why a swap cannot lose a request.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, NamedTuple

import orjson

from service.api import codec, v1
from service.api.body import ClientGone, Receive, accepted_encoding, compress, decompress, read_body
from service.api.errors import status_of
from service.config import Settings
from service.core.errors import (
    BodyTooLarge,
    ExecutionFailed,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    QuantserveError,
    QueueFull,
)
from service.core.events import Observer, Outcome, RequestCompleted
from service.core.requests import InferRequest, InferResponse, RequestedOutput, Terms
from service.core.tensors import Arrays, Signature, Tensor
from service.engine.batcher import Reply
from service.engine.model import ModelVersion
from service.engine.repository import ModelRepository

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

TARGET = re.compile(
    r"/v2/models/(?P<v2>[^/]+)(?:/versions/(?P<n2>[^/]+))?/infer"
    r"|/v1/models/(?P<v1>[^/:]+)(?:/versions/(?P<n1>[^/:]+))?:predict"
)
OUTCOMES = {400: Outcome.INVALID, 404: Outcome.INVALID, 405: Outcome.INVALID, 413: Outcome.INVALID,
            415: Outcome.INVALID, 503: Outcome.REJECTED, 504: Outcome.EXPIRED}  # fmt: skip
WORTH_COMPRESSING = 1024
WATCH_AFTER = 0.05
"""Seconds after which a waiting request's client is watched for leaving; sooner it is not worth
the task that it takes."""


class Target(NamedTuple):
    """What a path asks for."""

    protocol: str
    model: str
    version: str | None


class Reading(NamedTuple):
    """A request on its way: who answers it, and how the answer is to look."""

    request: InferRequest
    version: ModelVersion
    reply: Reply
    rows: int


class DataPlane:
    """Answers inference requests and hands everything else on."""

    def __init__(
        self, control: App, repository: ModelRepository, settings: Settings, observe: Observer
    ) -> None:
        self._control = control
        self._repository = repository
        self._settings = settings
        self._observe = observe
        self._ids = itertools.count(1)
        self._boot = f"{id(self):x}"

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (match := TARGET.fullmatch(scope["path"])):
            v2, n2, one, n1 = match.groups()
            target = Target("v2", v2, n2) if v2 is not None else Target("v1", one, n1)
            await self._serve(target, scope, receive, send)
        else:
            await self._control(scope, receive, send)

    async def _serve(
        self, target: Target, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        started = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_id(headers)
        number, rows, outcome, error = 0, 0, Outcome.OK, ""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{scope['method']} on {scope['path']}, expected POST")
            body = await self._body(headers, receive)
            version = self._repository.version(target.model, _number(target))
            number = version.number
            reading = self._admit(version, target.protocol, headers, body)
            outputs = await self._wait(reading.reply, receive)
            status, answer, more = 200, *_render(target.protocol, reading, outputs)
            rows = reading.rows
        except (ClientGone, asyncio.CancelledError) as gone:
            self._done(target, number, Outcome.CANCELLED, started, request_id, "")
            if isinstance(gone, asyncio.CancelledError):
                raise
            return
        except QuantserveError as failure:
            status, answer, more = _error(failure)
            outcome, error = OUTCOMES.get(status, Outcome.FAILED), str(failure)
        except Exception as failure:
            status, answer, more = _error(ExecutionFailed("internal error"))
            outcome, error = Outcome.FAILED, f"{type(failure).__name__}: {failure}"
        await self._send(send, status, answer, more, headers, request_id)
        self._done(target, number, outcome, started, request_id, error, rows)

    def _request_id(self, headers: dict[bytes, bytes]) -> bytes:
        given = headers.get(b"x-request-id")
        if given and len(given) <= 128 and given.isascii():
            return given
        return f"{self._boot}-{next(self._ids):x}".encode()

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise BodyTooLarge(f"the body has {int(length)} bytes, the limit is {limit}")
        body = await read_body(receive, limit, self._settings.body_timeout)
        encoding = headers.get(b"content-encoding")
        return body if encoding is None else decompress(body, encoding, limit)

    def _admit(
        self, version: ModelVersion, protocol: str, headers: dict[bytes, bytes], body: bytes
    ) -> Reading:
        """Read, check and queue a request, in one step with the choice of its version."""
        loaded, _ = version.serving()
        signature = loaded.signature
        if protocol == "v1":
            request = v1.decode(body, signature)
        else:
            length = _header_length(headers)
            request = (
                codec.decode_raw(body, signature) if length == 0 else codec.decode(body, length)
            )
        names = [output.name for output in request.outputs]
        places = signature.output_indices(names) if names else None
        if places == tuple(range(len(signature.outputs))):
            places = None
        reply = version.submit(request.inputs, Terms(places, request.priority, request.timeout))
        rows = len(request.inputs[0].array) if signature.batchable else 1
        return Reading(request, version, reply, rows)

    async def _wait(self, reply: Reply, receive: Receive) -> Arrays:
        """The answer, unless the client leaves first: then its request leaves the queue."""
        loop = asyncio.get_running_loop()
        watch = loop.call_later(WATCH_AFTER, _watch, reply, receive)
        try:
            return await reply
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClientGone from None
        finally:
            watch.cancel()

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        more: list[Header],
        headers: dict[bytes, bytes],
        request_id: bytes,
    ) -> None:
        accepts = headers.get(b"accept-encoding")
        if accepts is not None and len(body) >= WORTH_COMPRESSING:
            encoding = accepted_encoding(accepts)
            if encoding is not None:
                body = compress(body, encoding)
                more.append((b"content-encoding", encoding))
        more.append((b"content-length", b"%d" % len(body)))
        more.append((b"x-request-id", request_id))
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": body})

    def _done(
        self,
        target: Target,
        number: int,
        outcome: Outcome,
        started: float,
        request_id: bytes,
        error: str,
        rows: int = 0,
    ) -> None:
        # Only names of models become labels: a client cannot grow the metrics with others.
        model = target.model if target.model in self._repository.models else ""
        seconds = perf_counter() - started
        name = request_id.decode()
        self._observe(
            RequestCompleted(model, number, target.protocol, outcome, seconds, name, error, rows)
        )


def _watch(reply: Reply, receive: Receive) -> None:
    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        reply.cancel()

    task = asyncio.ensure_future(until_gone())
    reply.add_done_callback(lambda _: task.cancel())


def _number(target: Target) -> int | None:
    if target.version is None:
        return None
    if not target.version.isdecimal():
        raise NotFound(f'model "{target.model}" version "{target.version}": not a version number')
    return int(target.version)


def _header_length(headers: dict[bytes, bytes]) -> int | None:
    value = headers.get(b"inference-header-content-length")
    if value is None:
        return None
    if not value.isdigit():
        shown = value.decode("latin-1")
        raise MalformedRequest(f'Inference-Header-Content-Length "{shown:.40}" is not a length')
    return int(value)


def _render(protocol: str, reading: Reading, outputs: Arrays) -> tuple[bytes, list[Header]]:
    request, version = reading.request, reading.version
    loaded, _ = version.serving() if version.loaded is None else (version.loaded, None)
    tensors = _name(loaded.signature, request.outputs, outputs)
    json_type = [(b"content-type", b"application/json")]
    if protocol == "v1":
        response = InferResponse(version.model, version.number, tensors)
        return v1.encode(response), json_type
    wanted = request.outputs or (None,) * len(tensors)
    binary = [request.binary_outputs if w is None or w.binary is None else w.binary for w in wanted]
    final = tuple(
        codec.classify(t, w.classes, version.labels(t.name), loaded.signature.batchable)
        if w is not None and w.classes
        else t
        for t, w in zip(tensors, wanted, strict=True)
    )
    response = InferResponse(version.model, version.number, final, request.id)
    body, length = codec.encode(response, binary)
    if length is None:
        return body, json_type
    return body, [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"%d" % length),
    ]


def _name(
    signature: Signature, wanted: tuple[RequestedOutput, ...], outputs: Arrays
) -> tuple[Tensor, ...]:
    """Outputs with their names, in the order wanted (which is how they were run) or the model's."""
    by_name = {spec.name: spec for spec in signature.outputs}
    specs = [by_name[each.name] for each in wanted] if wanted else list(signature.outputs)
    return tuple(Tensor(s.name, s.datatype, a) for s, a in zip(specs, outputs, strict=True))


def _error(error: QuantserveError) -> tuple[int, bytes, list[Header]]:
    headers = [(b"content-type", b"application/json")]
    if isinstance(error, QueueFull):
        headers.append((b"retry-after", b"1"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"POST"))
    if isinstance(error, BodyTooLarge):
        headers.append((b"connection", b"close"))
    return status_of(error), orjson.dumps({"error": str(error)}), headers
