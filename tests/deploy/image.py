"""Requirements of the image: small, ready soon, low memory, restricted, and stops on a signal."""

import json
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

from tests.deploy.engine import IMAGE, docker, sizes, state, stopped
from tests.deploy.load import until
from tests.deploy.prometheus import free_port
from tests.tiny_models import normalizer

INTERPRETER = 0.1
"""Seconds until Python runs its first line; the server imports for half a second more."""
TOP = "pid,user,rss"
LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def check_image(report: dict[str, str]) -> None:
    """Build the image and test it on its own.

    Requirements are asserted; times are only reported.
    """
    docker("build", "--network", "host", "-t", IMAGE, ".", seconds=900)
    image, base = sizes()
    report["image, uncompressed"] = f"{image - base:.0f} MB above the base image of {base:.0f} MB"
    assert image - base <= 200, report
    assert docker("image", "inspect", IMAGE, "--format", "{{.Config.User}}").startswith("10001")
    starts, memories = [], []
    for _ in range(3):
        with container() as (name, port):
            until(lambda: ready(port), 60, "ready")  # noqa: B023
            starts.append(since_start(name))
            processes = [line.split() for line in docker("top", name, "-o", TOP).splitlines()[1:]]
            assert {user for _, user, _ in processes} == {"10001"}, processes
            memories.append(sum(int(resident) / 1000 for *_, resident in processes))
            until(lambda: health(name) == "healthy", 60, "healthy")  # noqa: B023
            assert stopped(name) == 0, docker("logs", name)
    report["start of the container to ready"] = f"{min(starts):.1f} s (best of {len(starts)})"
    report["resident memory, idle, all processes"] = f"{min(memories):.0f} MB"
    assert max(memories) < 150, report
    check_early_stop()
    check_text_operators()


def check_text_operators() -> None:
    """Check that the image serves a model whose text operators require a locale."""
    with tempfile.TemporaryDirectory() as folder:
        normalizer(Path(folder) / "words")
        with container(Path(folder) / "words") as (_, port):
            until(lambda: ready(port), 60, "ready")
            connection = HTTPConnection("127.0.0.1", port, timeout=10)
            body = '{"instances": ["\u00c4 B"]}'.encode()
            connection.request("POST", "/v1/models/words:predict", body)
            answer = connection.getresponse().read()
            assert json.loads(answer) == {"predictions": ["\u00e4 b"]}, answer


def check_early_stop() -> None:
    """Check that a signal during the imports of the server stops it.

    Before Python has started, a signal is lost: the kernel drops signals for which the first
    process of a container has no handler, and ``docker stop`` waits for its grace period.
    """
    with container() as (name, _):
        time.sleep(INTERPRETER)
        begun = time.monotonic()
        assert stopped(name) == 0
        assert time.monotonic() - begun < 20


@contextmanager
def container(model: Path | None = None) -> Iterator[tuple[str, int]]:
    """Start a container that can write only to its temporary volume, with a further model if one is
    given; yield its name and port."""
    port, network = free_port(), f"quantserve-test-{free_port()}"
    docker("network", "create", network)
    name = docker(
        "create", "--network", network, "-p", f"127.0.0.1:{port}:8000", *LOCKED, IMAGE
    )  # fmt: skip
    name = name.splitlines()[-1]
    try:
        if model is not None:
            docker("cp", str(model), f"{name}:/models/{model.name}")
        docker("start", name)
        yield name, port
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("network", "rm", network)


def ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", "/v2/health/ready")
    return connection.getresponse().status == 200


def health(name: str) -> str:
    return docker("inspect", name, "--format", "{{.State.Health.Status}}")


def since_start(name: str) -> float:
    text = re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", str(state(name)["State"]["StartedAt"]))  # type: ignore[index]
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
