"""Errors for packages that serving does not need, and printing of results."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.core.errors import ConfigError
from service.core.figures import dumps
from service.quantization.extras import what_to_install


@contextmanager
def needing_extra() -> Iterator[None]:
    """Convert import errors of optional packages to errors that name the extra to install.

    Raises:
        ConfigError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (advice := what_to_install(error)):
            raise
        in_a_clone = advice.partition("'quantserve")[2]
        raise ConfigError(
            f"this command {advice}, or in a clone: pip install --editable '.{in_a_clone}"
        ) from None


def show(values: Any, text: str, as_json: bool) -> None:
    """Print results as JSON or as text."""
    tell(dumps(values, indent=1) if as_json else text)


def tell(text: str) -> None:
    """Print a text; a closed pipe is not an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # such as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
