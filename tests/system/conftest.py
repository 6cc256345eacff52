"""A real server with the shipped models, shared by the tests that do not change what it serves."""

from collections.abc import Iterator

import pytest

from tests.system.process import ROOT, running


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """host:port."""
    with running(ROOT / "models") as each:
        yield each.address
