"""Chats and completions over the whole application; tests/system/test_openai.py uses the real
client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.api.language.served import CHAT, events, language_server
from tests.inprocess import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with language_server(tmp_path_factory.mktemp("openai")) as found:
        yield found


async def ask(served: Served, path: str = "chat/completions", **asked: Any) -> Any:
    return await served.client.post(f"/v1/{path}", json=CHAT | asked)


async def test_a_stream_says_what_the_whole_answer_does(served: Served) -> None:
    whole = (await ask(served)).json()
    reply = await ask(served, stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.content.endswith(b"data: [DONE]\n\n")
    *pieces, last = events(reply.content)
    text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
    assert text == whole["choices"][0]["message"]["content"]
    assert last["usage"] == whole["usage"] and last["choices"] == []
    assert {piece["id"] for piece in pieces} == {last["id"]}


async def test_greedy_answers_do_not_depend_on_who_shares_the_batch(served: Served) -> None:
    prompts = ["Hello", "What is a list?", "a", "The quick brown fox"]
    asked = {"model": "tiny", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    alone = []
    for prompt in prompts:
        reply = await served.client.post("/v1/completions", json=asked | {"prompt": prompt})
        alone.append(reply.json()["choices"][0]["text"])
    together = await served.client.post("/v1/completions", json=asked | {"prompt": prompts})
    assert [choice["text"] for choice in together.json()["choices"]] == alone


async def test_a_completion_may_begin_with_its_prompt(served: Served) -> None:
    asked = {"model": "tiny", "prompt": "Hello", "max_tokens": 4, "echo": True, "n": 2}
    reply = await served.client.post("/v1/completions", json=asked)
    choices = reply.json()["choices"]
    assert len(choices) == 2 and all(choice["text"].startswith("Hello") for choice in choices)
    assert reply.json()["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"model": "nobody"}, 404, "nobody"),
        ({"model": "same_fp32"}, 400, "same_fp32"),
        ({"messages": []}, 400, "messages"),
        ({"max_tokens": 10**6}, 400, "context"),
        ({"messages": [{"role": "user", "content": "a " * 5000}]}, 400, "context"),
    ],
)
async def test_what_is_wrong_is_told_in_openais_words(
    served: Served, asked: dict[str, Any], status: int, told: str
) -> None:
    for stream in (False, True):
        reply = await ask(served, **asked, stream=stream)
        error = reply.json()["error"]
        assert reply.status_code == status and told in error["message"]
        assert set(error) == {"message", "type", "param", "code"}


async def test_a_client_that_sends_no_json_is_told(served: Served) -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        reply = await served.client.post("/v1/chat/completions", content=body)
        assert reply.status_code == 400 and "the body" in reply.json()["error"]["message"]
