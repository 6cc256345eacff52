"""Parser of function calls in the text of an answer, piece by piece. Pure."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from service.core.generation import ToolCall
from service.engine.generation.stops import Stops
from service.engine.generation.tool_syntax import ToolSyntax

KEYS = ("arguments", "parameters")
"""Models that were trained on one key sometimes write the other."""


class Parsed(NamedTuple):
    """The text and the calls that a piece of an answer adds."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()


class ToolParser:
    """Divides one answer into text and calls. A call is returned once it is complete. Text that
    only looks like a call, or names a function that was not offered, stays text."""

    def __init__(self, syntax: ToolSyntax, names: Iterable[str]) -> None:
        self._syntax = syntax
        self._names = frozenset(names)
        # All state: the number of returned calls; the text of an incomplete call, None outside a
        # call; the position up to which its end was searched; text that may be the beginning of a
        # mark; and whether only white space came since a call.
        self.told = 0
        self._held: str | None = None if syntax.end else ""
        self._tried = 0
        self._before = Stops([syntax.begin])
        self._behind_call = False

    def push(self, text: str) -> Parsed:
        """Add a piece of the answer."""
        return self._tagged(text) if self._syntax.end else self._bare(text)

    def flush(self) -> Parsed:
        """Return the rest at the end of the answer."""
        if not self._syntax.end:
            held, self._held = self._held, None
            return self._told(held or "")
        if self._held is None:
            return self._outside(self._before.flush())
        return Parsed(self._syntax.begin + self._held)

    def _tagged(self, text: str) -> Parsed:
        shown: list[str] = []
        calls: list[ToolCall] = []
        while True:
            if self._held is None:
                shown.append(self._outside(self._before.push(text)).text)
                if not self._before.found:
                    break
                text, self._held, self._tried = self._before.rest, "", 0
                self._before = Stops([self._syntax.begin])
            self._held += text
            found = self._first_call(self._held)
            if found is None:
                break
            call, text = found
            calls.append(call)
            self.told += 1
            self._held, self._behind_call = None, True
        return Parsed("".join(shown), tuple(calls))

    def _first_call(self, text: str) -> tuple[ToolCall, str] | None:
        """Return the call up to an end mark, and the text after it. An end mark may be part of an
        argument."""
        end = self._syntax.end
        while (at := text.find(end, self._tried)) >= 0:
            self._tried = at + len(end)
            found = self._calls(text[:at])
            if len(found) == 1:
                return found[0], text[at + len(end) :]
        self._tried = max(self._tried, len(text) - len(end) + 1)
        return None

    def _outside(self, text: str) -> Parsed:
        """Remove white space after a call."""
        if self._behind_call:
            text = text.lstrip()
            self._behind_call = not text
        return Parsed(text)

    def _bare(self, text: str) -> Parsed:
        if self._held is None:
            return Parsed(text)
        self._held += text
        start = self._held.lstrip()
        mark = self._syntax.begin
        if not start or start[0] in "{[" or (mark and mark.startswith(start[: len(mark)])):
            return Parsed()
        held, self._held = self._held, None
        return Parsed(held)

    def _told(self, text: str) -> Parsed:
        calls = self._calls(text.strip().removeprefix(self._syntax.begin))
        self.told += len(calls)
        return Parsed("", calls) if calls else Parsed(text)

    def _calls(self, text: str) -> tuple[ToolCall, ...]:
        """Return the calls of a text that has nothing but calls, else ()."""
        try:
            found = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return ()
        calls = [self._call(each) for each in (found if isinstance(found, list) else [found])]
        whole = tuple(call for call in calls if call is not None)
        return whole if len(whole) == len(calls) else ()

    def _call(self, found: Any) -> ToolCall | None:
        name = found.get("name") if isinstance(found, dict) else None
        if not isinstance(name, str) or name not in self._names:
            return None
        arguments: Any = next((found[key] for key in KEYS if key in found), {})
        text = _text(arguments)
        return None if text is None else ToolCall(name, text)


def _text(arguments: Any) -> str | None:
    """Return arguments as JSON text, in which form some models write them already; None if they
    cannot be written as JSON."""
    if not isinstance(arguments, dict | str):
        return None
    try:
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        arguments.encode()  # half of a surrogate pair is not valid text
    except ValueError:
        return None
    return str(arguments)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
