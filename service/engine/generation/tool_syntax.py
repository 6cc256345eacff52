"""The syntax in which a model writes function calls, as its chat template shows it to the model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core.generation import Form, Function, Tools
from service.engine.generation.grammar import COMPACT

MOST_CALLS = 16
"""Calls in an answer that must call a function: otherwise a model may never stop."""


@dataclass(frozen=True, slots=True)
class ToolSyntax:
    """The syntax of calls. A call is an object with ``name``, and the arguments under ``key``.
    ``begin`` is the mark before a call and ``end`` the mark after it. ``listed``: all calls are one
    list after a single ``begin``."""

    begin: str = ""
    end: str = ""
    key: str = "arguments"
    listed: bool = False


TAGGED = ToolSyntax("<tool_call>", "</tool_call>")
"""Hermes, Qwen and others: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``."""
LISTED = ToolSyntax("[TOOL_CALLS]", listed=True)
"""Mistral: ``[TOOL_CALLS][{"name": ..., "arguments": {...}}]``."""
PARAMETERS = ToolSyntax(key="parameters")
"""Llama: ``{"name": ..., "parameters": {...}}``, and no other text."""
PLAIN = ToolSyntax()
"""Other models: ``{"name": ..., "arguments": {...}}``."""


def syntax_of(template: str) -> ToolSyntax:
    """Return the syntax that a chat template with tools shows to the model."""
    for syntax in (TAGGED, LISTED):
        if syntax.begin in template:
            return syntax
    return PARAMETERS if '"parameters":' in template else PLAIN


def told_apart(syntax: ToolSyntax, answer: Form) -> bool:
    """Return True if calls can be told from answers of a form in JSON. A list of calls may be told
    from an object only: the mark before it may be a special token, which is no part of the text."""
    if syntax.listed:
        return bool(json.loads(answer.text).get("type") == "object")
    return bool(syntax.begin)


def form_of(
    syntax: ToolSyntax,
    tools: Tools,
    token: Callable[[str], int | None],
    answer: Form | None = None,
) -> Form:
    """Return the form of answers that consist of calls only, or, instead of calls, of an ``answer``
    in JSON. ``token`` returns the id of a token by its name: a mark that is one token of the model
    must be written as that token."""
    assert answer is None or (answer.kind == "json_schema" and syntax.begin), "This is a bug."
    several = tools.parallel and (syntax.end or syntax.listed)
    separator = ", " if syntax.listed else "\n"
    more = f" ({json.dumps(separator)} one){{0,{MOST_CALLS - 1}}}" if several else ""
    begin, end = _mark(syntax.begin, token), _mark(syntax.end, token)
    if syntax.listed:
        lines = [f'calls: {begin} "[" one{more} "]"', "one: call"]
    elif syntax.end:
        lines = [f"calls: one{more}", f'one: {begin} "\\n" call "\\n" {end}']
    else:
        lines = ["calls: call"]
    lines.append("start: calls" if answer is None else "start: calls | answer")
    if answer is not None:
        lines.append(f"answer: {_json(json.loads(answer.text))}")
    lines.append("call: " + " | ".join(f"f{place}" for place in range(len(tools.functions))))
    lines += _functions(syntax.key, tools.functions)
    return Form("tools", "\n".join(lines))


def _functions(key: str, functions: Sequence[Function]) -> list[str]:
    """Return one rule for each function. Each schema stays a separate document, so that its
    ``$ref`` are valid."""
    rules = []
    for place, function in enumerate(functions):
        head = f'{{"name": {json.dumps(function.name)}, "{key}": '
        rules.append(f'f{place}: {json.dumps(head)} {_json(function.parameters)} "}}"')
    return rules


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': COMPACT})}"


def _mark(text: str, token: Callable[[str], int | None]) -> str:
    number = token(text) if text else None
    return json.dumps(text) if number is None else f"<[{number}]>"
