"""One server for all tests that need no other models than the shipped ones."""

from collections.abc import Iterator

import pytest

from tests.system.process import running


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """host:port of a server with the shipped models."""
    with running() as process:
        yield process.address
