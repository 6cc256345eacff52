"""The server conforms to its OpenAPI document, tested with generated requests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repositories import put, scale
from tests.system.process import KEY, ROOT, Running, running

CONFIG = "tests/system/schemathesis.toml"
COMMAND = [
    sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run",
    "--phases", "examples,coverage,fuzzing", "--generation-deterministic",
    "--max-examples", "10", "--max-failures", "20", "--request-timeout", "10", "--no-color",
    "--header", f"Authorization: Bearer {KEY}",
]  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    for name, version in (("m", 1), ("m", 2), ("other", 1)):
        put(tmp_path / "models", name, version, scale(version))
    with running(tmp_path / "models", "--body-timeout", "5") as each:
        yield each


def test_the_server_conforms_to_its_openapi_document(served: Running, tmp_path: Path) -> None:
    if shutil.which("schemathesis", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("schemathesis is not installed")
    done = subprocess.run(
        [*COMMAND, f"http://{served.address}/openapi.json"],
        cwd=ROOT,
        env={**os.environ, "SCHEMATHESIS_HOME": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Tested: 3" in done.stdout  # thirty and more operations
    assert not [line for line in served.logged() if line["level"] == "error"]
