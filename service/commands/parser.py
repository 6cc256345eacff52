"""Reads the command line; what is wrong with it is one line, like every other wrong setting."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` without the usage before an error. Subparsers are of the same kind."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, the code for whatever is not usable as told."""
        self.exit(2, f"quantserve: {message}; see {self.prog} --help\n")
