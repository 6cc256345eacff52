"""Docker's command line: images, containers, and a separate Compose project."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.system.process import ROOT

IMAGE = "quantserve:local"
KEY = "only-for-this-test"


class CommandFailed(Exception):
    """A command of the engine failed; contains its output."""


def available() -> bool:
    """Return True if an engine answers."""
    return shutil.which("docker") is not None and not _run(["docker", "info"]).returncode


def docker(*arguments: str, seconds: float = 60) -> str:
    """Run ``docker``; return its output."""
    return _checked(["docker", *arguments], seconds)


def sizes() -> tuple[float, float]:
    """Return the uncompressed sizes of the image and of its base image, in MB."""
    base = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
    if _run(["docker", "image", "inspect", base]).returncode:
        docker("pull", "--quiet", base, seconds=600)  # BuildKit does not keep it as an image
    image, below = (
        int(docker("image", "inspect", name, "--format", "{{.Size}}")) / 1e6
        for name in (IMAGE, base)
    )
    return image, below


def stopped(container: str, *, grace: int = 30) -> int:
    """Stop a container; return its exit code, which is 137 if it had to be killed."""
    docker("stop", "--time", str(grace), container, seconds=grace + 30)
    return int(docker("inspect", container, "--format", "{{.State.ExitCode}}"))


@dataclass(frozen=True, slots=True)
class Stack:
    """docker-compose.yml as a separate project, on separate ports."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, seconds: float = 180) -> str:
        """Run ``docker compose``, with the profile ``scale`` known."""
        command = ["docker", "compose", "-p", self.name, "--profile", "scale", *arguments]
        return _checked(command, seconds, {**os.environ, **self.environment})

    def upgrade(self) -> str:
        """Run ``deploy/upgrade.sh``; return its output."""
        command = [str(ROOT / "deploy/upgrade.sh"), "-p", self.name]
        return _checked(command, 300, {**os.environ, **self.environment})

    def containers(self, service: str) -> list[str]:
        """Return the running containers of a service."""
        return self.compose("ps", "-q", service).split()


@contextmanager
def stack(name: str, ports: dict[str, int]) -> Iterator[Stack]:
    """Yield a stack, and remove all of it at the end."""
    given = {key: str(port) for key, port in ports.items()}
    each = Stack(name, {**given, "QUANTSERVE_ADMIN_KEY": KEY, "SERVER_IMAGE": IMAGE})
    try:
        yield each
    finally:
        each.compose("down", "--volumes", "--timeout", "20")


def grafana_there() -> bool:
    """Return True if Grafana's image is available or can be pulled."""
    image = os.environ.get("GRAFANA_IMAGE")
    return (
        image is not None
        or not _run(["docker", "pull", "-q", "grafana/grafana-oss:11.4.0"], 120).returncode
    )


def state(container: str) -> dict[str, object]:
    """Return the engine's state of a container."""
    found: list[dict[str, object]] = json.loads(docker("inspect", container))
    return found[0]


def _checked(command: list[str], seconds: float, environment: dict[str, str] | None = None) -> str:
    done = _run(command, seconds, environment)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def _run(
    command: list[str], seconds: float = 20, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
