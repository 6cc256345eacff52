"""The ASGI application that forwards requests for models with a dedicated worker.

Lists of models are answered with those of all workers, and
settings of the server are changed in all workers.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from service.api.control.error_handlers import OPENAI_PATHS
from service.api.dataplane.asgi import App, Scope, Send
from service.api.language import openai
from service.api.text import tei
from service.api.transport.answers import ONLY_JSON, Answer, Header, refused
from service.api.transport.arrival import Limits, arrived
from service.api.transport.between import without_private
from service.api.transport.body import ClientGone, Receive
from service.api.transport.collected import Message, collected, read_again
from service.core.errors import UNANSWERED, NotReady, QuantserveError, ShuttingDown
from service.core.sizes import HERE_BYTES
from service.workers.line import Lost
from service.workers.own_worker import OwnWorker
from service.workers.tasks import Tasks

OF_A_MODEL = re.compile(
    r"/(?:v1/models|v2/models|v2/repository(?:/[^/]+)?/models|admin/models)/([^/:]+)(?:[/:].*)?"
)
"""Paths with the name of a model."""
NAMED_IN_BODY: Mapping[str, Callable[[QuantserveError], Response]] = {
    **dict.fromkeys([*OPENAI_PATHS, "/v1/embeddings"], openai.refused),
    **dict.fromkeys(tei.TASKS, tei.refused),
}
"""Paths of requests whose JSON names the model as "model", and the form of their errors."""
INDEX = re.compile(r"/v2/repository(?:/[^/]+)?/index")
REGIONS = re.compile(r"/v2/systemsharedmemory/.+")
CHANGES = re.compile(rf"/v2/logging|{REGIONS.pattern}")
"""Paths of requests that change something in all workers."""
OF_ALL = re.compile(
    r"(?:GET|HEAD) (?:/|/v1/models|/v2/models/?|/v2/models/stats)"
    rf"|POST (?:{INDEX.pattern}|{CHANGES.pattern})"
)
"""Requests that are answered by all workers together."""
LIST_SECONDS = 2.0
"""Seconds after which a list is sent without the model of a worker that does not answer. A worker
that answers may itself wait 1 s for the counters of another one."""
Admits = Callable[[Iterable[Header]], bool]
"""Returns True if a prediction with these headers is allowed."""
Unanswered = Callable[[], None]
"""Called for each request whose task is cancelled: by a client, or because the server stops."""


def counting(app: App, unanswered: Unanswered) -> App:
    """Return ``app``, with a call of ``unanswered`` for each request that is cancelled."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            unanswered()
            raise

    return answer


class Forwarding:
    """The application. ``app`` answers requests for the models of this worker, and ``workers`` has
    the workers of other models by name. ``tasks`` finds the model for a request that needs none to
    be named. Bodies that must be read to find the model are read within ``limits``, if their sender
    is admitted."""

    def __init__(
        self,
        app: App,
        workers: Mapping[str, OwnWorker],
        tasks: Tasks,
        limits: Limits,
        admits: Admits,
        unanswered: Unanswered,
    ) -> None:
        self._app = app
        self._workers = workers
        self._tasks = tasks
        self._limits = limits
        self._admits = admits
        self._unanswered = unanswered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": without_private(scope["headers"])}
        try:
            await self._answer(scope, receive, send)
        except ClientGone:
            pass
        except Lost:  # the answer has begun
            raise
        except QuantserveError as error:
            await _refusal(error, scope["path"])(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        named = OF_A_MODEL.fullmatch(path)
        if named is not None and named[1] in self._workers:
            await self._pass_on(self._workers[named[1]], scope, receive, send)
        elif method == "POST" and path in NAMED_IN_BODY and self._admits(scope["headers"]):
            body = await self._body(scope, receive)
            worker = await self._asked_in(body, scope)
            receive = read_again(body, receive)
            if worker is not None:
                await self._pass_on(worker, scope, receive, send)
            else:
                # With JSON that is not valid, this worker answers.
                await self._app(scope, receive, send)
        elif OF_ALL.fullmatch(f"{method} {path}"):
            await self._answer_together(scope, await self._body(scope, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _pass_on(self, worker: OwnWorker, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await counting(worker.answer, self._unanswered)(scope, receive, noted)
        except asyncio.CancelledError:
            # The task of a connection is cancelled only when the shutdown timeout has passed.
            if begun:
                raise
            raise ShuttingDown(UNANSWERED) from None

    async def _asked_in(self, body: bytes, scope: Scope) -> OwnWorker | None:
        """Return the dedicated worker of the model that a body asks for, if it has one."""
        if len(body) > HERE_BYTES:
            name = await asyncio.to_thread(_field, body, "model", "")
        else:
            name = _field(body, "model", "")
        if name is None and (task := tei.TASKS.get(scope["path"])) is not None:
            name = await self._tasks.only(task, scope["headers"])
        return self._workers.get(name) if isinstance(name, str) else None

    async def _answer_together(self, scope: Scope, body: bytes, send: Send) -> None:
        down = [name for name, worker in self._workers.items() if not worker.running]
        if down and REGIONS.fullmatch(scope["path"]):
            # Refused before any worker has changed: a region is registered once.
            raise NotReady(f'the worker of model "{down[0]}" is starting: try again')
        bodiless = scope["method"] == "HEAD"
        if bodiless:  # its length is that of all answers together
            scope = {**scope, "method": "GET"}
        found = await collected(self._app, scope, body)
        if found.status == 200:
            others = [self._of_other(each, scope, body) for each in self._workers.values()]
            for other in await asyncio.gather(*others):
                found = _both(found, other)
        start = {"type": "http.response.start", "status": found.status, "headers": found.headers}
        await send(start)
        whole = b"" if bodiless else bytes(found.body)
        await send({"type": "http.response.body", "body": whole, "more_body": False})

    async def _of_other(self, worker: OwnWorker, scope: Scope, body: bytes) -> Answer:
        seconds = None if CHANGES.fullmatch(scope["path"]) else LIST_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await collected(worker.answer, scope, body)
        except NotReady as error:
            why = str(error)
        except TimeoutError:
            why = f"its worker has not answered for {LIST_SECONDS:g} s"
        ready_only = _field(body, "ready") is True
        return _missing(worker.model, why, "" if ready_only else scope["path"])

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        traffic = self._limits.traffic
        with traffic.body(headers, self._limits.bytes) as grown:
            return bytes(await arrived(Request(scope, receive), headers, self._limits, grown))


def _field(body: bytes, name: str, invalid: str | None = None) -> Any:
    """Return a field of a JSON object; None without it, ``invalid`` if the body is no JSON
    object."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return invalid
    return found.get(name) if isinstance(found, dict) else invalid


def _both(one: Answer, other: Answer) -> Answer:
    """Return the answer of two workers. If one failed, it is the answer of that one."""
    if one.status != 200 or not one.body:
        return one
    if other.status != 200:
        return other
    body = orjson.dumps(merged(orjson.loads(one.body), orjson.loads(other.body or b"null")))
    headers = [pair for pair in one.headers if pair[0].lower() != b"content-length"]
    return Answer(200, (*headers, (b"content-length", b"%d" % len(body))), body)


def merged(one: Any, other: Any) -> Any:
    """Return a JSON document in which each list has the items of both documents, sorted by their
    names. Everything else is as in the first document."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted([*one, *(each for each in other if each not in one)], key=_name)
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(value, other.get(key)) for key, value in one.items()}
    return one


def _name(item: Any) -> str:
    return str(item.get("name", item.get("id", ""))) if isinstance(item, Mapping) else str(item)


def _missing(model: str, why: str, path: str) -> Answer:
    """Return the answer of a worker that does not run: its model is listed with the reason."""
    entry = {"name": model, "state": "UNAVAILABLE", "reason": why}
    listed: Any = {}
    if INDEX.fullmatch(path):
        listed = [entry]
    elif path.startswith("/v2/models"):
        listed = {"models": [{**entry, "versions": []}]}
    return Answer(200, ONLY_JSON, orjson.dumps(listed))


def _refusal(error: QuantserveError, path: str) -> Response:
    if (form := NAMED_IN_BODY.get(path)) is not None:
        response = form(error)
    else:
        answer = refused(error)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        response = Response(bytes(answer.body), answer.status, headers)
    if isinstance(error, NotReady):
        response.headers["retry-after"] = "1"
    return response
