"""Files inside packages that are installed without what they depend on, hence never imported."""

import importlib.util
from pathlib import Path

import pytest

INSTALL = "pip install --no-deps -r tests/requirements.txt"


def file_of(package: str, *path: str) -> Path:
    """A file of a package; skips the test where it is not installed, and says what to do."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs {package}: {INSTALL}")
    return Path(spec.origin).parent.joinpath(*path)
