"""Loads user functions given as ``module:function``, from the working directory."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def user_function(spec: str) -> Iterator[Callable[..., Any]]:
    """The function. Its own imports are resolved as well until the context exits.

    Raises:
        Exception: whatever importing it raises.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield getattr(importlib.import_module(module), name)
    finally:
        sys.path.pop(0)
