"""A real server with the tiny language model, asked by OpenAI's own client and by curl."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

import httpx
import openai
import pytest

from tests.engine.generation import tiny_llama
from tests.inprocess import ROOT
from tests.system.process import KEY, Running, running

CHAT = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for number in (1, 2):
        tiny_llama.write(folder / f"tiny/{number}", seed=number)
    copytree(ROOT / "models/digits", folder / "digits")
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Running]:
    with running(models) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://{server.address}/v1", api_key="any", max_retries=0
    ) as found:
        yield found


def test_models_are_listed_for_both_protocols(server: Running, client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").created > 1.7e9
    assert httpx.get(f"http://{server.address}/v1/models").json()["models"] == ["digits", "tiny"]


def test_a_chat_is_the_same_streamed_and_not_streamed(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": CHAT, "max_tokens": 20, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    pieces = list(stream)
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert text == whole.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert pieces[-1].usage == whole.usage and whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_several_choices_with_log_probabilities(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        model="tiny", messages=CHAT, max_tokens=6, n=3, seed=7, logprobs=True, top_logprobs=2,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in found.choices}) > 1
    for choice in found.choices:
        assert choice.logprobs is not None and choice.logprobs.content is not None
        assert len(choice.logprobs.content) == 6
        for token in choice.logprobs.content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 2
            assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    assert found.usage is not None and found.usage.completion_tokens == 18


def test_completions_of_texts_and_of_tokens(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "max_tokens": 8, "temperature": 0}
    texts = client.completions.create(prompt=["one", "two two"], echo=True, **asked)
    assert [c.text[:3] for c in texts.choices] == ["one", "two"]
    tokens = client.completions.create(prompt=[5, 6, 7], logprobs=1, **asked)
    assert tokens.usage is not None and tokens.usage.prompt_tokens == 3
    logprobs = tokens.choices[0].logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None
    pieces = list(client.completions.create(prompt=[5, 6, 7], stream=True, **asked))
    assert "".join(p.choices[0].text for p in pieces) == tokens.choices[0].text


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str | None:
        found = client.chat.completions.create(
            model="tiny", messages=CHAT, max_tokens=30, seed=seed
        )
        return found.choices[0].message.content

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_errors_are_raised_as_openais(server: Running, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match='there is no model "gpt-4"'):
        client.chat.completions.create(model="gpt-4", messages=CHAT)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="temperature: Input should be less") as found:
        client.chat.completions.create(model="tiny", messages=CHAT, temperature=9)  # type: ignore[arg-type]
    assert (found.value.param, found.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="context of 128 tokens; the prompt has 250"):
        client.completions.create(model="tiny", prompt=[5] * 250)
    with pytest.raises(openai.BadRequestError, match='"digits" is no language model'):
        client.chat.completions.create(model="digits", messages=CHAT)  # type: ignore[arg-type]
    tensors = httpx.post(f"http://{server.address}/v2/models/tiny/infer", json={"inputs": []})
    assert tensors.status_code == 400
    assert "it is a language model: use /v1/chat/completions" in tensors.json()["error"]
    rows = httpx.post(f"http://{server.address}/v1/models/tiny:predict", json={"instances": [1]})
    assert rows.status_code == 400 and "use /v1/chat/completions" in rows.json()["error"]


def test_a_swap_interrupts_no_stream(server: Running, client: openai.OpenAI) -> None:
    """Streams continue while versions change; new requests are answered by the new version."""
    admin = {"x-api-key": KEY}

    def ask(number: int) -> tuple[int, str]:
        stream = client.chat.completions.create(
            model="tiny", messages=CHAT, max_tokens=90, seed=number, stream=True,
            extra_body={"ignore_eos": True}, stream_options={"include_usage": True},
        )  # fmt: skip
        pieces = list(stream)
        assert pieces[-1].usage is not None
        return pieces[-1].usage.completion_tokens, str(pieces[0].system_fingerprint)[0]

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(40)]
        for version in (1, 2, 1, 2):
            url = f"http://{server.address}/admin/models/tiny/swap"
            reply = httpx.post(url, json={"version": version}, headers=admin, timeout=60)
            assert reply.status_code == 200, reply.text
        found = [each.result() for each in asked]
    assert [tokens for tokens, _ in found] == [90] * 40


def test_disconnected_clients_free_their_slots(server: Running) -> None:
    body = {"model": "tiny", "prompt": "a", "max_tokens": 100, "stream": True, "ignore_eos": True}
    for _ in range(20):
        with httpx.stream("POST", f"http://{server.address}/v1/completions", json=body) as reply:
            next(reply.iter_lines())
    client = openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="any", timeout=20)
    found = client.completions.create(model="tiny", prompt="a", max_tokens=3)
    assert found.choices[0].finish_reason


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--no-buffer", *arguments], capture_output=True, text=True, timeout=30
    )
    return done.stdout


def test_curl_streams_chats_and_generate(server: Running) -> None:
    body = json.dumps({"model": "tiny", "messages": CHAT, "max_tokens": 4, "stream": True})
    lines = curl(f"http://{server.address}/v1/chat/completions", "-d", body).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: {") for line in lines[:-2])
    body = json.dumps({"text_input": "a", "parameters": {"max_tokens": 4, "temperature": 0}})
    whole = json.loads(curl(f"http://{server.address}/v2/models/tiny/generate", "-d", body))
    assert whole["model_name"] == "tiny"
    events = curl(f"http://{server.address}/v2/models/tiny/generate_stream", "-d", body).split(
        "\n\n"
    )[:-1]
    pieces = [json.loads(each.removeprefix("data: ")) for each in events]
    assert "".join(each["text_output"] for each in pieces) == whole["text_output"]


def test_metadata_describes_a_language_model(server: Running) -> None:
    found = httpx.get(f"http://{server.address}/v2/models/tiny").json()
    assert found["inputs"] == [{"name": "text_input", "datatype": "BYTES", "shape": [1]}]
    assert found["parameters"]["task"] == "text-generation"
    assert found["parameters"]["context"] == "128"


def test_every_documented_example_of_a_language_model_works(server: Running) -> None:
    paths = httpx.get(f"http://{server.address}/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v2/models/{name}/generate"} <= paths.keys()
    for path in ("/v1/chat/completions", "/v1/completions", "/v2/models/{name}/generate"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = content["examples"]["tiny"]["value"]
        reply = httpx.post(f"http://{server.address}" + path.replace("{name}", "tiny"), json=body)
        assert reply.status_code == 200, reply.text


def test_a_language_model_is_uploaded_with_all_its_files(server: Running, models: Path) -> None:
    version = models / "tiny/1"
    archive = subprocess.run(
        ["tar", "-C", version, "-c", *sorted(file.name for file in version.iterdir())],
        capture_output=True,
        check=True,
    ).stdout
    url, admin = f"http://{server.address}", {"x-api-key": KEY}
    sent = httpx.put(
        f"{url}/admin/models/sent/versions",
        content=archive,
        headers={**admin, "content-type": "application/x-tar"},
        timeout=60,
    )
    assert sent.status_code == 201, sent.text
    swapped = httpx.post(
        f"{url}/admin/models/sent/swap", json={"version": 1}, headers=admin, timeout=60
    )
    assert swapped.status_code == 200, swapped.text
    body = {"prompt": "a", "max_tokens": 4, "temperature": 0}
    both = [
        httpx.post(f"{url}/v1/completions", json={"model": name, **body}).json()["choices"]
        for name in ("sent", "tiny")
    ]
    assert both[0]


def test_the_turns_of_a_conversation_reuse_its_beginning(tmp_path: Path) -> None:
    for name, reuse in (("reuses", "true"), ("reads", "false")):
        tiny_llama.write(tmp_path / f"{name}/1")
        settings = f"[instances]\ncount = 1\n[generation]\nreuse = {reuse}\n"
        (tmp_path / name / "model.toml").write_text(settings)
    with (
        running(tmp_path) as server,
        openai.OpenAI(
            base_url=f"http://{server.address}/v1", api_key="any", max_retries=0
        ) as client,
    ):
        cached: dict[str, list[int]] = {}
        texts: dict[str, list[str | None]] = {}
        for name in ("reuses", "reads"):
            chat = [{"role": "system", "content": "a tool shop"}]
            for turn in ("one", "two", "three"):
                chat.append({"role": "user", "content": turn})
                found = client.chat.completions.create(
                    model=name, messages=chat, max_tokens=4, temperature=0
                )
                usage, text = found.usage, found.choices[0].message.content
                assert usage is not None and usage.prompt_tokens_details is not None
                cached.setdefault(name, []).append(usage.prompt_tokens_details.cached_tokens or 0)
                texts.setdefault(name, []).append(text)
                chat.append({"role": "assistant", "content": "as you like"})
        assert texts["reuses"] == texts["reads"]
        assert cached["reads"] == [0, 0, 0]
        first, second, third = cached["reuses"]
        assert first == 0 < second < third
        metrics = httpx.get(f"http://{server.address}/metrics").text
        line = 'quantserve_cached_prompt_tokens_total{model="reuses",version="1"}'
        assert f"{line} {float(second + third)}" in metrics
