"""Converts the messages of a chat to the text that a model continues, with the model's template.

Templates are Jinja templates as in Hugging Face's tokenizers. They run in Jinja's sandbox, because
they come with a model and must see nothing of the server. Their loops and their output are bounded.
This module is imported only if a language model is served.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.meta import find_undeclared_variables

from service.core.errors import FileUnreadable, InputRejected, LoadFailed
from service.engine.generation.template_sandbox import (
    MOST_TEXT,
    BoundedEnvironment,
    TooMuch,
    time_limit,
)
from service.engine.generation.tool_syntax import syntax_of
from service.files import read_small

TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILE = "tokenizer_config.json"
MOST_BYTES = 4 * 2**20
MOST_TURNS = 1_000_000
"""Turns of all loops over ``range`` in one rendering."""
SECONDS = 5.0
"""Time limit of one rendering."""
Message = Mapping[str, Any]


class ChatTemplate:
    """The template of one model. ``special`` are the texts of its special tokens by name, such as
    ``bos_token``."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """Compile the template.

        Raises:
            LoadFailed: the source is not a valid template.
        """
        environment = BoundedEnvironment()
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        self._special = dict(special)
        try:
            self._template: Template = environment.from_string(source)
            takes = "tools" in find_undeclared_variables(environment.parse(source))
        except (TemplateError, RecursionError) as error:
            raise LoadFailed(f"the chat template is not valid: {error!s:.200}") from None
        self.tools = syntax_of(source) if takes else None
        """The syntax of function calls; None if the template does not show tools to the model."""

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> str:
        """Return the prompt for the next message of the assistant. Blocks.

        Raises:
            InputRejected: the template refuses the messages, or takes too long.
        """
        values = {
            **self._special,
            "messages": [dict(message) for message in messages],
            "tools": list(tools) if tools else None,
            "add_generation_prompt": True,
            "range": _Ranges(),
        }
        pieces, length = [], 0
        try:
            with time_limit(SECONDS):
                for piece in self._template.generate(values):
                    pieces.append(piece)
                    length += len(piece)
                    if length > MOST_TEXT:
                        raise TooMuch
        except MemoryError:
            raise
        except Exception as error:  # a template may raise any exception
            told = str(error) or type(error).__name__
            raise InputRejected(
                f"the model's chat template refuses these messages: {told:.300}"
            ) from None
        return "".join(pieces)


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """Read the template in a model's folder; None if there is none.

    Raises:
        LoadFailed: the template cannot be read, or is not valid.
    """
    try:
        alone = read_small(folder / TEMPLATE_FILE, MOST_BYTES)
        beside = read_small(folder / CONFIG_FILE, MOST_BYTES)
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from None
    try:
        config = json.loads(beside) if beside is not None else {}
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise LoadFailed(f"{CONFIG_FILE} is not a JSON object")
    source = _source(config.get("chat_template")) if alone is None else alone.decode("utf-8")
    return ChatTemplate(source, _special(config)) if source else None


def _source(given: Any) -> str:
    """Return the template: the only one, or the one named "default" of several."""
    if isinstance(given, list):
        named = {each.get("name"): each.get("template") for each in given if isinstance(each, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else ""


def _special(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the special tokens by name. In the file they are texts, or objects with
    the text in ``content``."""
    found = {}
    for key, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            found[key] = text
    return found


class _Ranges:
    """The function ``range`` for one rendering, with a limit of turns."""

    def __init__(self) -> None:
        self._left = MOST_TURNS

    def __call__(self, *bounds: int) -> range:
        found = range(*bounds)
        self._left -= len(found) + 1
        if self._left < 0:
            raise TooMuch
        return found


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Replacement of Jinja's ``tojson``, which escapes characters that are special in HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
