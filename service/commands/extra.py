"""What the commands need that serving does not, and how they print what they found."""

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
    """Say what to install where it is missing.

    Raises:
        ConfigError: it is.
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
    """Print what was found, for people or for programs."""
    tell(dumps(values, indent=1) if as_json else text)


def tell(text: str) -> None:
    """Print; a reader that closes the pipe is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
