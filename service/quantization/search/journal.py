"""The results of a search so far, one JSON line each; a search that was stopped resumes from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Journal:
    """Answers by key, on disk as soon as they are known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                self._read(line)

    def remember(self, key: str, kind: type[T], find: Callable[[], T]) -> T:
        """What is known under a key; found out, and written down, where nothing is."""
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
        except ValueError:  # the last line of a search that was killed while it wrote
            return
        self._known[key] = value
