"""An argument parser whose errors are one line, like those of other settings."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that prints errors without usage. Subparsers have the same class."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with code 2, as for all invalid settings."""
        self.exit(2, f"quantserve: {message}; see {self.prog} --help\n")
