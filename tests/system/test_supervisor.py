"""A server that crashes is replaced: its port stays open, its models stay, and the version that
caused the crashes is reported."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests import tiny_models
from tests.repositories import put, scale
from tests.system.process import KEY, ROOT
from tests.system.wire import Line, free_port, get, post

ONE = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]})
WAIT = 60.0


def count_to(number: int) -> bytes:
    """Return a request that counts this far, about a microsecond for each number."""
    tensor = {"name": "n", "shape": [1], "datatype": "INT64", "data": [number]}
    return json.dumps({"inputs": [tensor]}).encode()


class Supervised:
    """A supervisor on a port, and its output."""

    def __init__(self, models: Path, *flags: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "service", "serve", "--models", str(models)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *flags],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY},
        )  # fmt: skip

    @property
    def server(self) -> int:
        """The process id of its server."""
        return int(self.children[0])

    @property
    def children(self) -> list[str]:
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def ask(self, request: bytes) -> Any:
        with Line(self.port) as line:
            return line.ask(request)

    def metric(self, name: str) -> float:
        text = self.ask(get("/metrics")).body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    def until_ready(self) -> None:
        end = monotonic() + WAIT
        while monotonic() < end:
            try:
                if self.ask(get("/v2/health/ready")).status == 200:
                    return
            except (OSError, IndexError):
                pass
            sleep(0.05)
        raise AssertionError("the server did not become ready")

    def crash(self, number: int = signal.SIGSEGV) -> None:
        """Kill the server, and wait until another is ready."""
        before = self.server
        os.kill(before, number)
        end = monotonic() + WAIT
        while self.children in ([], [str(before)]) and monotonic() < end:
            sleep(0.01)
        self.until_ready()


@contextmanager
def supervised(models: Path, *flags: str) -> Iterator[Supervised]:
    each = Supervised(models, *flags)
    try:
        each.until_ready()
        yield each
    finally:
        each.process.terminate()
        try:
            each.process.communicate(timeout=WAIT)
        finally:
            each.process.kill()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    put(tmp_path, "m", 1, scale(3))
    tiny_models.counting(tmp_path)
    return tmp_path


def at_work(it: Supervised) -> Line:
    """A request that runs for longer than the test."""
    line = Line(it.port)
    line.socket.sendall(post("/v2/models/counting/infer", count_to(2**40)))
    end = monotonic() + WAIT
    while it.metric('quantserve_instances_busy{model="counting",version="1"}') < 1:
        assert monotonic() < end
        sleep(0.02)
    return line


def test_a_crash_is_survived_and_counted(models: Path) -> None:
    with supervised(models) as it:
        for number in (1, 2):
            it.crash()
            assert it.metric("quantserve_restarts_total") == number
        assert it.metric('quantserve_crashes_total{cause="SIGSEGV",model=""}') == 2
        assert it.ask(post("/v2/models/m/infer", ONE.encode())).json["outputs"][0]["data"] == [3, 3]


def test_requests_that_come_during_the_restart_wait(models: Path) -> None:
    with supervised(models) as it:
        os.kill(it.server, signal.SIGSEGV)
        answers: list[int] = []

        def ask() -> None:
            try:
                answers.append(it.ask(post("/v2/models/m/infer", ONE.encode())).status)
            except (OSError, IndexError):
                answers.append(0)

        asking = [threading.Thread(target=ask) for _ in range(8)]
        sleep(0.1)  # so that the dying process has closed its connections
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(WAIT)
        assert answers == [200] * 8


def test_a_version_that_ran_alone_in_two_crashes_is_quarantined(models: Path) -> None:
    with supervised(models) as it:
        for _ in range(2):
            with at_work(it):
                it.crash()
        index = it.ask(post("/v2/repository/index", b"")).json
        states = {entry["name"]: (entry["state"], entry["reason"]) for entry in index}
        assert states["m"] == ("READY", "")
        assert states["counting"][0] == "UNAVAILABLE" and "2 crashes" in states["counting"][1]
        assert it.metric('quantserve_model_quarantined{model="counting",version="1"}') == 1
        assert (models / "counting/quarantine.toml").exists()
        load = post("/v2/repository/models/counting/load", b"", X_API_Key=KEY)
        assert it.ask(load).status == 200
        few = it.ask(post("/v2/models/counting/infer", count_to(3)))
        assert few.status == 200
        assert not (models / "counting/quarantine.toml").exists()
        it.crash()  # no version is blamed for this crash
        assert it.ask(post("/v2/models/counting/infer", count_to(3))).status == 200


def test_a_signal_stops_the_server_and_the_supervisor(models: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with supervised(models) as it:
            server = it.server
            it.process.send_signal(number)
            assert it.process.wait(WAIT) == 0
            assert not Path(f"/proc/{server}").exists()


def test_the_server_ends_with_its_supervisor(models: Path) -> None:
    with supervised(models) as it:
        server = it.server
        it.process.kill()
        it.process.wait(WAIT)
        end = monotonic() + WAIT
        while Path(f"/proc/{server}/cmdline").exists() and monotonic() < end:
            if Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            sleep(0.05)
        else:
            assert not Path(f"/proc/{server}").exists()


def test_a_failed_start_is_not_repeated(tmp_path: Path) -> None:
    it = Supervised(tmp_path / "absent")
    _, told = it.process.communicate(timeout=WAIT)
    assert it.process.returncode == 2 and told.count("\n") == 1 and "absent" in told


def test_the_supervisor_is_small(models: Path) -> None:
    with supervised(models) as it:
        rollup = Path(f"/proc/{it.process.pid}/smaps_rollup").read_text()
        private = sum(int(kb) for kb in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))
        assert 0 < private < 20_000
        maps = Path(f"/proc/{it.process.pid}/maps").read_text()
        assert "onnxruntime" not in maps and "numpy" not in maps
