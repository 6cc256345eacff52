"""NaN and infinity in the JSON of inference: bare tokens, as Triton and TensorFlow Serving read and
write them, or null for clients whose JSON readers are strict. Pure.

Source: https://rapidjson.org/md_doc_dom.html (kParseNanAndInfFlag), Python's json module.
"""

import secrets
from collections.abc import Iterator, Mapping
from itertools import chain
from math import inf, nan
from typing import Any

import numpy as np
import orjson

from service.core.errors import MalformedRequest
from service.core.requests import NonFinite
from service.core.tensors import Array

Bytes = bytes | bytearray
PARAMETER = "non_finite"
NAN, PLUS, MINUS = b"NaN", b"Infinity", b"-Infinity"
QUOTE = b'"'[0]
PIECE = 2**20
"""Bytes that are looked at together."""
CHARACTERS = "\x7f" + "".join(c for c in map(chr, range(0x7E, 0x1F, -1)) if c not in '"\\/')
"""Those that a JSON string may hold as they are, the least used one first."""
NESTED = frozenset({dict, list})


def loads(document: Bytes | memoryview) -> Any:
    """JSON that may hold the three tokens in place of numbers.

    orjson alone decides what is valid: a second parser would disagree on depth, large integers,
    surrogates and UTF-8. The tokens become strings that the body does not hold, and these numbers.

    Raises:
        orjson.JSONDecodeError: it is not valid, apart from the tokens.
    """
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        body = bytes(document)
        if NAN not in body and PLUS not in body:
            raise
    marks = _marks(body)
    numbers = {marks[NAN]: nan, marks[PLUS]: inf, marks[MINUS]: -inf}
    return _with_numbers(orjson.loads(_marked(body, marks)), numbers)


def _marks(body: bytes) -> dict[bytes, str]:
    """For each token the contents of a string that the body does not hold; with its quotes as long
    as the token, so that the places in error messages are those of the body.

    Raises:
        MalformedRequest: the body holds all characters as strings of one.
    """
    single = next((c for c in CHARACTERS if not any(s in body for s in _spellings(c))), None)
    if single is None:
        raise MalformedRequest("NaN beside strings of every character: send null, or binary data")
    return {NAN: single, PLUS: _unused(6, body), MINUS: _unused(7, body)}


def _unused(length: int, body: bytes) -> str:
    """Random digits: a client could only send them escaped, if it could guess them."""
    while True:
        text = secrets.token_hex(4)[:length]
        if f'"{text}"'.encode() not in body:
            return text


def _spellings(character: str) -> list[bytes]:
    """The ways to write the string of one character in JSON."""
    code = f"{ord(character):04x}"
    return [f'"{text}"'.encode() for text in (character, f"\\u{code}", f"\\u{code.upper()}")]


def _marked(body: bytes, marks: Mapping[bytes, str]) -> memoryview:
    """The body with a string in the place of each token that is not part of a string."""
    text = np.frombuffer(body, np.uint8).copy()
    for start, within in in_strings(body, ahead=len(MINUS)):
        piece = text[start : start + len(within)]
        for token in (MINUS, PLUS, NAN):  # the longest first: one ends with another
            found = _starts(piece, token)
            places = np.flatnonzero(found & ~within[: len(found)])
            for offset, byte in enumerate(f'"{marks[token]}"'.encode()):
                piece[places + offset] = byte
    return text.data


def _starts(text: Array, token: bytes) -> Array:
    """Where a token begins."""
    count = max(0, len(text) - len(token) + 1)
    found = np.ones(count, np.bool_)
    for offset, byte in enumerate(token):
        found &= text[offset : offset + count] == byte
    return found


def in_strings(body: bytes, ahead: int = 0) -> Iterator[tuple[int, Array]]:
    """Which bytes of a JSON document are in a string, after an odd number of quotes: piece by piece
    with the place where it starts, since the whole would take a multiple of the body's memory.
    Each piece goes so many bytes ``ahead`` into the next one.
    """
    # In a run of backslashes, each second one is escaped by the one before it.
    plain = body.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    quotes, inside = np.frombuffer(plain, np.uint8), False
    for start in range(0, len(quotes), PIECE):
        within = np.logical_xor.accumulate(quotes[start : start + PIECE + ahead] == QUOTE)
        if inside:
            np.logical_not(within, out=within)
        yield start, within
        inside = bool(within[min(PIECE, len(within)) - 1])


def _with_numbers(message: Any, numbers: Mapping[str, float]) -> Any:
    """The message with numbers in the place of marks, changed where it is.

    Without recursion: orjson reads documents that are deeper than Python's stack.
    """
    whole = [message]
    parts: list[Any] = [whole]
    while parts:
        part = parts.pop()
        if type(part) is dict:
            if not numbers.keys().isdisjoint(part):
                raise orjson.JSONDecodeError("key must be a string", "", 0)
            parts += [value for value in part.values() if type(value) in NESTED]
            part.update({k: numbers.get(v, v) for k, v in part.items() if type(v) is str})
            continue
        kinds = set(map(type, part))
        if kinds == {list} and NESTED.isdisjoint(
            below := set(map(type, chain.from_iterable(part)))
        ):
            # Rows of values, of which there may be millions.
            if str in below:
                for row in part:
                    row[:] = map(numbers.get, row, row)
        elif not NESTED.isdisjoint(kinds):
            parts += [value for value in part if type(value) in NESTED]
            part[:] = [numbers.get(v, v) if type(v) is str else v for v in part]
        elif str in kinds:
            part[:] = map(numbers.get, part, part)
    return whole[0]


def asked(parameters: Any) -> NonFinite | None:
    """How a request's parameters want non-finite numbers to be written; None for the default.

    Raises:
        MalformedRequest: there is no such way.
    """
    value = parameters.get(PARAMETER) if type(parameters) is dict else None
    if value is None or value == "literal" or value == "null":
        return value
    raise MalformedRequest(
        f'parameter "{PARAMETER}" must be "literal" or "null", got {value!r:.40}'
    )


def is_strange(values: Any) -> bool:
    """Whether it is an array of floats that are not all finite."""
    return type(values) is np.ndarray and values.dtype.kind == "f" and not np.isfinite(values).all()


def literal(values: Array, nested: bool = False) -> orjson.Fragment:
    """An array of floats with tokens for those that are not finite: flat with numbers as short as
    their datatype allows; or ``nested`` in lists as its shape says, with numbers as doubles."""
    flat = np.asarray(values).reshape(-1)
    shown = values.tolist() if nested else flat
    text = orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY)
    strange = flat[~np.isfinite(flat)]  # in the order in which orjson wrote null for them
    names = np.where(np.isnan(strange), 0, np.where(strange > 0, 1, 2))
    tokens = (b"NaN", b"Infinity", b"-Infinity")
    if len(found := np.unique(names)) == 1:
        return orjson.Fragment(text.replace(b"null", tokens[found[0]]))
    pieces = text.split(b"null")
    spelled = [b""] * (2 * len(pieces) - 1)
    spelled[::2] = pieces
    spelled[1::2] = [tokens[name] for name in names.tolist()]
    return orjson.Fragment(b"".join(spelled))
