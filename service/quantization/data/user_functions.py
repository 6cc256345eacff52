"""Functions of the user's own, ``module:function``, found from where the command was given."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def user_function(spec: str) -> Iterator[Callable[..., Any]]:
    """The function; what it imports later is found as well, for as long as the context lasts.

    Raises:
        Exception: whatever importing it raises.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield getattr(importlib.import_module(module), name)
    finally:
        sys.path.pop(0)
