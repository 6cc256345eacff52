"""NaN and infinity in the JSON of inference: bare tokens, as Triton and TensorFlow Serving read and
write them, or null for clients with strict JSON parsers. No I/O.

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
"""Bytes that are processed at once."""
CHARACTERS = "\x7f" + "".join(c for c in map(chr, range(0x7E, 0x1F, -1)) if c not in '"\\/')
"""Characters that a JSON string may have without an escape, the least used first."""
NESTED = frozenset({dict, list})


def loads(document: Bytes | memoryview) -> Any:
    """Parse JSON that may have the three tokens in place of numbers.

    Only orjson decides what is valid, because a second parser would differ in depth, large
    integers, surrogates and UTF-8. The tokens are replaced by strings that the body does not have.
    After parsing, these strings are replaced by numbers.

    Raises:
        orjson.JSONDecodeError: the document is not valid JSON, apart from the tokens.
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
    """Return for each token a string that the body does not have. With its quotes, it has the
    length of the token, so that positions in error messages are positions in the body.

    Raises:
        MalformedRequest: the body has every character as a string of length one.
    """
    single = next((c for c in CHARACTERS if not any(s in body for s in _spellings(c))), None)
    if single is None:
        raise MalformedRequest(
            "NaN together with strings of every character: send null, or binary data"
        )
    return {NAN: single, PLUS: _unused(6, body), MINUS: _unused(7, body)}


def _unused(length: int, body: bytes) -> str:
    """Return random digits that are not a string in the body. A client could only send the same
    digits escaped, and it would have to guess them."""
    while True:
        text = secrets.token_hex(4)[:length]
        if f'"{text}"'.encode() not in body:
            return text


def _spellings(character: str) -> list[bytes]:
    """Return the ways to write a string of one character in JSON."""
    code = f"{ord(character):04x}"
    return [f'"{text}"'.encode() for text in (character, f"\\u{code}", f"\\u{code.upper()}")]


def _marked(body: bytes, marks: Mapping[bytes, str]) -> memoryview:
    """Return the body with a string in place of each token outside of strings."""
    text = np.frombuffer(body, np.uint8).copy()
    for start, within in in_strings(body, ahead=len(MINUS)):
        piece = text[start : start + len(within)]
        for token in (MINUS, PLUS, NAN):  # the longest first: -Infinity ends with Infinity
            found = _starts(piece, token)
            places = np.flatnonzero(found & ~within[: len(found)])
            for offset, byte in enumerate(f'"{marks[token]}"'.encode()):
                piece[places + offset] = byte
    return text.data


def _starts(text: Array, token: bytes) -> Array:
    """Return True for each position at which a token begins."""
    count = max(0, len(text) - len(token) + 1)
    found = np.ones(count, np.bool_)
    for offset, byte in enumerate(token):
        found &= text[offset : offset + count] == byte
    return found


def in_strings(body: bytes, ahead: int = 0) -> Iterator[tuple[int, Array]]:
    """Yield, piece by piece, the position of the piece and True for each byte within a string.

    A byte is within a string after an odd number of quotes. The whole document at once would need
    several times the memory of the body. Each piece includes ``ahead`` bytes of the next piece.
    """
    # In a sequence of backslashes, each second backslash is escaped by the one before it.
    plain = body.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    quotes, inside = np.frombuffer(plain, np.uint8), False
    for start in range(0, len(quotes), PIECE):
        within = np.logical_xor.accumulate(quotes[start : start + PIECE + ahead] == QUOTE)
        if inside:
            np.logical_not(within, out=within)
        yield start, within
        inside = bool(within[min(PIECE, len(within)) - 1])


def _with_numbers(message: Any, numbers: Mapping[str, float]) -> Any:
    """Replace marks by numbers in the message, in place.

    Without recursion, because orjson accepts documents that are deeper than Python's stack.
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
            # Rows of values: there may be millions of rows.
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
    """Return the form of non-finite numbers that a request's parameters ask for; None for the
    default.

    Raises:
        MalformedRequest: the parameter has another value than "literal" or "null".
    """
    value = parameters.get(PARAMETER) if type(parameters) is dict else None
    if value is None or value == "literal" or value == "null":
        return value
    raise MalformedRequest(
        f'parameter "{PARAMETER}" must be "literal" or "null", got {value!r:.40}'
    )


def is_strange(values: Any) -> bool:
    """Return True if ``values`` is an array of floats that are not all finite."""
    return type(values) is np.ndarray and values.dtype.kind == "f" and not np.isfinite(values).all()


def literal(values: Array, nested: bool = False) -> orjson.Fragment:
    """Return an array of floats as JSON, with tokens for NaN and infinity. It is flat, with numbers
    as short as the datatype allows; or ``nested`` as in its shape, with numbers as doubles."""
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
