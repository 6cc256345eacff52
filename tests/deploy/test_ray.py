"""The Ray Serve application, started for real: two replicas, and predictions through them.

Ray binds every address of the machine, so it runs in a network namespace with loopback only,
which root can create.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import NAMESPACE, RAY, installed, namespaces_can_be_made
from tests.patience import PATIENCE
from tests.system.process import ROOT

SCRIPT = Path(__file__).with_name("ray_client.py")

pytestmark = [RAY.unless(installed("ray")), NAMESPACE.unless(namespaces_can_be_made())]


@pytest.fixture
def namespace() -> Iterator[list[str]]:
    """A command that runs others in a network namespace with loopback only."""
    name = f"quantserve-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a short name, because the names of Ray's sockets begin with it."""
    with tempfile.TemporaryDirectory(prefix="ray") as name:
        yield name


def test_two_replicas_predict(namespace: list[str], folder: str) -> None:
    given = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder, "HOME": folder}
    given |= {"QUANTSERVE_CORES": "1"}
    done = subprocess.run(
        [*namespace, sys.executable, str(SCRIPT)],
        cwd=ROOT,
        env={**os.environ, **given, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "2 replicas answered" in done.stdout
