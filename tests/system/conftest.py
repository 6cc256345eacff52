"""Servers that several tests share."""

from collections.abc import Iterator

import pytest

from tests import tiny_models
from tests.system.process import BODY_SECONDS, ROOT, Running, running


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """host:port."""
    with running(ROOT / "models") as each:
        yield each.address


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of tiny models with strict limits: bodies of 1 MiB, received within two seconds."""
    models = tmp_path_factory.mktemp("attacked")
    for datatype in tiny_models.DATATYPES:
        tiny_models.identity(models, datatype)
    tiny_models.limited(models)
    tiny_models.two(models)
    tiny_models.scalar(models)
    tiny_models.fixed(models)
    tiny_models.wide(models, 2**20)
    tiny_models.counting(models)
    flags = (
        "--max-body-bytes",
        str(2**20),
        "--body-timeout",
        str(BODY_SECONDS),
        "--shutdown-timeout",
        "5",
    )
    with running(models, *flags) as served:
        yield served
        # Nothing that clients did was worth a stack trace, or an error of the server.
        assert [line for line in served.logged() if line["level"] in ("error", "warning")] == []
