"""OpenAI's API of the tiny model, in this process: refused requests and their errors."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from tests.engine.generation import tiny_llama
from tests.inprocess import Served, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = [{"role": "user", "content": "Hi"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    tiny_llama.write(folder / "tiny/1")
    bare = tiny_llama.write(folder / "bare/1")
    (bare / "chat_template.jinja").unlink()
    strict = tiny_llama.write(folder / "strict/1")
    (strict / "chat_template.jinja").write_text(
        "{% if messages[0].role != 'user' %}{{ raise_exception('roles must alternate') }}"
        "{% endif %}x"
    )
    caller = tiny_llama.write(folder / "caller/1")
    (caller / "chat_template.jinja").write_text("{{ tools }}")
    async with serve(folder) as each:
        yield each


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


async def chat(tiny: Served, **asked: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": CHAT, "max_tokens": 4} | asked
    body = {key: value for key, value in body.items() if value is not ...}
    return await tiny.client.post("/v1/chat/completions", json=body)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "at least 1 item"),
    ({"messages": ...}, "messages", 'you must provide "messages"'),
    ({"messages": CHAT * 2049}, "messages", "at most 2048 items"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role", "Input should be"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "valid string"),
    ({"messages": "Hi"}, "messages", "valid list"),
    ({"model": 3}, "model", "valid string"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1, got 0"),
    ({"max_tokens": "4"}, "max_tokens", "valid integer"),
    ({"temperature": -0.1}, "temperature", "greater than or equal to 0, got -0.1"),
    ({"top_p": 1.5}, "top_p", "less than or equal to 1"),
    ({"stop": ["a"] * 5}, "stop", "expected at most 4 strings, got 5"),
    ({"stop": ""}, "stop", "must not be empty"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"logit_bias": {"x": 1}}, "logit_bias", '"x" is not a token id'),
    ({"logit_bias": {"5": 101}}, "logit_bias.5", "less than or equal to 100"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "less than or equal to 20"),
    ({"tools": [{"type": "function"}]}, "tools.0.function", "you must provide"),
    ({"tools": [{"type": "browser"}]}, "tools.0.type", "Input should be 'function'"),
    ({"tools": [tool("a b")]}, "tools.0.function.name", "should match pattern"),
    ({"tools": [tool("a"), tool("a")]}, "tools.1.function.name", '"a" appears twice'),
    ({"tools": [tool("a")] * 129}, "tools", "at most 128 items"),
    ({"tools": [tool("a", type="array")]}, "tools.0.function.parameters", 'type "object"'),
    ({"tools": [tool("a")]}, "tools", 'the chat template of model "tiny" does not support tools'),
    ({"tool_choice": "auto"}, "tool_choice", 'only allowed together with "tools"'),
    ({"tools": [tool("a")], "tool_choice": "any"}, "tool_choice", "'required'"),
    ({"tools": [tool("a")], "tool_choice": named("b")}, "tool_choice", 'there is no tool "b"'),
    ({"tools": [tool("a")], "guided_regex": "a"}, "guided_regex", "needs"),
    ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "messages.0.tool_calls.0", "dict"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "which needs it"),
    ({"nonsense": 1}, "nonsense", "unrecognized request argument supplied: nonsense"),
]


@pytest.mark.parametrize(("asked", "param", "why"), REFUSED, ids=[str(r[0])[:40] for r in REFUSED])
async def test_invalid_arguments_are_named_in_the_error(
    tiny: Served, asked: dict[str, Any], param: str, why: str
) -> None:
    reply = await chat(tiny, **asked)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param) and why in error["message"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"max_tokens": 2**31}, "has a context of 128 tokens"),
        ({"messages": [{"role": "user", "content": "word " * 500}]}, "has a context of 128 tokens"),
        ({"messages": [{"role": "user", "content": "x" * 10**6}]}, "has a context of 128 tokens"),
        ({"model": "bare"}, 'model "bare" has no chat template'),
        ({"model": "strict", "messages": [{"role": "tool"}]}, "roles must alternate"),
        ({"logit_bias": {"512": 1}}, "has 512 tokens; 512 is not a token id"),
        ({"guided_regex": "(a"}, "the regular expression is not usable: "),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "nonsense"}},
                }
            },
            "the JSON schema is not usable: Invalid type: nonsense",
        ),
    ],
)
async def test_requests_that_the_model_cannot_serve_are_refused_with_the_reason(
    tiny: Served, asked: dict[str, Any], why: str
) -> None:
    reply = await chat(tiny, **asked)
    assert reply.status_code == 400
    assert why in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": "tiny", "messages": NaN}', b"null"]
)
async def test_bodies_that_are_not_a_json_object_are_refused(tiny: Served, body: bytes) -> None:
    reply = await tiny.client.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_half_a_surrogate_pair_is_refused(tiny: Served) -> None:
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}'
    reply = await tiny.client.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400


async def test_arguments_of_openais_own_service_are_ignored(tiny: Served) -> None:
    reply = await chat(tiny, user="me", metadata={"a": "b"}, store=False, tool_choice="none")
    assert reply.status_code == 200


async def test_text_parts_and_the_developer_role_are_accepted(tiny: Served) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    both = [
        await chat(tiny, messages=messages, temperature=0)
        for messages in (
            [{"role": "developer", "content": parts}, *CHAT],
            [{"role": "system", "content": "ab"}, *CHAT],
        )
    ]
    assert both[0].json()["choices"] == both[1].json()["choices"]
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    assert (await chat(tiny, messages=image)).status_code == 400


async def test_answers_follow_the_response_format(tiny: Served) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer"}},
        "required": ["size", "count"],
        "additionalProperties": False,
    }
    given = {"type": "json_schema", "json_schema": {"name": "order", "schema": schema}}
    reply = await chat(tiny, response_format=given, max_tokens=90, n=4, seed=1)
    for choice in reply.json()["choices"]:
        assert choice["finish_reason"] == "stop"
        order = json.loads(choice["message"]["content"])
        assert order["size"] in ("small", "large") and type(order["count"]) is int
    reply = await chat(tiny, guided_regex="[0-9]{3}-[a-c]+x", max_tokens=90, temperature=2)
    text = reply.json()["choices"][0]["message"]["content"]
    assert re.fullmatch("[0-9]{3}-[a-c]+x?", text)
    reply = await chat(tiny, response_format={"type": "json_object"}, max_tokens=3)
    assert reply.json()["choices"][0]["message"]["content"].startswith("{")


async def test_unknown_models_are_refused_and_request_ids_are_returned(tiny: Served) -> None:
    reply = await chat(tiny, model="none")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"
    reply = await tiny.client.post("/v1/completions", json={}, headers={"x-request-id": "mine"})
    assert reply.headers["x-request-id"] == "mine"


async def test_a_full_queue_is_a_rate_limit_error(tmp_path: Path) -> None:
    tiny_llama.write(tmp_path / "tiny/1")
    settings = "[batching]\nmax_queue_size = 1\n[generation]\nslots = 1\n"
    (tmp_path / "tiny/model.toml").write_text(settings)
    async with serve(tmp_path) as each:
        reply = await chat(each, n=8, ignore_eos=True, max_tokens=90)
        again = await chat(each)
    assert reply.status_code == 429
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"
    assert reply.headers["retry-after"] == "1"
    assert again.status_code == 200, "the refused request left the queue"


async def test_requests_of_a_disconnected_client_are_dropped(tiny: Served) -> None:
    version = tiny.server.repository.version("tiny")
    _, batcher = version.generation()
    asking = asyncio.ensure_future(chat(tiny, max_tokens=100, ignore_eos=True, n=32))
    while not batcher.in_flight:
        await asyncio.sleep(0.001)
    asking.cancel()
    await batcher.drain()
    assert batcher.in_flight == 0


async def test_a_configured_key_is_required(tmp_path: Path) -> None:
    tiny_llama.write(tmp_path / "tiny/1")
    async with serve(tmp_path, api_key=SecretStr("secret")) as each:
        body = {"model": "tiny", "messages": CHAT, "max_tokens": 2}
        path, right = "/v1/chat/completions", {"authorization": "Bearer secret"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=each.server), base_url="http://127.0.0.1"
        ) as client:
            refused = await client.post(path, json=body)
            taken = await client.post(path, json=body, headers=right)
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert taken.status_code == 200
