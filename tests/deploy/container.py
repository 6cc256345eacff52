"""One container as users run it: with their own models, and with little memory."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.deploy.engine import IMAGE, KEY, docker, state
from tests.deploy.image import LOCKED, ready
from tests.deploy.load import until
from tests.deploy.prometheus import free_port
from tests.engine import graphs
from tests.system.process import ROOT

USER, OWNER = 10001, 1000


def check_own_models(report: dict[str, str]) -> None:
    """Check that a folder of another owner is served, with a warning that names the owner."""
    with digits_of(OWNER) as folder:
        volume = ("--volume", f"{folder}:/models")
        with served(*volume) as (name, port):
            told = warned(name)
            for part in ("cannot be written: /models", "runs as uid 10001", f"uid {OWNER}"):
                assert part in told, told
            status, text = swap(port, 1)
            assert status == 409 and "EACCES" in text and "chown -R 10001 /models" in text, text
        with served(*volume, "--user", f"{OWNER}:0") as (name, port):
            assert "cannot be written" not in warned(name)
            status, text = swap(port, 1)
            assert status == 200 and '"persisted":true' in text, text
        with served("--volume", f"{folder}:/models:ro", "--env", "QUANTSERVE_NO_PIN=true") as (
            _, port,
        ):  # fmt: skip
            status, text = swap(port, 2)
            assert status == 200 and '"persisted":false' in text, text
    report["models of another owner"] = "are served; a swap is refused, or as their owner taken"


def check_memory(report: dict[str, str]) -> None:
    """Check that swaps without enough memory are refused, and that the server is not killed."""
    for limit in ("128m", "160m"):
        memory = ("--memory", limit, "--memory-swap", limit)
        with digits_of(USER) as folder, served("--volume", f"{folder}:/models", *memory) as (
            name, port,
        ):  # fmt: skip
            answers = [swap(port, version) for version in (1, 2, 1, 2, 1)]
            graphs.save(graphs.linear(1024, 1024, 8192), folder / "digits", 3)  # 64 MB
            status, text = swap(port, 3)
            assert status == 409 and "bytes of the process with the version's files" in text, text
            found = state(name)
            assert found["State"]["OOMKilled"] is False and found["RestartCount"] == 0, found  # type: ignore[index]
            assert {status for status, _ in answers} <= {200, 409}
            assert all("bytes" in text for status, text in answers if status == 409), answers
        refused = sum(status == 409 for status, _ in answers)
        report[f"swaps with {limit} of memory"] = (
            f"{refused} of {len(answers)} refused, none killed"
        )


@contextmanager
def digits_of(owner: int) -> Iterator[Path]:
    """Create a folder with the digits, owned by a given user, as a volume may be mounted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "models/digits", folder / "digits")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner)
        yield folder


@contextmanager
def served(*flags: str) -> Iterator[tuple[str, int]]:
    """Start a container and wait until it is ready; yield its name and port."""
    port, network = free_port(), f"quantserve-test-{free_port()}"
    docker("network", "create", network)
    name = ""
    try:
        publish = ("--publish", f"127.0.0.1:{port}:8000", "--env", f"QUANTSERVE_ADMIN_KEY={KEY}")
        run = ("run", "--detach", "--network", network, *publish, *LOCKED, *flags, IMAGE)
        name = docker(*run).splitlines()[-1]
        until(lambda: ready(port), 60, "ready")
        yield name, port
    finally:
        if name:
            docker("rm", "--force", "--volumes", name)
        docker("network", "rm", network)


def warned(name: str) -> str:
    """Return the warnings that a server has logged."""
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
    return "\n".join(line for line in done.stderr.splitlines() if '"warning"' in line)


def swap(port: int, version: int) -> tuple[int, str]:
    """Swap; return the status and text of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    body = f'{{"version": {version}}}'
    connection.request("POST", "/admin/models/digits/swap", body, {"X-API-Key": KEY})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
