"""Files of packages that are installed without their dependencies, and so are never imported."""

import importlib.util
from pathlib import Path

from tests.parts import DATA


def file_of(package: str, *path: str) -> Path:
    """Return a file of a package; skip the test if the package is not installed."""
    spec = importlib.util.find_spec(package)
    DATA.need(spec and spec.origin)
    assert spec and spec.origin
    return Path(spec.origin).parent.joinpath(*path)
