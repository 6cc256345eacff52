"""Protobuf's text format without a schema: messages as dicts, in which repeated fields are lists.

Strings, numbers, booleans and the names of enumerations have the same types as in JSON.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from typing import Any

from google.protobuf import text_format

from service.core.errors import ConfigError

MOST_NESTED = 32
BOOLEANS = {"true": True, "false": False}
CLOSING = {"{": "}", "<": ">"}


def parse(text: str, repeated: frozenset[str]) -> dict[str, Any]:
    """Parse a document. Fields whose names are in ``repeated`` are lists, even if they occur only
    once. If another field occurs several times, its last value counts, as in protobuf.

    Raises:
        ConfigError: the text is not in the format; the message has line and column.
    """
    tokens = text_format.Tokenizer(text.splitlines())
    try:
        return _message(tokens, "", repeated, 0)
    except text_format.ParseError as error:
        told = f"line {error}"  # contains the whole line, which may be long
        raise ConfigError(told if len(told) < 200 else f"{told[:80]} ... {told[-100:]}") from None


def _message(tokens: Any, end: str, repeated: frozenset[str], depth: int) -> dict[str, Any]:
    """Return the fields up to the bracket ``end``, or to the end of the text."""
    if depth > MOST_NESTED:
        raise tokens.ParseError(f"messages are nested more than {MOST_NESTED} deep")
    found: dict[str, Any] = {}
    while not (tokens.AtEnd() if not end else tokens.TryConsume(end)):
        if tokens.AtEnd():
            raise tokens.ParseError(f'expected "{end}", got the end of the file')
        name = tokens.ConsumeIdentifier()
        colon = tokens.TryConsume(":")
        values = _values(tokens, name, colon, repeated, depth)
        if name in repeated:
            found.setdefault(name, []).extend(values)
        elif values:
            found[name] = values[-1]
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")
    return found


def _values(tokens: Any, name: str, colon: bool, repeated: frozenset[str], depth: int) -> list[Any]:
    if not tokens.TryConsume("["):
        return [_value(tokens, name, colon, repeated, depth)]
    values: list[Any] = []
    while not tokens.TryConsume("]"):
        if values:
            tokens.Consume(",")
        values.append(_value(tokens, name, colon, repeated, depth))
    return values


def _value(tokens: Any, name: str, colon: bool, repeated: frozenset[str], depth: int) -> Any:
    for opening, closing in CLOSING.items():
        if tokens.TryConsume(opening):
            return _message(tokens, closing, repeated, depth + 1)
    if not colon:
        raise tokens.ParseError(f'expected ":" or "{{" after "{name}"')
    return _scalar(tokens)


def _scalar(tokens: Any) -> Any:
    if tokens.token[:1] in ("'", '"'):
        return tokens.ConsumeString()
    token: str = tokens.token
    if token in BOOLEANS:
        tokens.NextToken()
        return BOOLEANS[token]
    if token[:1].isalpha() and token.lower() not in ("inf", "infinity", "nan"):
        return tokens.ConsumeIdentifier()
    try:
        value: Any = int(token, 0)
    except ValueError:
        return tokens.ConsumeFloat()
    tokens.NextToken()
    return value
