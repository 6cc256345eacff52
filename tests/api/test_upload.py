"""Uploads through the whole application: who may, what is stored, what is told."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from service.api.body import ClientGone
from service.api.upload import Body
from service.app import Server
from service.config import Settings
from service.core.errors import MalformedRequest

MODEL = (Path(__file__).parents[2] / "models/digits/1/model.onnx").read_bytes()
SHA256 = hashlib.sha256(MODEL).hexdigest()
PLACE = "/admin/models/m/versions"
Message = MutableMapping[str, Any]
LOCAL = {"host": "127.0.0.1:8000"}
KEY = {"authorization": "Bearer sesame"}


@pytest.fixture
def server(tmp_path: Path) -> Callable[..., Server]:
    def build(**settings: Any) -> Server:
        values = {"models": tmp_path, "max_upload_bytes": 100_000, **settings}
        return Server(Settings.model_validate(values), lambda _: None)

    return build


async def call(
    app: Server,
    body: bytes | list[Message] = MODEL,
    headers: Mapping[str, str] = LOCAL,
    *,
    path: str = PLACE,
    query: str = "",
    method: str = "POST",
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document that the application answers."""
    if isinstance(body, bytes):
        body = [{"type": "http.request", "body": body}]
    waiting, sent = list(body), list[Message]()

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    got = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], got, json.loads(text or b"null")


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [r.__dict__["fields"] for r in caplog.records if r.name == "quantserve.audit"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_version_is_stored_and_described(
    server: Callable[..., Server], tmp_path: Path, method: str
) -> None:
    status, headers, answer = await call(
        server(), query=f"version=4&sha256={SHA256}", method=method
    )
    assert status == 201 and headers["x-request-id"]
    assert answer == {
        "name": "m", "version": 4, "bytes": len(MODEL), "sha256": SHA256, "precision": "INT8 QDQ"
    }  # fmt: skip
    assert (tmp_path / "m/4/model.onnx").read_bytes() == MODEL


async def test_without_a_number_it_is_the_next(server: Callable[..., Server]) -> None:
    app = server()
    assert [(await call(app))[2]["version"] for _ in range(3)] == [1, 2, 3]
    status, _, answer = await call(app, query="version=2")
    assert status == 409 and "version 2 already" in answer["error"]


PIECES: list[Message] = [
    {"type": "http.request", "body": MODEL[:100], "more_body": True},
    {"type": "http.request", "body": MODEL[100:]},
]
BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no model": ({"body": b"hello"}, 400, "not an ONNX model"),
    "nothing": ({"body": b""}, 400, "empty"),
    "another digest": ({"query": "sha256=" + "0" * 64}, 400, SHA256),
    "another digest, as a header": (
        {"headers": {**LOCAL, "x-content-sha256": "0" * 64}}, 400, SHA256),
    "no digest": ({"query": "sha256=1"}, 400, "64 hexadecimal"),
    "too large": ({"body": bytes(100_001)}, 413, "more than 100000 bytes"),
    "announced too large": ({"headers": {**LOCAL, "content-length": "100001"}}, 413, "100001"),
    "compressed": ({"headers": {**LOCAL, "content-encoding": "gzip"}}, 415, "gzip"),
    "version zero": ({"query": "version=0"}, 400, "version"),
    "a negative version": ({"query": "version=-1"}, 400, "version"),
    "a long version": ({"query": "version=" + "9" * 30}, 400, "version"),
    "a version that is no number": ({"query": "version=1/../2"}, 422, "version"),
    "a parent's name": ({"path": "/admin/models/../versions"}, 400, "name"),
    "a hidden name": ({"path": "/admin/models/.m/versions"}, 400, "name"),
    "a name with a zero": ({"path": "/admin/models/a\0b/versions"}, 400, "name"),
    "a name that looks like another": ({"path": "/admin/models/ｍ/versions"}, 400, "name"),
    "a long name": ({"path": f"/admin/models/{'m' * 5000}/versions"}, 400, "name"),
    "a path for a name": ({"path": "/admin/models/../../m/versions"}, 404, "nothing at POST"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "text"), BAD.values(), ids=BAD.keys())
async def test_a_bad_upload_is_told_and_leaves_nothing(
    server: Callable[..., Server], tmp_path: Path, request_: dict[str, Any], status: int, text: str
) -> None:
    got, _, answer = await call(server(), **request_)
    assert got == status
    assert text in answer["error"] and str(tmp_path) not in answer["error"]
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_leaves_publishes_nothing(
    server: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "quantserve.audit")
    await call(server(), PIECES[:1])
    assert list(tmp_path.iterdir()) == []
    assert [each["outcome"] for each in audited(caplog)] == ["cancelled"]
    assert (await call(server(), PIECES))[0] == 201


async def test_a_silent_sender_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(MalformedRequest, match="stalled after 0 bytes"):
        _ = [chunk async for chunk in Body(receive, 0.01).chunks()]


async def test_a_sender_of_a_byte_at_a_time_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(MalformedRequest, match="stalled"):
        _ = [chunk async for chunk in Body(receive, 0.02).chunks()]


async def test_a_body_that_ends_early_is_no_body() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        _ = [chunk async for chunk in Body(receive, 1).chunks()]


async def test_every_change_is_a_line_of_the_audit_log(
    server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "quantserve.audit")
    app = server(admin_key="sesame,other-sesame", host="0.0.0.0")
    await call(app, headers={**KEY, "x-request-id": "deploy-7"})
    await call(app, b"no model", headers=KEY, query="version=9")
    await call(app, headers={"x-api-key": "wrong"})
    done, failed, refused = audited(caplog)
    who = "key " + hashlib.sha256(b"sesame").hexdigest()[:8]
    assert done.pop("seconds") >= 0
    assert done == {
        "who": who, "address": "127.0.0.1", "request_id": "deploy-7", "action": "upload",
        "model": "m", "to": 1, "forced": False, "outcome": "ok",
    }  # fmt: skip
    assert (failed["outcome"], failed["to"]) == ("rejected", 9) and "ONNX" in failed["error"]
    assert (refused["who"], refused["outcome"], refused["path"]) == ("nobody", "refused", PLACE)
    assert "sesame" not in caplog.text


async def test_keys_open_what_they_are_for(server: Callable[..., Server], tmp_path: Path) -> None:
    app = server(admin_key="sesame", api_key="guess", host="0.0.0.0")
    index = {"path": "/v2/repository/index", "body": b""}
    assert (await call(app, headers={}, **index))[0] == 401  # type: ignore[arg-type]
    assert (await call(app, headers={"x-api-key": "guess"}, **index))[0] == 200  # type: ignore[arg-type]
    status, headers, answer = await call(app, headers={})
    assert status == 401 and headers["www-authenticate"].startswith("Bearer")
    assert (await call(app, headers={"x-api-key": "guess"}))[0] == 403
    infer = "/v2/models/m/infer"
    assert (await call(app, headers={}, path=infer))[0] == 401
    assert (await call(app, headers={"x-api-key": "guess"}, path=infer))[0] == 404
    live = {"path": "/v2/health/live", "method": "GET"}
    assert (await call(app, b"", headers={}, **live))[0] == 200
    assert list(tmp_path.iterdir()) == []
    assert (await call(app, headers=KEY))[0] == 201


async def test_a_reachable_server_without_a_key_is_closed(server: Callable[..., Server]) -> None:
    app = server(host="0.0.0.0")
    status, _, answer = await call(app)
    assert status == 403 and "QUANTSERVE_ADMIN_KEY" in answer["error"]
    load = "/v2/repository/models/m/load"
    assert (await call(app, b"{}", path=load))[0] == 403
    assert (await call(app, b"", path="/v2", method="GET"))[0] == 200


async def test_a_refused_upload_of_any_size_is_not_read(server: Callable[..., Server]) -> None:
    large = {"content-length": str(2**31), "host": "evil.example"}
    status, headers, _ = await call(server(), headers=large)
    assert status == 403 and headers["connection"] == "close"
    status, headers, _ = await call(server(), headers={**large, "host": "localhost"})
    assert status == 413 and headers["connection"] == "close"


async def test_the_upload_is_documented(server: Callable[..., Server]) -> None:
    _, _, schema = await call(server(), b"", path="/openapi.json", method="GET")
    operation = schema["paths"]["/admin/models/{name}/versions"]["post"]
    assert "application/octet-stream" in operation["requestBody"]["content"]
    assert {"201", "401", "403", "409", "413", "507"} <= set(operation["responses"])
    assert operation["security"] == [{"Admin key": []}]


async def test_beside_a_file_without_a_folder_it_is_the_second(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.onnx").write_bytes(MODEL)
    assert (await call(server(), query="version=1"))[0] == 409
    status, _, answer = await call(server())
    assert (status, answer["version"]) == (201, 2)


async def test_a_model_in_the_root_gets_none(server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(MODEL)
    status, _, answer = await call(server(name="m"))
    assert status == 409 and "move its file to m/1/model.onnx first" in answer["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (await call(server(name="other")))[0] == 201
