"""Hostile requests to a language model, and hostile readers of its answers: each is refused or
ended, and the server keeps serving."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.engine.generation import tiny_llama
from tests.patience import until
from tests.system.process import Running, running

CHAT = [{"role": "user", "content": "Hi"}]
GOOD: dict[str, Any] = {"model": "tiny", "messages": CHAT, "max_tokens": 4}
SECONDS = 15
TEMPLATES = {
    "raises": "{{ raise_exception('no') }}",
    "divides": "{{ 1 / 0 }}",
    "undefined": "{{ nothing.at.all }}",
    "loops": "{% for a in range(100000000) %}x{% endfor %}",
    "nested": "{% for a in range(900) %}{% for b in range(1000) %}{% for c in messages[0].content"
    " %}{% set d = c %}{% endfor %}{% endfor %}{% endfor %}",
    "recursive": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "large": "{{ 'a' * 10000000000 }}",
    "wide": "{{ '%10000000000d' % 1 }}",
    "power": "{{ 10 ** 100000000 }}",
    "filled": "{{ 'a' | center(10000000000) }}",
    "secret": "{{ messages.__class__.__mro__ }}",
    "writes": "{% for a in range(500000) %}{{ messages[0].content * 100 }}{% endfor %}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    tiny_llama.write(folder / "tiny/1", context=4096)
    for name, template in TEMPLATES.items():
        version = tiny_llama.write(folder / f"{name}/1")
        (version / "chat_template.jinja").write_text(template)
    with running(folder, "--memory-budget", str(3 * 2**30)) as found:
        yield found


def ask(server: Running, body: Any, path: str = "/v1/chat/completions") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"http://{server.address}{path}", content=content, timeout=60)


def held(server: Running) -> int:
    """Return the largest resident memory of the server so far, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def goes_on(server: Running) -> None:
    assert ask(server, GOOD).status_code == 200
    assert "Traceback" not in server.log.read_text()


def chat(**more: Any) -> dict[str, Any]:
    return GOOD | more


def said(content: bytes, more: bytes = b"") -> bytes:
    """Return a chat request from raw bytes, which need not be valid JSON."""
    message = b'[{"role": "user", "content": "' + content + b'"}]'
    return b'{"model": "tiny", "messages": ' + message + more + b"}"


def schema(given: Any) -> dict[str, Any]:
    return chat(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": given}}
    )


def deep(levels: int) -> Any:
    found: Any = {"type": "integer"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


ENDLESS = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
BODIES: list[tuple[str, Any, int]] = [
    ("not UTF-8", said(b"\xff"), 400),
    ("half a surrogate", said(b"\\ud83d"), 400),
    ("zero", said(b"a\\u0000b"), 200),
    ("no messages", chat(messages=[]), 400),
    ("an empty message", said(b""), 200),
    ("a message without content", chat(messages=[{"role": "user"}]), 200),
    ("a message without a role", chat(messages=[{"content": "a"}]), 400),
    ("roles out of order", chat(messages=[{"role": "assistant", "content": "a"}, *CHAT * 2]), 200),
    ("an unknown role", chat(messages=[{"role": "boss", "content": "a"}]), 400),
    ("100,000 messages", chat(messages=CHAT * 100_000), 400),
    ("no tokens", chat(max_tokens=0), 400),
    ("negative tokens", chat(max_tokens=-1), 400),
    ("too many tokens", chat(max_tokens=2**31), 400),
    ("far too many tokens", chat(max_tokens=10**30), 400),
    ("half a token", chat(max_tokens=1.5), 400),
    ("five stops", chat(stop=list("abcde")), 400),
    ("an empty stop", chat(stop=[""]), 400),
    ("a stop of a number", chat(stop=[5]), 400),
    ("a large stop", chat(stop="a" * 10**6), 200),
    ("negative temperature", chat(temperature=-1), 400),
    ("NaN", said(b"a", b', "temperature": NaN'), 400),
    ("infinity", said(b"a", b', "top_p": 1e999'), 400),
    ("an unknown argument", chat(wish="x"), 400),
    ("a known one without meaning", chat(user="x", store=True), 200),
    ("a bias of no token", chat(logit_bias={"99999": 5}), 400),
    ("a bias of nonsense", chat(logit_bias={"-1": 5}), 400),
    ("biases", chat(logit_bias={str(n): 0.5 for n in range(500)}), 200),
    ("129 answers", chat(n=129), 400),
    ("a schema of nonsense", schema({"type": 5}), 400),
    ("a schema that is itself", schema({"$ref": "#"}), 400),
    ("a schema without an end", schema(ENDLESS), 400),
    ("a schema of no number", schema({"type": "integer", "minimum": 5, "maximum": 3}), 400),
    ("a schema of nothing", schema({"enum": []}), 400),
    ("a schema elsewhere", schema({"$ref": "http://127.0.0.1/a"}), 400),
    ("a large schema", schema({"enum": [f"{n:0100}" for n in range(20_000)]}), 200),
    ("a deep schema", schema(deep(900)), 400),
    ("an expression of nonsense", chat(guided_regex="(" * 100), 400),
    ("a large expression", chat(guided_regex="(a{1000}){1000}"), 400),
    ("a deep document", b'{"messages": ' + b"[" * 100_000, 400),
    ("a list", b"[]", 400),
    ("nothing", b"", 400),
]


@pytest.mark.parametrize(("what", "body", "status"), BODIES, ids=[each[0] for each in BODIES])
def test_hostile_bodies_are_refused_or_answered_soon(
    server: Running, what: str, body: Any, status: int
) -> None:
    started = monotonic()
    reply = ask(server, body)
    assert reply.status_code == status, reply.text
    assert monotonic() - started < SECONDS
    if status != 200:
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error" and error["message"]
    goes_on(server)


@pytest.mark.parametrize("name", TEMPLATES)
def test_hostile_chat_templates_are_refused(server: Running, name: str) -> None:
    """Other requests are answered afterwards, and memory stays bounded."""
    started = monotonic()
    body = {"model": name, "messages": [{"role": "user", "content": "word " * 2000}]}
    reply = ask(server, body)
    assert reply.status_code == 400, reply.text
    assert monotonic() - started < SECONDS
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert held(server) < 2**30
    goes_on(server)


LONG = json.dumps(
    {"model": "tiny", "prompt": "a", "max_tokens": 4000, "stream": True, "ignore_eos": True,
     "logprobs": 5}
).encode()  # fmt: skip


def running_now(server: Running) -> float:
    page = httpx.get(f"http://{server.address}/metrics").text
    lines = page.splitlines()
    found = [
        line for line in lines if line.startswith('quantserve_num_requests_running{model="tiny"')
    ]
    return int(float(found[0].split()[-1]))


def stream(server: Running) -> socket.socket:
    """Start a stream, and do not read it."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", server.port))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(LONG)}\r\n\r\n"
    line.sendall(head.encode() + LONG)
    return line


def test_clients_that_read_nothing_do_not_block_others(server: Running) -> None:
    before = held(server)
    lines = [stream(server) for _ in range(4)]
    try:
        started = monotonic()
        goes_on(server)
        assert monotonic() - started < SECONDS
        until(lambda: running_now(server) == 0, "rows are never given back")
        assert held(server) - before < 2**28
        goes_on(server)
    finally:
        for line in lines:
            line.close()


def test_clients_that_disconnect_at_once_free_their_rows(server: Running) -> None:
    for _ in range(50):
        stream(server).close()
    until(lambda: running_now(server) == 0, "rows are never given back")
    goes_on(server)
