"""Conversion of requests to prompts for the tiny model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api.language.openai_calls import chat_call, completion_call
from service.core.errors import BadArgument, InputRejected
from service.engine.generation.chat_template import ChatTemplate
from service.engine.generation.language_model import LanguageModel
from tests.engine.generation.language import TEMPLATE, TOOL_TEMPLATE
from tests.engine.generation.tiny_batcher import language

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TOOLS = [{"type": "function", "function": {"name": "now"}}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return language(tmp_path_factory.mktemp("tiny"))


def with_template(tiny: LanguageModel, source: str) -> LanguageModel:
    return replace(tiny, template=ChatTemplate(source, {}))


def test_a_chat_needs_a_template(tiny: LanguageModel) -> None:
    with pytest.raises(InputRejected, match="has no chat template"):
        chat_call(CHAT).prompts(tiny)


def test_every_choice_has_its_own_constraint(tiny: LanguageModel) -> None:
    call = chat_call({**CHAT, "n": 3, "guided_regex": "a+"})
    found = call.prompts(with_template(tiny, TEMPLATE))
    assert len({id(each.constraint) for each in found}) == 3
    assert len({each.prompt for each in found}) == 1
    assert call.reader() is None


def test_tools_are_refused_if_the_template_ignores_them(tiny: LanguageModel) -> None:
    with pytest.raises(BadArgument, match="does not support tools") as refused:
        chat_call({**CHAT, "tools": TOOLS}).prompts(with_template(tiny, TEMPLATE))
    assert refused.value.param == "tools"


@pytest.mark.parametrize(
    ("choice", "shown", "constrained"),
    [("none", False, False), ("auto", True, False), ("required", True, True)],
)
def test_tools_are_in_the_prompt_if_they_may_be_called(
    tiny: LanguageModel, choice: str, shown: bool, constrained: bool
) -> None:
    model = with_template(tiny, TOOL_TEMPLATE)
    call = chat_call({**CHAT, "tools": TOOLS, "tool_choice": choice})
    (found,) = call.prompts(model)
    text = model.tokenizer.decode(list(found.prompt))
    assert ('"now"' in text, found.constraint is not None) == (shown, constrained)
    assert (call.reader() is not None) == (found.calls is not None) == shown


FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


@pytest.mark.parametrize(("choice", "begins"), [("none", "{"), ("auto", "<{"), ("required", "<")])
def test_an_answer_has_the_requested_form_or_is_a_call(
    tiny: LanguageModel, choice: str, begins: str
) -> None:
    model = with_template(tiny, TOOL_TEMPLATE)
    asked = {**CHAT, "tools": TOOLS, "tool_choice": choice, "response_format": FORMAT}
    (found,) = chat_call(asked).prompts(model)
    assert found.constraint is not None
    allowed = np.flatnonzero(found.constraint.allowed())
    assert {model.tokenizer.show(token)[0] for token in allowed} == set(begins)


def test_calls_without_a_mark_cannot_be_told_from_answers_in_json(tiny: LanguageModel) -> None:
    model = with_template(tiny, "{{ tools }}")
    asked = {**CHAT, "tools": TOOLS, "response_format": FORMAT}
    with pytest.raises(BadArgument, match='set "tool_choice" to "none"') as refused:
        chat_call(asked).prompts(model)
    assert refused.value.param == "response_format"
    for choice in ("none", "required"):
        (found,) = chat_call({**asked, "tool_choice": choice}).prompts(model)
        assert found.constraint is not None
    text = {**asked, "response_format": {"type": "text"}}
    assert chat_call(text).prompts(model)[0].constraint is None


@pytest.mark.parametrize(("choice", "form"), [("auto", True), ("auto", False), ("required", True)])
def test_an_object_that_looks_like_a_call_is_an_answer_if_it_may_be_one(
    tiny: LanguageModel, choice: str, form: bool
) -> None:
    model = with_template(tiny, "{{ tools }}[TOOL_CALLS]")
    asked = {**CHAT, "tools": TOOLS, "tool_choice": choice}
    call = chat_call({**asked, "response_format": FORMAT} if form else asked)
    (found,) = call.prompts(model)
    assert found.calls is not None
    assert bool(found.calls.push('{"name": "now"}').calls) == (choice == "required" or not form)


@pytest.mark.parametrize(
    ("more", "single"),
    [
        ({}, False),
        ({"parallel_tool_calls": True}, False),
        ({"parallel_tool_calls": False}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "now"}}}, True),
    ],
)
def test_an_answer_may_have_several_calls_unless_the_client_wants_one(
    tiny: LanguageModel, more: dict[str, Any], single: bool
) -> None:
    asked = {**CHAT, "tools": TOOLS, "n": 2, **more}
    found = chat_call(asked).prompts(with_template(tiny, TOOL_TEMPLATE))
    for each in found:
        assert each.calls is not None and not each.calls.over
        each.calls.push('<tool_call>{"name": "now"}')
        assert each.calls.over == single


def test_calls_in_a_list_cannot_be_told_from_other_lists(tiny: LanguageModel) -> None:
    model = with_template(tiny, "{{ tools }}[TOOL_CALLS]")
    names = {"type": "array", "items": {"properties": {"name": {"const": "now"}}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": names}}
    with pytest.raises(BadArgument, match='set "tool_choice" to "none"'):
        chat_call({**CHAT, "tools": TOOLS, "response_format": form}).prompts(model)


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("bad", ["tools.1.function.parameters", "response_format"])
def test_schemas_that_are_not_usable_are_named(tiny: LanguageModel, choice: str, bad: str) -> None:
    nonsense = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
    form, tools = FORMAT, TOOLS
    if bad == "response_format":
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": nonsense}}
    else:
        function = {"name": "bad", "parameters": nonsense}
        tools = [*TOOLS, {"type": "function", "function": function}]
    asked = {**CHAT, "tools": tools, "tool_choice": choice, "response_format": form}
    with pytest.raises((BadArgument, InputRejected), match="Invalid type: nonsense") as refused:
        chat_call(asked).prompts(with_template(tiny, TOOL_TEMPLATE))
    assert getattr(refused.value, "param", "response_format") == bad


def test_a_completion_may_have_several_prompts(tmp_path: Path, tiny: LanguageModel) -> None:
    found = completion_call({"model": "m", "prompt": ["a", "b"], "n": 2}).prompts(tiny)
    assert len(found) == 4 and {each.max_tokens for each in found} == {16}
    with pytest.raises(BadArgument, match="at most 128 answers"):
        completion_call({"model": "m", "prompt": ["a"] * 65, "n": 2})
