"""Tool calls of a real model on a real server, through OpenAI's own client."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.models.smollm2 import FOLDER, there
from tests.parts import SMOLLM2
from tests.system.process import running

pytestmark = SMOLLM2.unless(there())
TEMPLATE = """\
{% if tools %}<|im_start|>system
You are an expert in composing functions. You are given a question and a set of possible functions.
Based on the question, you will need to make one or more function calls to achieve the purpose.

You have access to the following tools:
<tools>{{ tools | tojson }}</tools>

The output MUST strictly adhere to the following format:
<tool_call>
{"name": "func_name1", "arguments": {"argument1": "value1", "argument2": "value2"}}
</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{ '\\n' if not loop.first }}<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}{{ '<|im_start|>assistant\\n' }}"""
"""SmolLM2-135M's own template does not show tools to the model. This one has the form of
SmolLM2-1.7B's."""
MODEL = """\
[generation]
slots = 2
context = 2048

[instances]
count = 1
"""


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def of(schema: dict[str, Any]) -> Any:
    return schema["function"]["parameters"]


UNIT = {"enum": ["celsius", "fahrenheit"]}
WEATHER = tool("get_weather", city={"type": "string", "maxLength": 20}, unit=UNIT)
TIME = tool("get_time", zone={"type": "string", "maxLength": 20})
ITEM = tool("", dish={"enum": ["🍕 Pizza", "Käsespätzle"]}, größe={"enum": ["S", "L"]})
ORDER = tool(
    "order_food",
    address=of(tool("", city={"enum": ["München", "東京"]}, zip={"type": "integer", "minimum": 1})),
    items={"type": "array", "items": of(ITEM), "minItems": 1, "maxItems": 2},
    note={"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
)
TOOLS = [WEATHER, TIME, ORDER]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def asked_for(*cities: str) -> dict[str, Any]:
    return user(f"What is the weather in {' and in '.join(cities)} in celsius?")


def turn(*cities: str) -> list[dict[str, Any]]:
    """Return a question, the calls for it, and their results."""
    calls, results = [], []
    for number, city in enumerate(cities):
        arguments = json.dumps({"city": city, "unit": "celsius"}, ensure_ascii=False)
        call = {"name": "get_weather", "arguments": arguments}
        calls.append({"id": f"{city}{number}", "type": "function", "function": call})
        results.append({"role": "tool", "tool_call_id": f"{city}{number}", "content": "20"})
    return [
        asked_for(*cities),
        {"role": "assistant", "content": None, "tool_calls": calls},
        *results,
        {"role": "assistant", "content": "It is 20 degrees."},
    ]


ONE = [asked_for("Paris")]
TWO = [*turn("Rome", "Madrid"), *turn("Oslo", "Köln"), asked_for("Paris", "Zürich")]
FOOD = [user("Order two pizzas to Marienplatz 1, 80331 München.")]
IN_PARIS = ("get_weather", {"city": "Paris", "unit": "celsius"})
IN_ZURICH = ("get_weather", {"city": "Zürich", "unit": "celsius"})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    version = tmp_path_factory.mktemp("models") / "smollm2/1"
    version.mkdir(parents=True)
    for file in FOLDER.iterdir():
        if file.name == "chat_template.jinja":
            continue
        try:
            os.link(file, version / file.name)
        except OSError:  # on another file system
            shutil.copy(file, version / file.name)
    (version / "chat_template.jinja").write_text(TEMPLATE)
    (version.parent / "model.toml").write_text(MODEL)
    with (
        running(version.parents[1]) as server,
        openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="x", max_retries=0) as found,
    ):
        yield found


def answer(client: openai.OpenAI, **more: Any) -> tuple[list[tuple[str, Any]], str, str]:
    """Return the calls, the text and the finish reason of an answer, which are the same whole and
    streamed."""
    asked = {
        "model": "smollm2",
        "tools": [WEATHER, TIME],
        "temperature": 0,
        "max_tokens": 250,
        **more,
    }
    choice = client.chat.completions.create(**asked).choices[0]
    whole = [
        [call.function.name, call.function.arguments] for call in choice.message.tool_calls or ()
    ]
    streamed: list[list[str]] = []
    text, reasons, pieces = "", [], 0
    for piece in client.chat.completions.create(**asked, stream=True):
        (part,) = piece.choices
        text += part.delta.content or ""
        reasons.append(part.finish_reason)
        for call in part.delta.tool_calls or ():
            if call.function.name:
                streamed.append([call.function.name, ""])
            streamed[call.index][1] += call.function.arguments
            pieces += 1
    assert streamed == whole and pieces >= 5 * len(whole)
    assert text == (choice.message.content or "")
    assert reasons[-1] == choice.finish_reason and not any(reasons[:-1])
    return [(name, json.loads(given)) for name, given in whole], text, choice.finish_reason


@pytest.mark.parametrize(
    ("more", "calls", "finish"),
    [
        ({"messages": ONE, "tool_choice": "required"}, [IN_PARIS], "tool_calls"),
        ({"messages": TWO}, [IN_PARIS, IN_ZURICH], "tool_calls"),
        ({"messages": TWO, "parallel_tool_calls": False}, [IN_PARIS], "tool_calls"),
        ({"messages": TWO, "stop": ["Paris", "\n", '"']}, [IN_PARIS, IN_ZURICH], "tool_calls"),
        ({"messages": TWO, "tool_choice": "required"}, [IN_PARIS, IN_ZURICH], "tool_calls"),
    ],
)
def test_a_real_model_calls_functions(
    client: openai.OpenAI, more: Any, calls: Any, finish: str
) -> None:
    assert answer(client, **more) == (calls, "", finish)


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("choice", ["required", named("order_food")])
def test_arguments_of_a_real_model_fit_a_nested_schema(client: openai.OpenAI, choice: Any) -> None:
    tools = TOOLS if isinstance(choice, dict) else [ORDER]
    calls, text, finish = answer(
        client, messages=FOOD, tools=tools, tool_choice=choice, parallel_tool_calls=False
    )
    ((name, order),) = calls
    assert (name, text) == ("order_food", "")
    assert finish == ("stop" if isinstance(choice, dict) else "tool_calls")
    assert order["address"]["city"] == "München" and order["address"]["zip"] >= 1
    assert 1 <= len(order["items"]) <= 2 and len(order["note"] or "") <= 9
    for item in order["items"]:
        assert item["dish"] in ("🍕 Pizza", "Käsespätzle") and item["größe"] in ("S", "L")


def test_a_real_model_calls_a_function_or_answers_in_json(client: openai.OpenAI) -> None:
    schema = of(tool("", answer={"type": "string", "maxLength": 40}))
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    calls, text, _ = answer(client, messages=ONE, response_format=form, tool_choice="none")
    assert not calls and set(json.loads(text)) == {"answer"}
    calls, text, finish = answer(client, messages=TWO, response_format=form)
    assert (calls[0], text, finish) == (IN_PARIS, "", "tool_calls")
