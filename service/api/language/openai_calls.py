"""Requests of OpenAI's API: the prompts for a model, and the format of the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from service.api.language.answers import Prompts
from service.api.language.call_reader import CallReader
from service.api.protocol import openai_answers
from service.api.protocol.openai_answers import Head, Json, Whole
from service.api.protocol.openai_chat import ChatRequest
from service.api.protocol.openai_requests import MOST_CHOICES, Asked, CompletionRequest, read
from service.core.errors import BadArgument, InputRejected
from service.core.generation import CallFinder, GenerationRequest, ToolChoice, Tools
from service.core.requests import DEFAULT_PRIORITY

if TYPE_CHECKING:
    from service.engine.generation.grammar import Grammar
    from service.engine.generation.language_model import LanguageModel
    from service.engine.generation.tool_syntax import ToolSyntax

DEFAULT_TOKENS = 16
"""Default ``max_tokens`` of a completion: the default of OpenAI's API."""


class Writing(NamedTuple):
    """The format of the answers of one route. Their ids begin with ``prefix``. ``kind`` is the
    ``object`` of a piece."""

    prefix: str
    kind: str
    whole: Callable[[Head, Sequence[Whole], Json], Json]
    piece: Callable[..., Json]


CHAT = Writing("chatcmpl-", "chat.completion.chunk", openai_answers.chat, openai_answers.chat_piece)
COMPLETION = Writing(
    "cmpl-", "text_completion", openai_answers.completion, openai_answers.completion_piece
)


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request: its arguments, the function that makes its prompts, the format of its
    answers, and the functions that the answers may call."""

    asked: Asked
    prompts: Prompts
    form: Writing
    tools: Tools | None = None

    def reader(self) -> CallReader | None:
        """Return the reader of one answer with calls; None if it may call nothing."""
        return None if self.tools is None else CallReader(self.tools)


def chat_call(document: dict[str, Any]) -> Call:
    """Parse a request for a chat.

    Raises:
        BadArgument: the document is not a valid request.
    """
    asked = read(ChatRequest, document)
    messages = [message.for_template(place) for place, message in enumerate(asked.messages)]
    tools = asked.callable()
    shown = [tool.model_dump(exclude_none=True) for tool in asked.tools or ()] if tools else None

    def prompts(language: "LanguageModel") -> list[GenerationRequest]:
        if language.template is None:
            raise _no_template(asked.model)
        grammar, calls = _grammar(asked, language), None
        if tools is not None:
            grammar = _of_calls(asked, tools, language)
            calls = _finder(asked, tools, _syntax(asked.model, language))
        text = language.template.render(messages, shown)
        tokens = tuple(language.tokenizer.encode(text, special=False))
        return _requests(asked, tokens, asked.limit, asked.told, grammar, calls)

    return Call(asked, prompts, CHAT, tools)


def completion_call(document: dict[str, Any]) -> Call:
    """Parse a request for a completion.

    Raises:
        BadArgument: the document is not a valid request.
    """
    asked = read(CompletionRequest, document)
    if len(asked.prompts) * asked.choices > MOST_CHOICES:
        raise BadArgument(f"at most {MOST_CHOICES} answers may be requested at once", "prompt")

    def prompts(language: "LanguageModel") -> list[GenerationRequest]:
        encode = language.tokenizer.encode
        made: list[GenerationRequest] = []
        for given in asked.prompts:
            tokens = tuple(encode(given, special=True) if isinstance(given, str) else given)
            limit = asked.max_tokens or DEFAULT_TOKENS
            grammar = _grammar(asked, language)
            made += _requests(asked, tokens, limit, asked.logprobs, grammar)
        return made

    return Call(asked, prompts, COMPLETION)


def _requests(
    asked: Asked,
    tokens: tuple[int, ...],
    limit: int | None,
    logprobs: int | None,
    grammar: "Grammar | None",
    calls: Callable[[], CallFinder] | None = None,
) -> list[GenerationRequest]:
    """Return one generation request for each requested answer to a prompt."""
    return [
        GenerationRequest(
            tokens,
            asked.parameters(logprobs, choice),
            limit,
            asked.min_tokens or 0,
            asked.stops,
            bool(asked.ignore_eos),
            asked.priority or DEFAULT_PRIORITY,
            constraint=grammar.copy() if grammar else None,
            calls=calls() if calls else None,
        )
        for choice in range(asked.choices)
    ]


def _grammar(asked: Asked, language: "LanguageModel") -> "Grammar | None":
    """Return the grammar of the requested form, if one is requested.

    Raises:
        InputRejected: the requested form is not usable.
    """
    return language.grammars.grammar(asked.form) if asked.form else None


def _syntax(model: str, language: "LanguageModel") -> "ToolSyntax":
    """Return the syntax of calls in the model's chat template.

    Raises:
        BadArgument: the model's chat template does not support tools.
    """
    if language.template is None or language.template.tools is None:
        raise BadArgument(
            f'tools: the chat template of model "{model}" does not support tools', "tools"
        )
    return language.template.tools


def _finder(asked: Asked, tools: Tools, syntax: "ToolSyntax") -> Callable[[], CallFinder]:
    """Return a function that makes the finder of the calls in one answer."""
    from service.engine.generation.tool_parser import ToolParser

    names = [function.name for function in tools.functions]
    or_object = asked.form is not None and tools.choice is ToolChoice.AUTO
    return partial(
        ToolParser,
        syntax,
        names,
        or_object=or_object,
        single=not tools.parallel,
        required=tools.choice is ToolChoice.REQUIRED,
    )


def _of_calls(asked: Asked, tools: Tools, language: "LanguageModel") -> "Grammar | None":
    """Return the grammar of answers that may call functions; None if they need not and may be any
    text. An answer that must be a call does not have the requested form.

    Raises:
        BadArgument: the schema of a function is not usable, or calls cannot be told from answers of
            the requested form.
    """
    from service.engine.generation.tool_syntax import form_of, told_apart

    syntax = _syntax(asked.model, language)
    required = tools.choice is ToolChoice.REQUIRED
    form = None if required else asked.form
    if form is None and not required:
        return None
    if form is not None and not told_apart(syntax, form):
        raise _not_told_apart(asked.model)

    def made(some: Tools) -> "Grammar":
        return language.grammars.grammar(form_of(syntax, some, language.tokenizer.token, form))

    try:
        return made(tools)
    except InputRejected as error:
        for function in tools.functions:  # find the function that causes the error
            try:
                made(replace(tools, functions=(function,)))
            except InputRejected as own:
                key = f"tools.{function.place}.function.parameters"
                raise BadArgument(f"{key}: {own}", key) from None
        raise BadArgument(f"tools: {error}", "tools") from None


def _not_told_apart(model: str) -> BadArgument:
    return BadArgument(
        f'response_format: model "{model}" writes calls as JSON without a mark, or as a list, which'
        ' cannot be told from other answers in this form: set "tool_choice" to "none" for such an'
        ' answer, or to "required" or a function for a call',
        "response_format",
    )


def _no_template(model: str) -> InputRejected:
    return InputRejected(
        f'model "{model}" has no chat template (chat_template.jinja): use /v1/completions'
    )
