"""Loads user functions given as ``module:function``, from the working directory."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def user_function(spec: str) -> Iterator[Callable[..., Any]]:
    """Import and yield the function. Its own imports are resolved too until the context exits.

    Raises:
        Exception: any exception of the import.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield getattr(importlib.import_module(module), name)
    finally:
        sys.path.pop(0)
