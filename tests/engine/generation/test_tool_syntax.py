"""Answers that must call a function do so with any scores, in the model's own syntax."""

import json

import numpy as np
import pytest

from service.core.generation import (
    Form,
    Function,
    SamplingParameters,
    ToolChoice,
    Tools,
    joined,
)
from service.engine.generation.grammar import Grammars
from service.engine.generation.sampling import Sampler
from service.engine.generation.tokenizer import Tokenizer
from service.engine.generation.tool_parser import ToolParser
from service.engine.generation.tool_syntax import (
    LISTED,
    PARAMETERS,
    PLAIN,
    TAGGED,
    ToolSyntax,
    form_of,
    syntax_of,
)
from tests.engine.generation.language import BEGIN, write_tokenizer
from tests.engine.generation.random_text import random_text
from tests.engine.generation.tiny_llama import EOS, VOCABULARY

SIZE = {"$ref": "#/$defs/Size"}
SCHEMA = {
    "type": "object",
    "properties": {"size": SIZE},
    "required": ["size"],
    "additionalProperties": False,
    "$defs": {"Size": {"enum": ["S", "L"]}},
}
FUNCTIONS = (
    Function("order", SCHEMA, 0),
    Function("cancel", {**SCHEMA, "properties": {}, "required": []}, 1),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize(
    ("template", "syntax"),
    [
        ("... <tool_call> ...", TAGGED),
        ("{{ '[TOOL_CALLS] [' }}", LISTED),
        ('{"name": function name, "parameters": dictionary}', PARAMETERS),
        ("{{ '\"parameters\": ' }}", PARAMETERS),
        ("{{ tools }}", PLAIN),
    ],
)
def test_the_syntax_is_detected_from_the_template(template: str, syntax: ToolSyntax) -> None:
    assert syntax_of(template) is syntax


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("syntax", [TAGGED, LISTED, PARAMETERS, PLAIN])
def test_random_tokens_form_valid_calls(
    tokenizer: Tokenizer, syntax: ToolSyntax, parallel: bool
) -> None:
    tools = Tools(FUNCTIONS, ToolChoice.REQUIRED, parallel=parallel)
    form = form_of(syntax, tools, tokenizer.token)
    grammars = Grammars(tokenizer, VOCABULARY, (EOS,))
    most = 0
    for seed in range(12):
        sampler = Sampler(SamplingParameters(seed=seed), (), (EOS,), grammars.grammar(form))
        text = random_text(tokenizer, sampler, seed, most=2000)
        parser = ToolParser(syntax, ["order", "cancel"])
        first, last = parser.push(text), parser.flush()
        calls = joined(first.calls + last.calls)
        assert calls and not first.text + last.text, text
        for call in calls:
            arguments = json.loads(call.arguments)
            assert arguments == {} if call.name == "cancel" else arguments["size"] in ("S", "L")
        most = max(most, len(calls))
    assert (most > 1) == (parallel and syntax in (TAGGED, LISTED))


SIZES = Form("json_schema", json.dumps({"$ref": "#/$defs/Sizes", "$defs": {
    "Sizes": {"type": "array", "items": {"enum": ["S", "L"]}, "minItems": 1},
}}))  # fmt: skip
NAMES = Form("json_schema", '{"type": "object", "properties": {"name": {"const": "order"}}}')


@pytest.mark.parametrize("answer", [SIZES, NAMES])
@pytest.mark.parametrize("syntax", [TAGGED, LISTED])
def test_random_tokens_form_a_call_or_an_answer(
    tokenizer: Tokenizer, syntax: ToolSyntax, answer: Form
) -> None:
    tools = Tools(FUNCTIONS[:1], ToolChoice.AUTO, parallel=False)
    grammars = Grammars(tokenizer, VOCABULARY, (EOS,))
    grammar = grammars.grammar(form_of(syntax, tools, tokenizer.token, answer))
    seen = set()
    for seed in range(40):
        sampler = Sampler(SamplingParameters(seed=seed), (), (EOS,), grammar.copy())
        text = random_text(tokenizer, sampler, seed, most=2000)
        parser = ToolParser(syntax, ["order"], or_object=True)
        first, last = parser.push(text), parser.flush()
        calls = joined(first.calls + last.calls)
        seen.add(bool(calls))
        if calls:
            assert not first.text + last.text
            assert json.loads(calls[0].arguments)["size"] in ("S", "L")
        elif answer is SIZES:
            assert set(json.loads(text)) <= {"S", "L"}
        else:
            assert json.loads(text).get("name", "order") == "order"
    assert seen == {True, False}


def test_a_marker_that_is_a_special_token_is_generated_as_that_token(tokenizer: Tokenizer) -> None:
    form = form_of(
        ToolSyntax(BEGIN, "</x>"), Tools(FUNCTIONS, ToolChoice.REQUIRED), tokenizer.token
    )
    grammar = Grammars(tokenizer, VOCABULARY, (EOS,)).grammar(form)
    assert np.flatnonzero(grammar.allowed()).tolist() == [tokenizer.token(BEGIN)]
