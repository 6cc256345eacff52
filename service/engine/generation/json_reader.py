"""JSON text that arrives in pieces, read in the order of the text. Pure.

A reading is a generator that yields whenever it needs the next piece. Brackets are counted and
strings are closed, but values are not checked: a piece must be passed on before its end is known.
"""

import json
import re
from collections.abc import Generator
from typing import TypeVar

from service.engine.generation.stops import overlap

T = TypeVar("T")
Reading = Generator[None, None, T]

WHITE = " \t\n\r"
STRUCTURE = re.compile(r'["{}\[\]]')
IN_STRING = re.compile(r'["\\]')
SCALAR = re.compile(r"[-+.\w]")


class Unreadable(Exception):
    """The text is not what was expected, or it ended."""


class JsonReader:
    """Reads text up to ``at``. Every reading moves ``at`` over the text that it has seen, so that
    no text is read twice."""

    def __init__(self) -> None:
        # All state: the text, the position up to which it was taken, the position up to which it
        # was read, and whether it has ended.
        self._text = ""
        self._begin = 0
        self.at = 0
        self.over = False

    def push(self, text: str) -> None:
        """Add a piece of the text."""
        self._text += text

    def take(self) -> str:
        """Return the text up to ``at`` that was not taken yet."""
        taken, self._begin = self._text[self._begin : self.at], self.at
        if 2 * self._begin > len(self._text):  # rarely, because the rest is copied
            self._text, self._begin, self.at = self._text[self._begin :], 0, 0
        return taken

    def take_all(self) -> str:
        """Return all text that has arrived and was not taken yet."""
        self.at = len(self._text)
        return self.take()

    def stop_at(self, mark: str) -> bool:
        """Move to the next ``mark``. If the mark has not arrived, move to the end of the text, or
        to its last characters that may begin the mark. Return True if the mark has arrived."""
        found = self._text.find(mark, self.at)
        if found < 0:
            tail = self._text[max(self.at, len(self._text) - len(mark)) :]
            self.at = len(self._text) - overlap(tail, mark)
            return False
        self.at = found
        return True

    def character(self) -> Reading[str]:
        """Return the next character without consuming it.

        Raises:
            Unreadable: the text has ended. Each other reading raises this too.
        """
        while self.at >= len(self._text):
            if self.over:
                raise Unreadable
            yield
        return self._text[self.at]

    def next(self) -> Reading[str]:
        """Skip white space, then return the next character without consuming it."""
        while (found := (yield from self.character())) in WHITE:
            self.at += 1
        return found

    def literal(self, text: str) -> Reading[bool]:
        """Move over ``text`` if it comes next. Return whether it does."""
        begin = self.at
        for character in text:
            if (yield from self.character()) != character:
                self.at = begin
                return False
            self.at += 1
        return True

    def expect(self, character: str) -> Reading[None]:
        """Move over a character, after white space.

        Raises:
            Unreadable: another character comes next.
        """
        if (yield from self.next()) != character:
            raise Unreadable
        self.at += 1

    def string(self) -> Reading[str]:
        """Read a string, and return its value.

        Raises:
            Unreadable: what comes next is not a string.
        """
        if (yield from self.next()) != '"':
            raise Unreadable
        try:
            found = json.loads((yield from self.value()))
            found.encode()  # half of a surrogate pair is not valid text
        except ValueError:
            raise Unreadable from None
        return str(found)

    def value(self) -> Reading[str]:
        """Read a value, and return its text. Take nothing meanwhile."""
        yield from self.next()
        begin = self.at
        yield from self.skip()
        return self._text[begin : self.at]

    def skip(self) -> Reading[None]:
        """Move over a value.

        Raises:
            Unreadable: what comes next is not a value.
        """
        if (yield from self.next()) not in '{["':
            yield from self._scalar()
            return
        depth = 0
        while True:
            found = yield from self._find(STRUCTURE)
            if found == '"':
                while (yield from self._find(IN_STRING)) == "\\":
                    yield from self.character()
                    self.at += 1
            else:
                depth += 1 if found in "{[" else -1
            if depth <= 0:
                return

    def _scalar(self) -> Reading[None]:
        if not SCALAR.match((yield from self.character())):
            raise Unreadable
        while SCALAR.match((yield from self.character())):
            self.at += 1

    def _find(self, pattern: re.Pattern[str]) -> Reading[str]:
        """Move behind the next character that matches, and return it."""
        while (found := pattern.search(self._text, self.at)) is None:
            self.at = len(self._text)
            yield from self.character()
        self.at = found.end()
        return found.group()
