"""The results of a search so far, one JSON line each, from which a stopped search resumes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Journal:
    """Results by key, each appended to a file immediately."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                self._read(line)

    def remember(self, key: str, kind: type[T], find: Callable[[], T]) -> T:
        """Return the stored result of a key. If there is none, call ``find`` and store its
        result."""
        adapter = TypeAdapter(kind)
        if key in self._known:
            return adapter.validate_python(self._known[key])
        value = find()
        self._known[key] = adapter.dump_python(value)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, self._known[key]], default=str) + "\n")
        return value

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def _read(self, line: str) -> None:
        try:
            key, value = json.loads(line)
        except ValueError:  # an incomplete last line: the search was killed while writing it
            return
        self._known[key] = value
