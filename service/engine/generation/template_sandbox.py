"""Jinja's sandbox with limits. A template comes with a model and is not trusted: it must not use
memory or time without limit. For the same reason Jinja does not evaluate constants when it
compiles.
"""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock, Timer, get_ident
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_TEXT = 64 * 2**20
"""Characters of any text that a template creates."""
MOST_NUMBER = 10**6
"""The largest integer that may be an argument of a filter or method, and the largest number of bits
of a computed integer."""
WIDTHS = re.compile(r"\d{7}|%[^a-zA-Z%]*\*")
"""A field of a format whose width is at least 10**6, or an argument."""
GROWING = frozenset({"replace", "join", "translate", "format_map"})


class TooMuch(TemplateError):
    """The template takes too long, or creates a value that is too large."""

    def __init__(self) -> None:
        super().__init__("it takes too long, or creates a value that is too large")


class _Generator(CodeGenerator):
    """A code generator that calls the environment to join texts."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.joined((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox in which chat templates run."""

    code_generator_class = _Generator

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], optimized=False
        )
        self.intercepted_binops = frozenset({"*", "**", "%", "+"})
        self.filters = {name: _bounded(each, name) for name, each in self.filters.items()}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Run an operation whose result may be much larger than its operands."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check(left.bit_length() * abs(right) <= MOST_NUMBER)
        elif operator == "*" and isinstance(left, int) and isinstance(right, int):
            _check(left.bit_length() + right.bit_length() <= MOST_NUMBER)
        elif operator == "*":
            _check(_size(left) * _size(right) <= MOST_TEXT)
        elif operator == "+":
            _check(_length(left) + _length(right) <= MOST_TEXT)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, *args: Any, **named: Any) -> Any:
        """Call a function or method, after a check of its arguments."""
        inner = getattr(called, "__wrapped__", called)  # str.format, which the sandbox wraps
        owner, name = getattr(inner, "__self__", None), getattr(inner, "__name__", "")
        if isinstance(owner, str | bytes | int | list | tuple):
            _check_arguments(name, (owner, *args), tuple(named.values()))
        return super().call(context, called, *args, **named)

    def joined(self, parts: tuple[Any, ...]) -> str:
        """Join texts, as the operator ``~`` does."""
        texts = [str(each) for each in parts]
        _check(sum(map(len, texts)) <= MOST_TEXT)
        return "".join(texts)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of the block, in seconds. It must run in the thread that entered it.

    Raises:
        TooMuch: the time is over.
    """
    guard = _Guard(get_ident())
    timer = Timer(seconds, guard.end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        guard.over()


class _Guard:
    """Raises ``TooMuch`` in a thread, unless the thread has left the block."""

    def __init__(self, thread: int) -> None:
        self._thread = ctypes.c_ulong(thread)
        self._lock = Lock()
        self._over = self._raised = False

    def end(self) -> None:
        """Raise ``TooMuch`` at the thread's next instruction."""
        with self._lock:
            if not self._over:
                self._raised = True
                self._set(ctypes.py_object(TooMuch))

    def over(self) -> None:
        """Record that the time-limited block has ended in its thread."""
        with self._lock:
            self._over = True
            if self._raised:  # the exception may still be pending
                self._set(None)

    def _set(self, error: "ctypes.py_object[type[TooMuch]] | None") -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, error)


def _bounded(called: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(called)
    def checked(*args: Any, **named: Any) -> Any:
        _check_arguments(name, args, tuple(named.values()))
        return called(*args, **named)

    return checked


def _check_arguments(name: str, args: tuple[Any, ...], named: tuple[Any, ...]) -> None:
    given = (*args, *named)
    # The object of the filter or method may be any number: only widths and counts make texts long.
    _check(all(abs(each) <= MOST_NUMBER for each in given[1:] if isinstance(each, int)))
    if name in GROWING:
        sizes = sorted((_content(each) for each in given), reverse=True)
        _check((sizes[0] + 1) * (sum(sizes[1:]) + 1) <= 16 * MOST_TEXT)
    elif name in ("format", "__mod__"):
        for each in given:
            if isinstance(each, str):
                _check_format(each)


def _content(value: Any) -> int:
    """Return the characters of a text, or of all texts of a list."""
    if isinstance(value, list | tuple):
        return len(value) + sum(_length(each) for each in value)
    return _length(value)


def _check_format(text: str) -> None:
    _check(WIDTHS.search(text) is None)


def _size(value: Any) -> int:
    """Return a factor of the size of a product: a count, or the length of the repeated value."""
    return max(0, value) if isinstance(value, int) else max(1, _length(value))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _check(fits: bool) -> None:
    if not fits:
        raise TooMuch
