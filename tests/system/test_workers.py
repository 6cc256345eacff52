"""Several workers on one port behave as one server to clients and operators, also when a worker
ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests import tiny_models
from tests.patience import PATIENCE, until
from tests.repositories import golden, put, scale
from tests.system.process import KEY, ROOT
from tests.system.wire import Answer, Line, free_port, get, post

INFER = "/v2/models/m/infer"
ONE = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}
).encode()


class Workers:
    """A supervisor with workers, on a port."""

    def __init__(self, models: Path, log: Path, *flags: str, workers: int = 2) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", "service", "serve", "--models", str(models)]
        command += ["--port", str(self.port), "--workers", str(workers), *flags]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY},
            )

    @property
    def children(self) -> list[int]:
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(each) for each in found]

    @property
    def workers(self) -> list[int]:
        """Their process ids, by worker number."""
        text = self.ask(get("/metrics")).body.decode()
        found = re.findall(r"^quantserve_worker_process_id\{.*\} (\S+)$", text, re.M)
        return [int(float(each)) for each in found]

    def ask(self, request: bytes) -> Answer:
        with Line(self.port) as line:
            return line.ask(request)

    def change(self, path: str, document: Any) -> Answer:
        return self.ask(post(path, json.dumps(document).encode(), X_API_Key=KEY))

    def metric(self, name: str) -> float:
        text = self.ask(get("/metrics")).body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    @property
    def up(self) -> int:
        """The workers that accept connections."""
        text = self.ask(get("/metrics")).body.decode()
        return len(re.findall(r"^quantserve_worker_up\{.*\} 1\.0$", text, re.M))

    def until_up(self, workers: int = 2) -> None:
        def all_up() -> bool:
            with suppress(OSError, IndexError):
                return self.ready() and self.up == workers
            return False

        until(all_up, "not all workers are up")

    def ready(self) -> bool:
        return self.ask(get("/v2/health/ready")).status == 200

    def is_ready(self) -> bool:
        """Like ``ready``, but False if the server does not listen yet."""
        with suppress(OSError, IndexError):
            return self.ready()
        return False

    def versions(self, name: str = "m", lines: int = 8) -> Counter[str]:
        """Count the versions that answer over several connections, open at the same time."""
        held = [Line(self.port) for _ in range(lines)]
        try:
            answers = [line.ask(post(f"/v2/models/{name}/infer", ONE)) for line in held]
        finally:
            for line in held:
                line.close()
        return Counter(
            each.json["model_version"] if each.status == 200 else each.error for each in answers
        )


@contextmanager
def serving(models: Path, *flags: str, workers: int = 2, own: int = 0) -> Iterator[Workers]:
    """Serve with ``workers`` that share the port; ``own`` models have a worker of their own."""
    it = Workers(models, models.parent / "log", *flags, workers=workers)
    try:
        it.until_up(workers + own)
        yield it
    finally:
        it.process.terminate()
        try:
            it.process.wait(PATIENCE)
        finally:
            it.process.kill()
            it.process.wait()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    put(folder, "m", 1, scale(3))
    return folder


@contextmanager
def load(it: Workers, clients: int = 6, *, ends: bool = False) -> Iterator[list[tuple[float, str]]]:
    """Send requests without a pause over persistent connections; yield the time of each request and
    the version that answered. With ``ends``, the server may close a connection between requests."""
    answers: list[tuple[float, str]] = []
    stop = threading.Event()

    def ask() -> None:
        with Line(it.port) as line:
            while not stop.is_set():
                sent = monotonic()
                try:
                    found = line.ask(post(INFER, ONE))
                except (OSError, IndexError):
                    if ends:
                        return
                    raise
                told = found.json["model_version"] if found.status == 200 else str(found.status)
                answers.append((sent, told))
                if found.headers.get("connection") == "close":
                    return

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)


def test_a_swap_under_load_loses_no_request_and_reaches_all_workers(models: Path) -> None:
    with serving(models) as it:
        put(models, "m", 2, scale(5))
        with load(it) as answers:
            until(lambda: len(answers) > 20, "nothing is answered")
            found = it.change("/admin/models/m/swap", {"version": 2})
            after = monotonic()
            before = len(answers)
            until(lambda: len(answers) > before + 50, "nothing is answered any more")
        assert (found.status, found.json["to_version"]) == (200, 2)
        assert {version for _, version in answers} == {"1", "2"}
        assert {version for sent, version in answers if sent > after} == {"2"}
        assert it.metric('quantserve_swaps_total{cause="swap",model="m"}') == 1
        assert it.change("/admin/models/m/rollback", {}).json["to_version"] == 1
        assert it.versions() == {"1": 8}


def test_a_version_that_fails_the_gate_serves_in_no_worker(models: Path) -> None:
    with serving(models) as it:
        put(models, "m", 2, scale(5))
        golden(models / "m", 3)
        (models / "m" / "model.toml").write_text("[gate.outputs.y]\nmax_abs_error = 0.1\n")
        found = it.change("/admin/models/m/swap", {"version": 2})
        assert found.status == 409 and any(not each["passed"] for each in found.json["checks"])
        assert it.versions() == {"1": 8}
        assert not (models / "m" / "serving.toml").exists()


def test_a_worker_that_dies_while_loading_cancels_the_swap(models: Path) -> None:
    """The worker is killed while it loads, like by a native crash."""
    with serving(models, workers=3) as it:
        put(models, "m", 2, scale(5))
        held: list[str] = []
        with Line(it.port) as line:

            def alone() -> bool:
                """True if earlier connections are closed, so that only this line's is left."""
                text = line.ask(get("/metrics")).body.decode()
                held[:] = re.findall(
                    r'^quantserve_worker_connections\{worker="(\d)"\} [1-9]', text, re.M
                )
                return len(held) == 1

            until(alone, "more than one worker has connections")
            victim = it.workers[(int(held[0]) + 1) % 3]
            # A suspended worker does not vote: the others wait with the version loaded.
            os.kill(victim, signal.SIGSTOP)
            body = json.dumps({"version": 2}).encode()
            line.socket.sendall(post("/admin/models/m/swap", body, X_API_Key=KEY))
            sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            found = line.read()
        assert found.status == 409 and "a worker ended" in found.json["error"]
        assert not (models / "m" / "serving.toml").exists()
        it.until_up(3)
        assert it.versions(lines=12) == {"1": 12}
        assert it.change("/admin/models/m/swap", {"version": 2}).status == 200
        assert it.versions(lines=12) == {"2": 12}


def test_load_and_unload_apply_to_all_workers(models: Path) -> None:
    with serving(models) as it:
        put(models, "new", 1, scale(2))
        assert it.change("/v2/repository/models/new/load", {}).status == 200
        assert it.versions("new") == {"1": 8}
        assert it.change("/v2/repository/models/m/unload", {}).status == 200
        assert set(it.versions()) == {'model "m" is UNAVAILABLE: unloaded'}
        assert it.versions("new") == {"1": 8}


def test_a_killed_worker_is_replaced_with_the_same_versions(models: Path) -> None:
    with serving(models) as it:
        put(models, "m", 2, scale(5))  # which no client has asked to serve
        name = 'quantserve_requests_total{model="m",outcome="ok",protocol="v2",version="1"}'
        it.versions()
        counted = [it.metric(name)]
        for victim in it.workers:
            os.kill(victim, signal.SIGKILL)
            end = monotonic() + PATIENCE
            while victim in it.children and monotonic() < end:
                with suppress(OSError, IndexError):  # it was the dead one's connection
                    counted.append(it.metric(name))
            it.until_up()
            counted.append(it.metric(name))
            assert it.versions() == {"1": 8}
        assert counted == sorted(counted) and counted[0] == 8
        assert it.metric("quantserve_restarts_total") == 2
        assert it.metric('quantserve_crashes_total{cause="SIGKILL",model=""}') == 2


def test_workers_continue_and_are_replaced_without_the_template(models: Path) -> None:
    with serving(models) as it:
        workers = it.workers
        (template,) = set(it.children) - set(workers)
        os.kill(template, signal.SIGKILL)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: workers[0] not in it.children, "it is not dead")
        it.until_up()
        assert it.versions() == {"1": 8} and it.workers[1] == workers[1]

        def again() -> bool:
            return len(set(it.children) - set(it.workers)) == 1

        until(again, "there is no template")


def test_no_process_that_has_ended_is_left(models: Path) -> None:
    with serving(models) as it:
        for victim in it.workers:
            os.kill(victim, signal.SIGKILL)
        it.until_up()

        def left() -> list[int]:
            return [pid for pid in it.children if _state(pid) == "Z"]

        until(lambda: not left(), "a process is left")


def _state(process: int) -> str:
    """Return the letter of a process's state: Z for one that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def test_other_workers_answer_while_a_worker_is_replaced(models: Path) -> None:
    with serving(models) as it:
        os.kill(it.workers[0], signal.SIGKILL)
        sleep(0.2)  # so that the dying process has closed its port
        assert it.versions() == {"1": 8}
        assert it.ready()


def test_a_worker_that_hangs_is_replaced(models: Path) -> None:
    with serving(models, "--worker-timeout", "1.5") as it:
        still = it.workers[1]
        os.kill(still, signal.SIGSTOP)
        until(lambda: still not in it.children, "it was not replaced")
        it.until_up()
        assert it.metric('quantserve_crashes_total{cause="hung",model=""}') == 1


def test_a_model_that_crashes_workers_twice_is_quarantined_in_all(models: Path) -> None:
    tiny_models.counting(models)
    request = json.dumps(
        {"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [2**40]}]}
    ).encode()
    with serving(models) as it:
        busy = 'quantserve_instances_busy{model="counting",version="1"}'
        for _ in range(2):
            with Line(it.port) as line:
                before = set(it.workers)
                line.socket.sendall(post("/v2/models/counting/infer", request))
                until(lambda: it.metric(busy) >= 1, "it does not run")
                victim = _busiest(it.workers)
                os.kill(victim, signal.SIGSEGV)
                until(lambda gone=victim: gone not in it.children, "it did not end")  # type: ignore[misc]
            it.until_up()
            assert set(it.workers) != before
        name = 'quantserve_model_quarantined{model="counting",version="1"}'
        until(lambda: it.metric(name) == 1, "it is not in quarantine")
        answers = [it.ask(post("/v2/models/counting/infer", request)) for _ in range(6)]
        assert {each.status for each in answers} == {503}
        assert "quarantined" in answers[0].error
        assert it.versions() == {"1": 8}


def _busiest(processes: list[int]) -> int:
    """Return the worker that uses a core while the others are idle."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11])

    before = {pid: ticks(pid) for pid in processes}
    sleep(0.5)
    return max(processes, key=lambda pid: ticks(pid) - before[pid])


def test_polling_loads_a_new_version_in_all_workers(models: Path) -> None:
    with serving(models, "--poll", "0.2") as it:
        put(models, "m", 2, scale(5))
        until(lambda: it.versions() == {"2": 8}, "not all follow the folder")
        assert it.metric('quantserve_swaps_total{cause="poll",model="m"}') == 1


def test_two_connections_reach_two_workers(models: Path) -> None:
    found = []
    with serving(models) as it:
        for _ in range(12):
            sleep(0.3)  # so that the counts have seen earlier ones leave
            with Line(it.port) as one, Line(it.port) as two:
                for line in (one, two):
                    assert line.ask(post(INFER, ONE)).status == 200
                text = one.ask(get("/metrics")).body.decode()
                counts = re.findall(r"^quantserve_worker_connections\{.*\} (\S+)$", text, re.M)
                found.append([float(each) for each in counts])
    # On a busy machine a worker may not have seen an earlier connection leave. By the kernel's hash
    # alone, half of the pairs would reach one worker.
    assert found.count([1, 1]) >= 10, found


def test_any_worker_returns_the_sum_of_all_requests(models: Path) -> None:
    with serving(models) as it:
        it.versions(lines=10)
        name = 'quantserve_requests_total{model="m",outcome="ok",protocol="v2",version="1"}'
        assert {it.metric(name) for _ in range(6)} == {10}
        count = 'quantserve_request_duration_seconds_count{model="m",protocol="v2",version="1"}'
        assert it.metric(count) == 10
        assert it.metric('quantserve_instances{model="m",version="1"}') >= 2
        found = [it.ask(get("/v2/models/m/stats")).json for _ in range(6)]
        assert {each["model_stats"][0]["inference_count"] for each in found} == {10}


def test_every_connection_is_answered_before_all_workers_are_ready(
    models: Path,
) -> None:
    it = Workers(models, models.parent / "log", "--ready-workers", "1", workers=3)
    try:
        until(it.is_ready, "the server is not ready")
        assert it.versions(lines=20) == {"1": 20}
        it.until_up(3)
        assert it.versions(lines=20) == {"1": 20}
    finally:
        it.process.terminate()
        it.process.wait(PATIENCE)


def test_sigterm_stops_all_workers_cleanly(models: Path) -> None:
    with serving(models, "--drain-delay", "1") as it:
        children = it.children
        with load(it, ends=True) as answers, suppress(AssertionError):
            until(lambda: len(answers) > 20, "nothing is answered")
            it.process.terminate()
            assert it.process.wait(PATIENCE) == 0
        assert {version for _, version in answers} == {"1"}
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_the_workers_end_with_their_supervisor(models: Path) -> None:
    with serving(models) as it:
        children = it.children
        it.process.kill()
        until(
            lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()],
            "workers are left",
        )


def test_the_workers_answer_before_they_end_with_their_supervisor(models: Path) -> None:
    tiny_models.counting(models)
    count = {"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [1_000_000]}]}
    with serving(models) as it, Line(it.port) as line:
        line.socket.sendall(post("/v2/models/counting/infer", json.dumps(count).encode()))
        busy = 'quantserve_instances_busy{model="counting",version="1"}'
        until(lambda: it.metric(busy) == 1, "it does not run")
        it.process.kill()
        assert line.read().status == 200


def test_the_supervisor_imports_no_model_libraries(models: Path) -> None:
    with serving(models) as it:
        maps = Path(f"/proc/{it.process.pid}/maps").read_text()
        assert "onnxruntime" not in maps and "numpy" not in maps


def test_a_port_in_use_is_reported(models: Path) -> None:
    with serving(models) as it:
        command = [sys.executable, "-m", "service", "serve", "--models", str(models)]
        command += ["--workers", "2", "--port", str(it.port)]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert found.returncode == 2 and "cannot listen" in found.stderr


def test_wrong_settings_are_reported_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--models", str(tmp_path / "none")]
    command += ["--workers", "3", "--port", "0"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert found.returncode == 2 and found.stderr.count("is not a readable folder") == 1
