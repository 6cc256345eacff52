"""Files inside packages that are installed without what they depend on, hence never imported."""

import importlib.util
from pathlib import Path

from tests.parts import DATA


def file_of(package: str, *path: str) -> Path:
    """A file of a package; skips the test where it is not installed."""
    spec = importlib.util.find_spec(package)
    DATA.need(spec and spec.origin)
    assert spec and spec.origin
    return Path(spec.origin).parent.joinpath(*path)
