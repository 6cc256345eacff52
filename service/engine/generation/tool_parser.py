"""Calls of functions in the text of an answer, found as it comes. Pure."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from service.core.generation import ToolCall
from service.engine.generation.stops import Stops
from service.engine.generation.tool_syntax import ToolSyntax

KEYS = ("arguments", "parameters")
"""Models trained on one write the other now and then."""


class Parsed(NamedTuple):
    """What a piece of an answer has brought."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()


class ToolParser:
    """Divides one answer into text and calls. A call is told once it is whole; what looks like one
    and is none, or names a function that was not offered, stays text."""

    def __init__(self, syntax: ToolSyntax, names: Iterable[str]) -> None:
        self._syntax = syntax
        self._names = frozenset(names)
        # All state: how many calls were told; what waits for the end of a call, None outside one,
        # and up to where it was looked for; what may be the beginning of a mark;
        # and whether nothing but space came since a call.
        self.told = 0
        self._held: str | None = None if syntax.end else ""
        self._tried = 0
        self._before = Stops([syntax.begin])
        self._behind_call = False

    def push(self, text: str) -> Parsed:
        """A piece of the answer."""
        return self._tagged(text) if self._syntax.end else self._bare(text)

    def flush(self) -> Parsed:
        """The answer is over."""
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
        """The call up to an end mark, and what follows. An end mark may be part of an argument."""
        end = self._syntax.end
        while (at := text.find(end, self._tried)) >= 0:
            self._tried = at + len(end)
            found = self._calls(text[:at])
            if len(found) == 1:
                return found[0], text[at + len(end) :]
        self._tried = max(self._tried, len(text) - len(end) + 1)
        return None

    def _outside(self, text: str) -> Parsed:
        """White space behind a call is no text."""
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
        """All calls of a text that is nothing else; none where it is anything else."""
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
    """Arguments as JSON text, in which some models give them; None where they have no such text."""
    if not isinstance(arguments, dict | str):
        return None
    try:
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        arguments.encode()  # half of a surrogate pair is no text
    except ValueError:
        return None
    return str(arguments)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
