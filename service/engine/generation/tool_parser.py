"""Parser of function calls in the text of an answer, piece by piece. Pure.

A text is a call once the name of an offered function and the beginning of its arguments are known.
From there on the arguments are returned as they arrive, exactly as the model writes them. Whatever
follows, the call remains a call: a client has received its beginning.
"""

from collections.abc import Iterable

from service.core.generation import CallPiece, Parsed
from service.engine.generation.json_reader import JsonReader, Reading, Unreadable
from service.engine.generation.tool_syntax import ToolSyntax

KEYS = ("arguments", "parameters")
"""Models that were trained on one key sometimes write the other."""


class ToolParser:
    """Divides one answer into text and calls. Text that only looks like a call, or names a function
    that was not offered, stays text. The result does not depend on the pieces. ``or_object`` is
    True if the answer may be another object in JSON. With ``single``, the answer ends after its
    first call, and what follows the call is left out. With ``required``, the answer has no text:
    what is not a call is the beginning of a call that was cut, and is left out."""

    def __init__(
        self,
        syntax: ToolSyntax,
        names: Iterable[str],
        *,
        or_object: bool = False,
        single: bool = False,
        required: bool = False,
    ) -> None:
        self._syntax = syntax
        self._names = frozenset(names)
        # Such an object is told from calls that are a list even if the mark is a special token,
        # which is no part of the text.
        self._only_listed = or_object and syntax.listed
        self._single = single
        self._required = required
        # All state: the text that was not read yet, and how far it is understood; the number of
        # calls; whether the answer is over; whether the object that is read is a call; whether its
        # arguments are being read; whether only white space came since a call; white space at the
        # beginning, which may come before a call; and what the current piece adds.
        self._reader = JsonReader()
        self._reading = self._tagged() if syntax.end else self._bare()
        self.told = 0
        self.over = False
        self._is_call = False
        self._in_arguments = False
        self._behind_call = False
        self._leading: str | None = ""
        self._text: list[str] = []
        self._calls: list[CallPiece] = []

    def push(self, text: str) -> Parsed:
        """Add a piece of the answer."""
        self._reader.push(text)
        return self._go_on()

    def flush(self) -> Parsed:
        """Return the rest at the end of the answer."""
        self._reader.over = True
        found = self._go_on()
        blank, self._leading = self._leading, None
        return found._replace(text=blank + found.text) if blank else found

    def _go_on(self) -> Parsed:
        next(self._reading, None)
        if self._in_arguments:
            self._add(self._reader.take())
        found = Parsed("".join(self._text), tuple(self._calls))
        self._text, self._calls = [], []
        return found

    def _tagged(self) -> Reading[None]:
        """Read an answer in which each call is between two marks."""
        while (yield from self._to_mark()):
            before = self.told
            yield from self._body()
            if self.over:
                return
            if self.told > before:
                yield from self._end_mark()

    def _bare(self) -> Reading[None]:
        """Read an answer in which calls are possible only at its beginning."""
        yield from self._body(self._syntax.begin)
        while not self.over:
            self._show(self._reader.take_all())
            if self._reader.over:
                return
            yield

    def _to_mark(self) -> Reading[bool]:
        """Return the text before the next call to the client, and read the mark that begins the
        call. Return False at the end of the answer."""
        reader, mark = self._reader, self._syntax.begin
        while not (found := reader.stop_at(mark)) and not reader.over:
            self._show(reader.take())
            yield
        self._show(reader.take() if found else reader.take_all())
        if found:
            reader.at += len(mark)
        return found

    def _end_mark(self) -> Reading[None]:
        """Move over the mark that ends a call, even if the end of the answer has cut it."""
        try:
            yield from self._reader.next()
            yield from self._reader.literal(self._syntax.end)
        except Unreadable:
            pass
        self._reader.take()

    def _body(self, mark: str = "") -> Reading[None]:
        """Read the calls that come next, perhaps after a mark. What is not a call is text."""
        self._is_call = False
        try:
            yield from self._reader.next()
            yield from self._reader.literal(mark)
            yield from self._objects()
        except Unreadable:
            pass
        self.over = self._single and self.told > 0
        rest = self._reader.take()
        if not (self._is_call or self.over):
            self._show(rest)

    def _objects(self) -> Reading[None]:
        """Read a call, or a list of calls.

        Raises:
            Unreadable: what follows the last call is not a call.
        """
        yield from self._reader.next()
        listed = yield from self._reader.literal("[")
        if self._only_listed and not listed:
            raise Unreadable
        yield from self._object()
        while listed and not self._single and (yield from self._reader.next()) == ",":
            self._reader.take()
            self._reader.at += 1
            yield from self._object()
        if listed and not self._single:
            yield from self._reader.expect("]")

    def _object(self) -> Reading[None]:
        """Read an object with a name and arguments, in any order.

        Raises:
            Unreadable: it is not a complete object, or it calls no offered function.
        """
        reader = self._reader
        self._is_call = False
        name: str | None = None
        arguments: str | None = None
        yield from reader.expect("{")
        while (yield from reader.next()) == '"':
            key = yield from reader.string()
            yield from reader.expect(":")
            first = yield from reader.next()
            if self._is_call or (key != "name" and key not in KEYS):
                yield from reader.skip()
            elif key == "name":
                name = yield from self._name()
            elif name is not None and first == "{":
                yield from self._pass_on(name)
            else:
                arguments = yield from self._held_arguments()
            if not self._is_call and name is not None and arguments is not None:
                self._begin(name, arguments)
            if (yield from reader.next()) != ",":
                break
            reader.at += 1
        yield from reader.expect("}")
        if not self._is_call:
            if name is None:
                raise Unreadable
            self._begin(name, "{}")

    def _name(self) -> Reading[str]:
        name = yield from self._reader.string()
        if name not in self._names:
            raise Unreadable
        return name

    def _held_arguments(self) -> Reading[str]:
        """Read arguments that can only be returned as a whole: the name of the function comes
        later, or the arguments are JSON text in a string, as some models write them."""
        first = yield from self._reader.next()
        if first == "{":
            return (yield from self._reader.value())
        return (yield from self._reader.string())

    def _pass_on(self, name: str) -> Reading[None]:
        """Read the arguments of a call, and return each part as it arrives."""
        self._reader.take()
        self._begin(name)
        self._in_arguments = True
        try:
            yield from self._reader.skip()
        finally:
            self._in_arguments = False
            self._add(self._reader.take())

    def _begin(self, name: str, arguments: str = "") -> None:
        self._calls.append(CallPiece(self.told, name=name))
        self.told += 1
        self._leading = None
        self._is_call = self._behind_call = True
        self._add(arguments)

    def _add(self, arguments: str) -> None:
        if arguments:
            self._calls.append(CallPiece(self.told - 1, arguments))

    def _show(self, text: str) -> None:
        """Add text, without white space after a call or before the first one."""
        if self._required:
            return
        if self._behind_call:
            text = text.lstrip()
            self._behind_call = not text
        elif self._leading is not None:
            text = self._leading + text
            self._leading = None if text.strip() else text
            if self._leading is not None:
                return
        self._text.append(text)
