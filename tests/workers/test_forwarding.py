"""Which worker answers a request, and what the answers of all workers are together."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.transport.arrival import Limits
from service.api.transport.collected import collected
from service.api.transport.traffic import Traffic
from service.core.errors import NotReady
from service.core.texts import Task
from service.workers import forwarding
from service.workers.forwarding import Forwarding, counting, merged
from service.workers.line import Lost
from service.workers.tasks import Tasks

NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


class Stub:
    """An application that answers with its name and what it was sent."""

    def __init__(self, name: str, answer: Any = None, status: int = 200) -> None:
        self.model = name
        self.status = status
        self.given = answer
        self.error: BaseException | None = None
        self.hangs = False
        self.running = True
        self.seen: list[Any] = []

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        body = (await receive())["body"]
        self.seen.append((scope, body))
        found = orjson.dumps(self.given if self.given is not None else [self.model, body.decode()])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(found))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": found})


class Known(Tasks):
    """The model that is the only one with a task."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    async def only(self, task: Task, headers: Any) -> str | None:
        return self.name


async def ask(
    method: str,
    path: str,
    body: bytes = b"",
    own: Stub | None = None,
    here: Stub | None = None,
    unanswered: Callable[[], None] = lambda: None,
    only: str | None = None,
) -> Any:
    worker, app = own or Stub("own"), here or Stub("here")
    limits = Limits(1000, 5.0, Traffic(10**6))
    workers: Any = {worker.model: worker}
    it = Forwarding(app.answer, workers, Known(only), limits, lambda _: True, unanswered)
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    answer = await collected(it, scope, body)
    length = dict(answer.headers)[b"content-length"]
    assert int(length) == len(answer.body)
    return answer.status, orjson.loads(answer.body)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/own",
        "/v2/models/own/infer",
        "/v2/models/own/versions/1/infer",
        "/v1/models/own:predict",
        "/v1/models/own/versions/1:predict",
        "/v2/repository/models/own/load",
        "/v2/repository/any/models/own/unload",
        "/admin/models/own/swap",
        "/v2/models/own/generate_stream",
    ],
)
async def test_a_path_with_the_model_goes_to_its_worker(path: str) -> None:
    assert await ask("POST", path, b"b") == (200, ["own", "b"])
    assert await ask("POST", path.replace("own", "other"), b"b") == (200, ["here", "b"])


@pytest.mark.parametrize("path", ["/v2/modelsown", "/v2/health/ready", "/docs", "/x/v2/models/own"])
async def test_other_paths_stay_here(path: str) -> None:
    assert await ask("GET", path) == (200, ["here", ""])


@pytest.mark.parametrize(
    "body, name",
    [
        (b'{"model": "own"}', "own"),
        (b'{"model": "other"}', "here"),
        (b'{"model": ["own"]}', "here"),
        (b'["own"]', "here"),
        (b"{", "here"),
        (b"", "here"),
    ],
)
async def test_a_body_that_names_the_model_goes_to_its_worker(body: bytes, name: str) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/embed"):
        assert await ask("POST", path, body) == (200, [name, body.decode()])


async def test_a_body_without_a_model_goes_to_the_only_model_with_the_task() -> None:
    for path, body, name in [
        ("/embed", b'{"inputs": "a"}', "own"),
        ("/rerank", b'{"model": null}', "own"),
        ("/embed", b'{"model": "other"}', "here"),
        ("/embed", b"{", "here"),
        ("/embed", b"[]", "here"),
        ("/v1/embeddings", b"{}", "here"),
    ]:
        assert await ask("POST", path, body, only="own") == (200, [name, body.decode()])
    assert await ask("POST", "/embed", b"{}", only="other") == (200, ["here", "{}"])


async def test_a_body_beyond_the_limit_is_refused() -> None:
    status, found = await ask("POST", "/v1/completions", bytes(1001))
    assert status == 413 and "1000" in found["error"]["message"]
    status, found = await ask("POST", "/embed", bytes(1001))
    assert status == 413 and "1000" in found["error"]


async def test_a_missing_worker_is_reported_in_the_form_of_the_protocol() -> None:
    own = Stub("own")
    own.error = NotReady("it is starting")
    status, found = await ask("POST", "/v1/chat/completions", b'{"model": "own"}', own)
    assert (status, found["error"]["message"]) == (503, "it is starting")
    status, found = await ask("POST", "/v1/embeddings", b'{"model": "own"}', own)
    assert (status, found["error"]["message"]) == (503, "it is starting")
    found = {"error": "it is starting", "error_type": "Backend"}
    assert await ask("POST", "/embed", b'{"model": "own"}', own) == (503, found)
    assert await ask("GET", "/v2/models/own", b"", own) == (503, {"error": "it is starting"})


async def test_lists_of_all_workers_are_joined() -> None:
    own = Stub("own", {"models": [{"name": "own"}], "object": "other"})
    here = Stub("here", {"models": [{"name": "a"}, {"name": "z"}], "object": "list"})
    status, found = await ask("GET", "/v2/models", b"", own, here)
    assert status == 200
    assert found == {"models": [{"name": each} for each in ("a", "own", "z")], "object": "list"}


async def test_a_head_of_a_list_has_the_length_of_the_list_of_all_workers() -> None:
    own, here = Stub("own", [{"name": "own"}]), Stub("here", [{"name": "a"}])
    limits, workers = Limits(1000, 5.0, Traffic(10**6)), {"own": own}
    it = Forwarding(
        here.answer,
        workers,  # type: ignore[arg-type]
        Known(None),
        limits,
        lambda _: True,
        lambda: None,
    )
    scope = {"type": "http", "method": "GET", "path": "/v2/models", "headers": []}
    listed = await collected(it, scope, b"")
    head = await collected(it, {**scope, "method": "HEAD"}, b"")
    assert (head.status, head.headers, head.body) == (200, listed.headers, b"")
    assert orjson.loads(listed.body) == [{"name": "a"}, {"name": "own"}]


async def test_a_missing_worker_is_listed_with_the_reason() -> None:
    own, here = Stub("own"), Stub("here", [{"name": "a"}])
    own.error = NotReady("it is starting")
    entry = {"name": "own", "state": "UNAVAILABLE", "reason": "it is starting"}
    assert (await ask("POST", "/v2/repository/index", b"", own, here))[1] == [{"name": "a"}, entry]
    only_ready = await ask("POST", "/v2/repository/index", b'{"ready": true}', own, here)
    assert only_ready[1] == [{"name": "a"}]
    here = Stub("here", {"models": []})
    assert (await ask("GET", "/v2/models", b"", own, here))[1]["models"][0]["name"] == "own"


async def test_a_change_for_all_workers_fails_with_the_first_failure() -> None:
    own = Stub("own", {"error": "no"}, 409)
    here = Stub("here", {})
    assert await ask("POST", "/v2/logging", b"{}", own, here) == (409, {"error": "no"})
    own, here = Stub("own"), Stub("here", {"error": "no"}, 400)
    assert await ask("POST", "/v2/logging", b"{}", own, here) == (400, {"error": "no"})
    assert own.seen == []


async def test_private_headers_of_a_client_are_removed() -> None:
    own = Stub("own")
    limits = Limits(1000, 5.0, Traffic(10**6))
    workers: Any = {"own": own}
    here = Stub("here").answer
    it = Forwarding(here, workers, Known(None), limits, lambda _: True, lambda: None)
    headers = [(b"x-quantserve-client", b"forged 1"), (b"a", b"b")]
    scope = {"type": "http", "method": "GET", "path": "/v2/models/own", "headers": headers}
    await collected(it, scope, b"")
    assert own.seen[0][0]["headers"] == [(b"a", b"b")]


async def test_a_body_is_not_read_for_a_client_without_a_key() -> None:
    here = Stub("here")
    limits = Limits(1000, 5.0, Traffic(10**6))
    workers: Any = {"own": Stub("own")}
    it = Forwarding(here.answer, workers, Known(None), limits, lambda _: False, lambda: None)
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
    answer = await collected(it, scope, b'{"model": "own"}')
    assert orjson.loads(answer.body)[0] == "here"


@given(NAMES, NAMES)
def test_joined_lists_have_each_item_once_in_order(one: list[str], other: list[str]) -> None:
    assert merged(one, other) == sorted({*one, *other})
    named = merged([{"name": each} for each in one], [{"name": each} for each in other])
    assert [each["name"] for each in named] == sorted({*one, *other})
    assert merged({"a": one, "b": 1}, {"a": other, "b": 2}) == {"a": merged(one, other), "b": 1}
    assert merged({"a": one}, None) == {"a": one}


async def test_a_request_without_an_answer_when_the_server_stops_is_counted() -> None:
    own, counted = Stub("own"), list[int]()
    own.error = asyncio.CancelledError()
    status, found = await ask(
        "POST", "/v2/models/own/infer", own=own, unanswered=lambda: counted.append(1)
    )
    assert status == 503 and "the server stopped" in found["error"] and counted == [1]


async def test_a_cancelled_request_is_counted_once_and_stays_cancelled() -> None:
    own, counted = Stub("own"), list[int]()
    app = counting(own.answer, lambda: counted.append(1))
    await collected(app, {}, b"")
    assert not counted
    own.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await collected(app, {}, b"")
    assert counted == [1]


async def test_a_worker_that_does_not_answer_is_listed_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "LIST_SECONDS", 0.01)
    own, here = Stub("own"), Stub("here", [{"name": "a"}])
    own.hangs = True
    _, listed = await ask("POST", "/v2/repository/index", own=own, here=here)
    assert [each["name"] for each in listed] == ["a", "own"]
    assert "has not answered" in listed[1]["reason"]
    own.hangs, own.error = False, Lost()
    assert (await ask("GET", "/v2/models/stats", own=own, here=here))[0] == 200


async def test_shared_memory_is_registered_only_while_all_workers_run() -> None:
    own, here = Stub("own", {}), Stub("here", {})
    own.running = False
    path = "/v2/systemsharedmemory/region/r/register"
    status, found = await ask("POST", path, b"{}", own, here)
    assert status == 503 and '"own" is starting' in found["error"] and not here.seen
    own.running = True
    assert (await ask("POST", path, b"{}", own, here))[0] == 200
    assert len(here.seen) == len(own.seen) == 1
