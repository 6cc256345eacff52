"""Uploads through the whole application: access, stored files, answers and errors."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper

from service.api.control.upload import Body
from service.api.transport.body import ClientGone
from service.app import Server
from service.config.settings import Settings
from service.core.errors import MalformedRequest

MODEL = (Path(__file__).parents[3] / "models/digits/1/model.onnx").read_bytes()
SHA256 = hashlib.sha256(MODEL).hexdigest()
PLACE = "/admin/models/m/versions"
Message = MutableMapping[str, Any]
KEYLESS = {"host": "127.0.0.1:8000"}
LOCAL = {**KEYLESS, "x-api-key": "an-admin-key"}
KEY = {"authorization": "Bearer sesame"}


@pytest.fixture
def server(tmp_path: Path) -> Callable[..., Server]:
    def build(**settings: Any) -> Server:
        values = {"models": tmp_path, "max_upload_bytes": 100_000, "admin_key": "an-admin-key"}
        return Server(Settings.model_validate({**values, **settings}), lambda _: None)

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


async def test_an_upload_without_a_number_becomes_the_next_version(
    server: Callable[..., Server],
) -> None:
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
    "a path for a name": ({"path": "/admin/models/../../m/versions"}, 404, "no route for POST"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "text"), BAD.values(), ids=BAD.keys())
async def test_an_invalid_upload_is_refused_and_leaves_no_files(
    server: Callable[..., Server], tmp_path: Path, request_: dict[str, Any], status: int, text: str
) -> None:
    got, _, answer = await call(server(), **request_)
    assert got == status
    assert text in answer["error"] and str(tmp_path) not in answer["error"]
    assert list(tmp_path.iterdir()) == []


def graph(*locations: str) -> bytes:
    """A model whose matrix of 16 bytes is in another file; several locations may be listed."""
    values = TensorProto(name="w", dims=[2, 2], data_type=1, data_location=TensorProto.EXTERNAL)
    for location in locations:
        values.external_data.add(key="location", value=location)
    sides = [helper.make_tensor_value_info(name, 1, ["n", 2]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = helper.make_graph([node], "g", sides[:1], sides[1:], [values])
    data: bytes = helper.make_model(made).SerializeToString()
    return data


WEIGHTS = bytes(16)
Files = list[tuple[str, bytes]]


def form(files: Files) -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://h", files=[("file", each) for each in files])
    return request.read(), {**LOCAL, "content-type": request.headers["content-type"]}


def tar(files: Files) -> tuple[bytes, dict[str, str]]:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue(), {**LOCAL, "content-type": "application/x-tar"}


def packed(files: Files) -> tuple[bytes, dict[str, str]]:
    return gzip.compress(tar(files)[0]), {**LOCAL, "content-type": "application/gzip"}


FORMS = pytest.mark.parametrize("made", [form, tar, packed])
Made = Callable[[Files], tuple[bytes, dict[str, str]]]


@FORMS
async def test_a_model_is_uploaded_with_its_external_data(
    server: Callable[..., Server], tmp_path: Path, made: Made
) -> None:
    model = graph("w.bin")
    digest = hashlib.sha256(model).hexdigest()
    files = [("w.bin", WEIGHTS), ("net.onnx", model)]
    status, _, answer = await call(server(), *made(files), query=f"sha256={digest}")
    assert (status, answer["bytes"], answer["sha256"]) == (201, len(model) + 16, digest)
    assert (tmp_path / "m/1/model.onnx").read_bytes() == model
    assert (tmp_path / "m/1/w.bin").read_bytes() == WEIGHTS
    assert len(list((tmp_path / "m/1").iterdir())) == 2


G = ("model.onnx", graph("w.bin"))
W = ("w.bin", WEIGHTS)
BAD_SETS: dict[str, tuple[Files, int, str]] = {
    "cut weights": ([G, ("w.bin", WEIGHTS[1:])], 400, "'w.bin' has 15 bytes, tensor 'w' needs 16"),
    "a file too many": ([G, W, ("b", b"")], 400, "the upload has 'b'"),
    "the same twice": ([G, W, W], 400, "two files"),
    "a path out": ([G, ("../w.bin", WEIGHTS)], 400, "'..'"),
    "an absolute path": ([G, ("/etc/w.bin", WEIGHTS)], 400, "expected 1 to 128"),
    "a line's end": ([G, ("w.bin\n", WEIGHTS)], 400, "expected 1 to 128"),
    "settings": ([G, W, ("model.toml", b"")], 400, "never settings"),
    "code": ([G, W, ("ops.so", b"")], 400, "or code"),
    "too large": ([G, W, ("x", bytes(100_001))], 413, "more than 100000 bytes"),
    "too many": ([(f"{n}", b"") for n in range(4097)], 413, "4096 files"),
}


@FORMS
@pytest.mark.parametrize(("files", "status", "text"), BAD_SETS.values(), ids=BAD_SETS.keys())
async def test_an_invalid_set_of_files_is_refused_and_leaves_no_files(
    server: Callable[..., Server], tmp_path: Path, made: Made, files: Files, status: int, text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda _: None)  # there are four thousand files
    got, _, answer = await call(server(), *made(files))
    assert got == status and text in answer["error"] and str(tmp_path) not in answer["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("location", "files"),
    [
        ("w.bin", "-F file=@model.onnx -F file=@w.bin"),
        ("a/w", "-F file=@model.onnx -F 'file=@a/w;filename=a/w'"),
    ],
)
async def test_the_error_for_missing_external_data_shows_the_upload_command(
    server: Callable[..., Server], location: str, files: str
) -> None:
    app = server(admin_key="sesame")
    status, _, answer = await call(app, graph(location), KEY, query="version=3")
    place = f"'http://127.0.0.1:8000{PLACE}?version=3'"
    assert status == 400
    command = f'curl -H "X-API-Key: $QUANTSERVE_ADMIN_KEY" {files} {place}'
    assert answer["error"].endswith(f"send all files at once: {command}")
    assert "sesame" not in answer["error"]


async def test_the_error_for_many_missing_files_shows_how_to_send_a_folder(
    server: Callable[..., Server],
) -> None:
    status, _, answer = await call(server(), graph(*(f"w{n}" for n in range(9))))
    assert status == 400 and "'w4' and 4 more is not in the upload" in answer["error"]
    assert answer["error"].endswith(
        "send all files at once, from a folder that has no other files: tar -cf - . |"
        ' curl -H "X-API-Key: $QUANTSERVE_ADMIN_KEY" -T -'
        f" -H 'Content-Type: application/x-tar' http://127.0.0.1:8000{PLACE}"
    )


@pytest.mark.parametrize("body", [tar([("model.onnx", b"x")])[0], packed([("m", b"x")])[0]])
@pytest.mark.parametrize("size", [1, 300, 10**6])
async def test_the_error_for_an_unannounced_archive_shows_the_content_type(
    server: Callable[..., Server], tmp_path: Path, body: bytes, size: int
) -> None:
    sent: list[Message] = [
        {"type": "http.request", "body": body[at : at + size], "more_body": True}
        for at in range(0, len(body), size)
    ]
    sent[-1]["more_body"] = False
    status, _, answer = await call(server(), sent)
    kind = "application/gzip" if body.startswith(b"\x1f\x8b") else "application/x-tar"
    assert status == 400 and f"Content-Type: {kind}" in answer["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["a b", "w;rm -rf x", "$(x)", "w'", "ü"])
async def test_invalid_names_are_left_out_of_the_suggested_command(
    server: Callable[..., Server], location: str
) -> None:
    status, _, answer = await call(server(), graph(location))
    assert status == 400 and "curl" not in answer["error"]
    assert "cannot be sent under that name" in answer["error"]


@FORMS
async def test_a_truncated_set_of_files_leaves_no_files(
    server: Callable[..., Server], tmp_path: Path, made: Made
) -> None:
    app = server()
    body, headers = made([G, W])
    body = body.rstrip(b"\0") if made is tar else body  # any number of zeros ends an archive
    for at in range(0, len(body), max(1, len(body) // 20)):
        status, _, _ = await call(app, body[:at], headers)
        assert status == 400 and list(tmp_path.iterdir()) == []
        left: list[Message] = [{"type": "http.request", "body": body[:at], "more_body": True}]
        await call(app, left, headers)
        assert list(tmp_path.iterdir()) == []


async def test_an_upload_of_a_disconnected_client_is_not_published(
    server: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "quantserve.audit")
    await call(server(), PIECES[:1])
    assert list(tmp_path.iterdir()) == []
    assert [each["outcome"] for each in audited(caplog)] == ["cancelled"]
    assert (await call(server(), PIECES))[0] == 201


async def test_a_silent_sender_is_timed_out() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(MalformedRequest, match="stalled after 0 bytes"):
        _ = [chunk async for chunk in Body(receive, 0.01).chunks()]


async def test_a_sender_of_one_byte_at_a_time_is_timed_out() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(MalformedRequest, match="stalled"):
        _ = [chunk async for chunk in Body(receive, 0.02).chunks()]


async def test_a_disconnect_during_the_body_is_reported() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        _ = [chunk async for chunk in Body(receive, 1).chunks()]


async def test_every_change_is_written_to_the_audit_log(
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


async def test_each_key_gives_access_to_its_own_routes(
    server: Callable[..., Server], tmp_path: Path
) -> None:
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


async def test_a_server_without_an_admin_key_refuses_changes(server: Callable[..., Server]) -> None:
    app = server(admin_key="")
    status, _, answer = await call(app)
    assert status == 403 and "QUANTSERVE_ADMIN_KEY" in answer["error"]
    load = "/v2/repository/models/m/load"
    assert (await call(app, b"{}", path=load))[0] == 403
    assert (await call(app, b"", path="/v2", method="GET"))[0] == 200


async def test_the_body_of_a_refused_upload_is_not_read(server: Callable[..., Server]) -> None:
    large = {**KEYLESS, "content-length": str(2**31)}
    status, headers, _ = await call(server(), headers=large)
    assert status == 401 and headers["connection"] == "close"
    status, headers, _ = await call(server(), headers={**large, **LOCAL})
    assert status == 413 and headers["connection"] == "close"


async def test_the_upload_is_documented(server: Callable[..., Server]) -> None:
    _, _, schema = await call(server(), b"", path="/openapi.json", method="GET")
    operation = schema["paths"]["/admin/models/{name}/versions"]["post"]
    assert {"application/octet-stream", "multipart/form-data", "application/x-tar",
            "application/gzip"} == set(operation["requestBody"]["content"])  # fmt: skip
    assert {"201", "401", "403", "409", "413", "507"} <= set(operation["responses"])
    assert operation["security"] == [{"Admin key": []}]


async def test_an_upload_to_a_flat_model_becomes_version_2(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.onnx").write_bytes(MODEL)
    assert (await call(server(), query="version=1"))[0] == 409
    status, _, answer = await call(server())
    assert (status, answer["version"]) == (201, 2)


async def test_an_upload_to_a_model_in_the_root_is_refused(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(MODEL)
    status, _, answer = await call(server(name="m"))
    assert status == 409 and "move its file to m/1/model.onnx first" in answer["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (await call(server(name="other")))[0] == 201
