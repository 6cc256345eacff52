"""Conversion of requests to prompts for the tiny model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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
    assert call.reader(tiny) is None


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
    assert (call.reader(model) is not None) == shown


def test_a_completion_may_have_several_prompts(tmp_path: Path, tiny: LanguageModel) -> None:
    found = completion_call({"model": "m", "prompt": ["a", "b"], "n": 2}).prompts(tiny)
    assert len(found) == 4 and {each.max_tokens for each in found} == {16}
    with pytest.raises(BadArgument, match="at most 128 answers"):
        completion_call({"model": "m", "prompt": ["a"] * 65, "n": 2})
